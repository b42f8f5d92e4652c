//! Schemas of answers: open, because later releases and other vendors add to them.

use parlance_adapters::canonical::{Role, Status};
use parlance_adapters::{ALL, fault_codes};
use serde_json::{Value, json};

use crate::types::code::Code;

/// Schemas of answers, by name.
pub(super) fn schemas() -> Vec<(String, Value)> {
    [
        ("Conversation", conversation()),
        ("Agent", agent()),
        ("Contact", contact()),
        ("Message", message()),
        ("Attachment", attachment()),
        ("VendorData", vendor_data()),
        ("Warning", warning()),
        ("Confirmation", confirmation()),
        ("DryRun", dry_run()),
        ("VendorRequest", vendor_request()),
        ("Problem", problem()),
        ("FieldError", field_error()),
        ("VendorError", vendor_error()),
    ]
    .into_iter()
    .map(|(name, schema)| (name.to_owned(), schema))
    .collect()
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn optional(kind: &str, about: &str) -> Value {
    json!({ "type": [kind, "null"], "description": about })
}

fn nullable(name: &str, about: &str) -> Value {
    json!({ "anyOf": [reference(name), { "type": "null" }], "description": about })
}

fn time(about: &str) -> Value {
    json!({
        "type": ["string", "null"],
        "pattern": "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?Z$",
        "description": about,
    })
}

/// Word of a list that later releases extend.
fn word<'a>(kind: &Value, words: impl Iterator<Item = &'a str>, about: &str) -> Value {
    let words: Vec<&str> = words.collect();
    let known: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    json!({
        "type": kind,
        "description": format!("{about} Known values: {}; others may be added.", known.join(", ")),
        "x-extensible-enum": words,
    })
}

fn vendor() -> Value {
    word(
        &json!("string"),
        ALL.iter().map(|adapter| adapter.spec().vendor),
        "Vendor that keeps the conversation.",
    )
}

fn id() -> Value {
    json!({ "type": "string", "description": "Names the upstream and can be sent back, percent-encoded." })
}

fn upstream() -> Value {
    json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$", "description": "Name of the upstream in the gateway's configuration." })
}

fn warnings(about: &str) -> Value {
    json!({ "type": "array", "minItems": 1, "items": reference("Warning"), "description": about })
}

fn conversation() -> Value {
    json!({
        "type": "object",
        "description": "A conversation. A member that the vendor does not report is absent; null means that the vendor says there is none.",
        "required": ["id", "vendor", "upstream"],
        "properties": {
            "id": id(),
            "vendor": vendor(),
            "upstream": upstream(),
            "title": optional("string", "Title."),
            "status": word(&json!(["string", "null"]), Status::ALL.iter().map(|status| status.as_str()), "State."),
            "archived": optional("boolean", "Put away."),
            "important": optional("boolean", "Marked as important."),
            "context": { "description": "Knowledge of the vendor's AI agent about this conversation: whatever JSON the vendor keeps." },
            "instructions": optional("string", "Instructions to the AI model."),
            "agent": nullable("Agent", "The AI agent in charge."),
            "contact": nullable("Contact", "The person at the other end."),
            "created_at": time("Time of its begin."),
            "updated_at": time("Time of its last change."),
            "last_message_at": time("Time of its last message."),
            "message_count": { "type": ["integer", "null"], "minimum": 0, "description": "Number of messages; `messages` may be a window." },
            "messages": { "type": "array", "items": reference("Message"), "description": "Oldest first." },
            "vendor_data": reference("VendorData"),
            "warnings": warnings("What the caller should know although the request succeeded."),
        },
    })
}

fn agent() -> Value {
    json!({
        "type": "object",
        "description": "An AI agent.",
        "properties": {
            "id": optional("string", "The vendor's id."),
            "name": optional("string", "Its name."),
            "status": optional("string", "The vendor's word for its state."),
        },
    })
}

fn contact() -> Value {
    json!({
        "type": "object",
        "description": "A contact.",
        "properties": {
            "id": optional("string", "The vendor's id."),
            "address": optional("string", "A phone number or e-mail address."),
        },
    })
}

fn message() -> Value {
    json!({
        "type": "object",
        "description": "A message.",
        "properties": {
            "id": optional("string", "The vendor's id."),
            "role": word(&json!(["string", "null"]), Role::ALL.iter().map(|role| role.as_str()), "Writer."),
            "text": optional("string", "Text."),
            "created_at": time("Time at which it was written or received."),
            "attachments": { "type": "array", "minItems": 1, "items": reference("Attachment"), "description": "Files." },
            "vendor_data": reference("VendorData"),
        },
    })
}

fn attachment() -> Value {
    json!({
        "type": "object",
        "description": "A file of a message; its members are what the vendor reports.",
        "properties": { "id": {}, "url": {}, "name": {}, "content_type": {}, "size": {} },
    })
}

fn vendor_data() -> Value {
    json!({
        "type": "object",
        "minProperties": 1,
        "additionalProperties": true,
        "description": "What has no canonical member, in the vendor's own names.",
    })
}

fn warning() -> Value {
    json!({
        "type": "object",
        "description": "Something that the caller should know although the request succeeded.",
        "required": ["code", "detail"],
        "properties": {
            "code": { "type": "string", "description": "Kind of warning; others may be added.", "examples": ["unsupported-field", "unmerged"] },
            "pointer": { "type": "string", "description": "JSON pointer into the caller's body." },
            "detail": { "type": "string", "description": "Sentence about this occurrence." },
        },
    })
}

fn confirmation() -> Value {
    json!({
        "type": "object",
        "description": "An update that was done, without the conversation: the body was not wanted (`Prefer: return=minimal`) or not kept for a repeated key, and there is something to say about it.",
        "required": ["id", "warnings"],
        "properties": { "id": id(), "warnings": warnings("What there is to say.") },
    })
}

fn dry_run() -> Value {
    json!({
        "type": "object",
        "description": "The request that would have been sent to the vendor.",
        "required": ["dry_run", "id", "vendor", "upstream", "request"],
        "properties": {
            "dry_run": { "const": true, "description": "Tells a dry run from every other answer." },
            "id": id(),
            "vendor": vendor(),
            "upstream": upstream(),
            "route": { "type": "string", "description": "Part of the configuration that chose the upstream: `prefix`, `routes[N]` or `default_upstream`." },
            "request": reference("VendorRequest"),
            "warnings": warnings("What the caller should know about the request."),
        },
    })
}

fn vendor_request() -> Value {
    json!({
        "type": "object",
        "description": "A request to a vendor.",
        "required": ["method", "url", "headers", "body"],
        "properties": {
            "method": { "type": "string", "examples": ["PATCH"] },
            "url": { "type": "string", "format": "uri" },
            "headers": { "type": "object", "additionalProperties": { "type": "string" }, "description": "Credentials are shown as `***`." },
            "body": { "description": "The JSON that would be sent, the text of another format, or null without a body." },
        },
    })
}

fn problem() -> Value {
    let kinds: Vec<String> =
        Code::ALL.iter().map(|code| format!("urn:parlance:problem:{}", code.as_str())).collect();
    json!({
        "type": "object",
        "description": "A failure, as RFC 9457 has it.",
        "required": ["type", "title", "status", "detail", "instance", "request_id", "retryable", "update_applied"],
        "properties": {
            "type": {
                "type": "string",
                "format": "uri",
                "description": "Kind of problem: `urn:parlance:problem:` and the code. Others may be added.",
                "x-extensible-enum": kinds,
            },
            "title": { "type": "string", "description": "The same few words for every problem of this type." },
            "status": { "type": "integer", "minimum": 400, "maximum": 599, "description": "HTTP status." },
            "detail": { "type": "string", "description": "Sentences about this occurrence." },
            "instance": { "type": "string", "description": "`urn:parlance:request:` and the request's id." },
            "request_id": { "type": "string", "description": "The value of `X-Request-Id`." },
            "retryable": { "type": "boolean", "description": "The same request, with the same `Idempotency-Key` if it had one, may succeed later." },
            "update_applied": {
                "enum": ["no", "unknown", "yes"],
                "description": "State of the update at the vendor: `no` where nothing was sent or the vendor refused, `yes` where the vendor confirmed, else `unknown`. No value will be added.",
            },
            "errors": { "type": "array", "minItems": 1, "items": reference("FieldError"), "description": "Every fault of the body." },
            "vendor": vendor(),
            "upstream": upstream(),
            "vendor_status": { "type": "integer", "description": "HTTP status of the vendor's answer." },
            "vendor_error": reference("VendorError"),
        },
    })
}

fn field_error() -> Value {
    let codes = fault_codes().map(|code| code.as_str()).chain([Code::VendorRejected.as_str()]);
    json!({
        "type": "object",
        "description": "A fault of one member of the body.",
        "required": ["pointer", "code", "detail"],
        "properties": {
            "pointer": { "type": "string", "description": "JSON pointer into the caller's body." },
            "code": word(&json!("string"), codes, "Kind of fault."),
            "detail": { "type": "string", "description": "Sentence that says what to do." },
        },
    })
}

fn vendor_error() -> Value {
    json!({
        "type": "object",
        "minProperties": 1,
        "description": "The vendor's own code and words.",
        "properties": { "code": { "type": "string" }, "message": { "type": "string" } },
    })
}
