//! Paths, methods and parameters.

use serde_json::{Value, json};

use super::requests;
use super::responses::{Kind, response, with_problems};

/// Pattern of `*` or a list of entity tags.
const TAGS: &str = r#"^(\*|(W/)?"[!#-~]*"([ \t]*,[ \t]*(W/)?"[!#-~]*")*)$"#;

/// Every path with its operations.
pub(super) fn paths() -> Value {
    json!({
        "/conversations/{id}": {
            "parameters": [parameter("id")],
            "get": read(),
            "head": head(),
            "patch": update(),
            "options": options(),
        },
        "/openapi.json": {
            "get": {
                "operationId": "getOpenApi",
                "summary": "Describe the API",
                "parameters": [parameter("X-Request-Id")],
                "responses": with_problems(Kind::Local, [("200", response("This document.", &["Cache-Control"], Some(
                    json!({ "application/json": { "schema": { "type": "object", "additionalProperties": true } } }),
                )))]),
            },
            "head": {
                "operationId": "headOpenApi",
                "summary": "Describe the API, without the body",
                "parameters": [parameter("X-Request-Id")],
                "responses": with_problems(Kind::LocalHead, [("200", response("As for GET.", &["Cache-Control"], None))]),
            },
        },
    })
}

fn parameter(name: &str) -> Value {
    json!({ "$ref": format!("#/components/parameters/{name}") })
}

/// Every parameter, by name.
pub(super) fn parameters() -> Value {
    json!({
        "id": {
            "name": "id", "in": "path", "required": true,
            "description": "One percent-encoded segment, at most 512 bytes once decoded. `{upstream}:{vendor id}` names an upstream; a vendor id alone leaves the choice to the routes. Where a vendor has two ids, both stand behind the upstream, with a colon between them.",
            "schema": { "type": "string", "minLength": 1 },
            "example": "sales:chat_12345abcde",
        },
        "dry_run": {
            "name": "dry_run", "in": "query",
            "description": "With true, the answer shows the request to the vendor, and nothing is written there.",
            "schema": { "type": "boolean" },
        },
        "Prefer": {
            "name": "Prefer", "in": "header",
            "description": "RFC 7240, as often as needed or as a list. `handling=lenient` leaves out the members that cannot be written and names them in `warnings`; `return=minimal` asks for 204, or for a Confirmation where there are warnings. Values may be quoted. Other preferences are ignored; `Preference-Applied` names those that were honoured.",
            "schema": { "type": "string" },
            "examples": {
                "lenient": { "value": "handling=lenient" },
                "minimal": { "value": "return=minimal" },
                "both": { "value": "handling=lenient, return=minimal" },
            },
        },
        "Idempotency-Key": {
            "name": "Idempotency-Key", "in": "header",
            "description": "1 to 255 visible ASCII characters, bare or as a quoted string. The same key, caller, path and body give the stored answer.",
            "schema": { "type": "string", "pattern": "^(\"[!-~]{1,255}\"|[!-~]{1,255})$" },
            "example": "order-4711-paid",
        },
        "If-Match": {
            "name": "If-Match", "in": "header",
            "description": "The tag of the conversation that the update is meant for, or a list of tags, or `*` for any that exists. With another tag the answer is `precondition-failed`. On an update, `If-None-Match` and `If-Unmodified-Since` are refused.",
            "schema": { "type": "string", "minLength": 1, "pattern": TAGS },
            "example": "\"5d41402abc4b2a76\"",
        },
        "If-None-Match": {
            "name": "If-None-Match", "in": "header",
            "description": "The tag that the caller has, or a list of tags, or `*`. If one of them is current the answer is 304.",
            "schema": { "type": "string", "minLength": 1, "pattern": TAGS },
            "example": "\"5d41402abc4b2a76\"",
        },
        "X-Request-Id": {
            "name": "X-Request-Id", "in": "header",
            "description": "Kept if it is 1 to 128 of `A-Za-z0-9._-`; else the gateway makes one.",
            "schema": { "type": "string" },
            "example": "0199f3a1-7c55-7b06-9d3e-2f6a51c0e7aa",
        },
        "traceparent": {
            "name": "traceparent", "in": "header",
            "description": "W3C trace context, 55 characters. Continued towards the vendor; anything else is ignored.",
            "schema": { "type": "string" },
            "example": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        },
    })
}

fn read() -> Value {
    json!({
        "operationId": "readConversation",
        "summary": "Read a conversation from its vendor",
        "description": "The conversation as the vendor reports it now, with its tag.",
        "parameters": reading_parameters(),
        "responses": with_problems(Kind::Read, [
            ("200", response(
                "The conversation; with `dry_run` the request that would have been sent.",
                &["ETag", "Cache-Control"],
                one_of(&["DryRun", "Conversation"]),
            )),
            ("304", response("The caller has the current conversation.", &["ETag", "Cache-Control"], None)),
        ]),
    })
}

fn head() -> Value {
    json!({
        "operationId": "headConversation",
        "summary": "Read a conversation's tag",
        "description": "As GET, without the body.",
        "parameters": reading_parameters(),
        "responses": with_problems(Kind::Head, [
            ("200", response("There is such a conversation.", &["ETag", "Cache-Control"], None)),
            ("304", response("The caller has the current conversation.", &["ETag", "Cache-Control"], None)),
        ]),
    })
}

fn reading_parameters() -> Value {
    ["dry_run", "If-None-Match", "X-Request-Id", "traceparent"].into_iter().map(parameter).collect()
}

fn update() -> Value {
    let done = ["Cache-Control", "ETag", "Preference-Applied", "Idempotent-Replayed", "Idempotency-Status"];
    let names = ["dry_run", "Prefer", "Idempotency-Key", "If-Match", "X-Request-Id", "traceparent"];
    json!({
        "operationId": "updateConversation",
        "summary": "Update a conversation, whichever vendor keeps it",
        "description": "An absent member is unchanged, a value sets, null clears. One call at the vendor applies all of it or nothing. What a vendor lacks is refused before anything is sent. The media type decides if an object `context` replaces the stored one or is merged into it.",
        "parameters": names.into_iter().map(parameter).collect::<Value>(),
        "requestBody": { "required": true, "content": {
            "application/json": {
                "schema": { "$ref": "#/components/schemas/ConversationUpdate" },
                "examples": requests::update_examples(),
            },
            "application/merge-patch+json": {
                "schema": { "$ref": "#/components/schemas/ConversationMergePatch" },
                "examples": requests::merge_examples(),
            },
        } },
        "responses": with_problems(Kind::Update, [
            ("200", response(
                "The conversation as the vendor reports it after the update; with `dry_run` the request that would have been sent; with warnings and without a body to show, a confirmation.",
                &done,
                one_of(&["DryRun", "Conversation", "Confirmation"]),
            )),
            ("204", response("Done; `Prefer: return=minimal` was asked for, and there are no warnings.", &done, None)),
        ]),
    })
}

fn options() -> Value {
    json!({
        "operationId": "conversationOptions",
        "summary": "List the methods and patch formats",
        "parameters": [parameter("X-Request-Id")],
        "responses": with_problems(Kind::Local, [
            ("204", response("The methods and patch formats.", &["Allow", "Accept-Patch"], None)),
        ]),
    })
}

/// Content that fits one of these schemas. A generated client takes the first that fits, so a dry run comes first.
fn one_of(names: &[&str]) -> Option<Value> {
    let reference = |name: &&str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let bodies: Value = names.iter().map(reference).collect();
    Some(json!({ "application/json": { "schema": { "anyOf": bodies } } }))
}
