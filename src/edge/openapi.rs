//! OpenAPI 3.1 document, generated from the tables that translation reads.

use std::sync::OnceLock;

use bytes::Bytes;
use parlance_adapters::canonical::{Field, Role, Status};
use parlance_adapters::{ALL, docs, fault_codes, fields};
use serde_json::{Map, Value, json};

use crate::types::code::Code;

/// The document as JSON text.
pub fn document() -> Bytes {
    static DOCUMENT: OnceLock<Bytes> = OnceLock::new();
    DOCUMENT.get_or_init(|| Bytes::from(format!("{:#}\n", value()))).clone()
}

/// The document.
pub fn value() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "parlance",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "One conversations API over every vendor's dialect.",
        },
        "servers": [{ "url": "http://127.0.0.1:8080", "description": "The default listener" }],
        "security": [{}, { "callerKey": [] }],
        "paths": {
            "/conversations/{id}": {
                "parameters": [{ "$ref": "#/components/parameters/id" }],
                "patch": patch(),
                "options": {
                    "operationId": "conversationOptions",
                    "summary": "What can be done with a conversation",
                    "responses": { "204": {
                        "description": "Methods and patch formats.",
                        "headers": {
                            "Allow": header("PATCH, OPTIONS"),
                            "Accept-Patch": header("The patch formats that are understood."),
                        },
                    }, "default": any_problem() },
                },
            },
            "/openapi.json": { "get": {
                "operationId": "openapi",
                "summary": "This document",
                "responses": { "200": { "description": "OpenAPI 3.1.", "content": { "application/json": { "schema": { "type": "object" } } } }, "default": any_problem() },
            } },
        },
        "components": {
            "securitySchemes": { "callerKey": { "type": "http", "scheme": "bearer", "description": "The caller's own key, where callers are configured." } },
            "parameters": { "id": {
                "name": "id", "in": "path", "required": true,
                "description": "`{upstream}:{vendor id}`, or a vendor id alone where routes decide. One percent-encoded segment, at most 512 bytes once decoded.",
                "schema": { "type": "string", "minLength": 1 },
                "example": "sales:chat_12345abcde",
            } },
            "schemas": {
                "ConversationPatch": request_schema(),
                "Conversation": conversation_schema(),
                "Message": message_schema(),
                "Warning": warning_schema(),
                "DryRun": dry_run_schema(),
                "Problem": problem_schema(),
            },
        },
    })
}

/// Problem that any request may get: it has no valid `Host`, or the gateway is full.
fn any_problem() -> Value {
    json!({
        "description": "A problem.",
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
    })
}

fn header(about: &str) -> Value {
    json!({ "description": about, "schema": { "type": "string" } })
}

fn patch() -> Value {
    let body =
        json!({ "schema": { "$ref": "#/components/schemas/ConversationPatch" }, "examples": examples() });
    let mut responses = Map::new();
    responses.insert(
        "200".to_owned(),
        json!({
            "description": "The conversation as the vendor reports it after the update; with `dry_run` the request that would have been sent.",
            "headers": {
                "X-Request-Id": header("The request's id."),
                "Server-Timing": header("Milliseconds spent on the vendor and in the gateway."),
                "Preference-Applied": header("The preferences that were honoured."),
                "Idempotent-Replayed": header("true where a stored answer is given again."),
                "Idempotency-Status": header("not-guaranteed where the update was done while the store of answers failed: sent again, it is done again."),
            },
            "content": { "application/json": { "schema": { "oneOf": [
                { "$ref": "#/components/schemas/Conversation" },
                { "$ref": "#/components/schemas/DryRun" },
            ] } } },
        }),
    );
    responses
        .insert("204".to_owned(), json!({ "description": "Done; `Prefer: return=minimal` was asked for." }));
    for code in Code::ALL {
        let status = code.status().as_u16().to_string();
        let line = format!("`{}`: {}.", code.as_str(), code.title());
        let entry = responses.entry(status).or_insert_with(|| {
            json!({
                "description": "",
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            })
        });
        if let Some(Value::String(description)) = entry.get_mut("description") {
            if !description.is_empty() {
                description.push(' ');
            }
            description.push_str(&line);
        }
    }
    json!({
        "operationId": "updateConversation",
        "summary": "Update a conversation, whichever vendor keeps it",
        "description": "An absent member is unchanged, a value sets, null clears. One call at the vendor applies all of it or nothing. What a vendor lacks is refused before anything is sent.",
        "parameters": [
            { "name": "dry_run", "in": "query", "schema": { "type": "boolean" }, "description": "Show the request to the vendor instead of sending it." },
            { "name": "Prefer", "in": "header", "schema": { "type": "string" }, "description": "`handling=lenient` leaves out what cannot be written; `return=minimal` asks for 204." },
            { "name": "Idempotency-Key", "in": "header", "schema": { "type": "string", "minLength": 1, "maxLength": 257 }, "description": "The same key, caller, path and body give the stored answer." },
            { "name": "X-Request-Id", "in": "header", "schema": { "type": "string" }, "description": "Kept if it is 1 to 128 of A-Za-z0-9._-; else one is made." },
            { "name": "traceparent", "in": "header", "schema": { "type": "string" }, "description": "W3C trace context, continued towards the vendor." },
        ],
        "requestBody": { "required": true, "content": {
            "application/json": body.clone(),
            "application/merge-patch+json": body,
        } },
        "responses": responses,
    })
}

/// The sample update of each vendor.
fn examples() -> Value {
    let examples: Map<String, Value> = ALL
        .iter()
        .map(|adapter| {
            let spec = adapter.spec();
            let value = serde_json::from_str(spec.example.patch).unwrap_or(Value::Null);
            (spec.vendor.to_owned(), json!({ "summary": spec.title, "value": value }))
        })
        .collect();
    Value::Object(examples)
}

fn request_schema() -> Value {
    let mut members = Map::new();
    for field in fields() {
        let support: Vec<String> = ALL
            .iter()
            .filter_map(|adapter| {
                let spec = adapter.spec();
                let row = spec.row(field)?;
                Some(format!("{} (`{}`): {}", spec.title, row.wire, docs::describe(row)))
            })
            .collect();
        let mut schema = match field {
            Field::Context => json!({ "type": ["object", "string", "null"] }),
            Field::Title | Field::Instructions => json!({ "type": ["string", "null"] }),
            Field::Agent | Field::Contact => json!({
                "type": "object",
                "properties": { "id": { "type": "string" } },
                "required": ["id"],
                "additionalProperties": false,
            }),
            Field::Archived | Field::Important => json!({ "type": "boolean" }),
            Field::Status => json!({ "type": "string" }),
            Field::Tags => json!({ "type": "array", "items": { "type": "string" } }),
        };
        if let Value::Object(schema) = &mut schema {
            let about = format!("{} Taken by: {}.", field.about(), support.join("; "));
            schema.insert("description".to_owned(), Value::String(about));
        }
        members.insert(field.name().to_owned(), schema);
    }
    members.insert(
        "vendor_fields".to_owned(),
        json!({ "type": "object", "description": "Members put into the vendor's body as they are, where the upstream allows it." }),
    );
    json!({
        "type": "object",
        "description": "What to change. At least one member.",
        "properties": members,
        "additionalProperties": false,
        "minProperties": 1,
    })
}

fn optional(kind: &str, about: &str) -> Value {
    json!({ "type": [kind, "null"], "description": about })
}

fn time(about: &str) -> Value {
    json!({ "type": ["string", "null"], "pattern": "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?Z$", "description": about })
}

fn one_of(words: impl Iterator<Item = &'static str>, about: &str) -> Value {
    let words: Vec<Value> = words.map(|word| json!(word)).chain([Value::Null]).collect();
    json!({ "enum": words, "description": about })
}

fn vendor_data() -> Value {
    json!({ "type": "object", "minProperties": 1, "description": "What has no canonical member, in the vendor's own names." })
}

fn vendors() -> Vec<&'static str> {
    ALL.iter().map(|adapter| adapter.spec().vendor).collect()
}

fn conversation_schema() -> Value {
    json!({
        "type": "object",
        "description": "A conversation. A member that the vendor does not report is absent; null means that the vendor says there is none.",
        "required": ["id", "vendor", "upstream"],
        "additionalProperties": false,
        "properties": {
            "id": { "type": "string", "description": "Names the upstream and can be sent back (percent-encoded)." },
            "vendor": { "enum": vendors() },
            "upstream": { "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$" },
            "title": optional("string", "Title."),
            "status": one_of(Status::ALL.iter().map(|status| status.as_str()), "State."),
            "archived": optional("boolean", "Put away."),
            "important": optional("boolean", "Marked as important."),
            "context": { "description": "What the vendor's AI agent knows about this conversation: whatever JSON the vendor keeps." },
            "instructions": optional("string", "Instructions to the AI model."),
            "agent": { "type": ["object", "null"], "additionalProperties": false, "properties": {
                "id": optional("string", "The vendor's id."), "name": optional("string", "Its name."), "status": optional("string", "The vendor's word for its state."),
            } },
            "contact": { "type": ["object", "null"], "additionalProperties": false, "properties": {
                "id": optional("string", "The vendor's id."), "address": optional("string", "A phone number or e-mail address."),
            } },
            "created_at": time("When it began."),
            "updated_at": time("When it was last changed."),
            "last_message_at": time("When the last message came."),
            "message_count": { "type": ["integer", "null"], "minimum": 0, "description": "How many messages there are; `messages` may be a window." },
            "messages": { "type": "array", "items": { "$ref": "#/components/schemas/Message" }, "description": "Oldest first." },
            "vendor_data": vendor_data(),
            "warnings": { "type": "array", "minItems": 1, "items": { "$ref": "#/components/schemas/Warning" } },
        },
    })
}

fn message_schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "id": optional("string", "The vendor's id."),
            "role": one_of(Role::ALL.iter().map(|role| role.as_str()), "Who wrote it."),
            "text": optional("string", "What it says."),
            "created_at": time("When it was written or received."),
            "attachments": { "type": "array", "minItems": 1, "items": { "type": "object", "additionalProperties": false, "properties": {
                "id": {}, "url": {}, "name": {}, "content_type": {}, "size": {},
            } } },
            "vendor_data": vendor_data(),
        },
    })
}

fn warning_schema() -> Value {
    json!({
        "type": "object",
        "required": ["code", "detail"],
        "additionalProperties": false,
        "properties": {
            "code": { "type": "string" },
            "pointer": { "type": "string", "description": "JSON pointer into the caller's body." },
            "detail": { "type": "string" },
        },
    })
}

fn dry_run_schema() -> Value {
    json!({
        "type": "object",
        "required": ["dry_run", "id", "vendor", "upstream", "request"],
        "additionalProperties": false,
        "properties": {
            "dry_run": { "const": true },
            "id": { "type": "string" },
            "vendor": { "enum": vendors() },
            "upstream": { "type": "string" },
            "request": {
                "type": "object",
                "required": ["method", "url", "headers", "body"],
                "additionalProperties": false,
                "properties": {
                    "method": { "const": "PATCH" },
                    "url": { "type": "string", "format": "uri" },
                    "headers": { "type": "object", "additionalProperties": { "type": "string" }, "description": "Credentials are shown as `***`." },
                    "body": { "type": "object" },
                },
            },
            "warnings": { "type": "array", "minItems": 1, "items": { "$ref": "#/components/schemas/Warning" } },
        },
    })
}

fn problem_schema() -> Value {
    let kinds: Vec<String> =
        Code::ALL.iter().map(|code| format!("urn:parlance:problem:{}", code.as_str())).collect();
    let codes: Vec<&str> =
        fault_codes().map(|code| code.as_str()).chain([Code::VendorRejected.as_str()]).collect();
    json!({
        "type": "object",
        "description": "RFC 9457.",
        "required": ["type", "title", "status", "detail", "instance", "request_id", "retryable", "update_applied"],
        "additionalProperties": false,
        "properties": {
            "type": { "enum": kinds },
            "title": { "type": "string" },
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "detail": { "type": "string" },
            "instance": { "type": "string" },
            "request_id": { "type": "string" },
            "retryable": { "type": "boolean", "description": "The same request may succeed later." },
            "update_applied": { "enum": ["no", "unknown", "yes"], "description": "Whether the change may have reached the vendor." },
            "errors": { "type": "array", "minItems": 1, "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "additionalProperties": false,
                "properties": { "pointer": { "type": "string" }, "code": { "enum": codes }, "detail": { "type": "string" } },
            } },
            "vendor": { "enum": vendors() },
            "upstream": { "type": "string" },
            "vendor_status": { "type": "integer" },
            "vendor_error": { "type": "object", "additionalProperties": false, "minProperties": 1, "properties": {
                "code": { "type": "string" }, "message": { "type": "string" },
            } },
        },
    })
}
