//! Headers of answers: one table for the document and for the page that people read.

use serde_json::{Map, Value, json};

/// A header of answers.
struct Header {
    name: &'static str,
    about: &'static str,
    /// JSON type, and a pattern for text.
    kind: &'static str,
    pattern: Option<&'static str>,
    example: &'static str,
}

const fn text(name: &'static str, example: &'static str, about: &'static str) -> Header {
    Header { name, about, kind: "string", pattern: None, example }
}

const fn matching(
    name: &'static str,
    example: &'static str,
    pattern: &'static str,
    about: &'static str,
) -> Header {
    Header { name, about, kind: "string", pattern: Some(pattern), example }
}

const ALL: &[Header] = &[
    matching(
        "X-Request-Id",
        "0199f3a1-7c55-7b06-9d3e-2f6a51c0e7aa",
        "^[A-Za-z0-9._-]{1,128}$",
        "The request's id: the caller's own, or one that the gateway made. The log has it too.",
    ),
    matching(
        "Server-Timing",
        "upstream;dur=84.1, gateway;dur=0.3",
        "^upstream;dur=[0-9.]+, gateway;dur=[0-9.]+$",
        "Milliseconds spent waiting for the vendor, and in the gateway.",
    ),
    text("Cache-Control", "no-store", "Always `no-store`, in every answer that has a body."),
    matching(
        "ETag",
        "\"5d41402abc4b2a76\"",
        "^\"[^\"]*\"$",
        "Strong tag of the whole conversation without `warnings`; the same conversation has the same tag on every replica.",
    ),
    text("Preference-Applied", "handling=lenient", "The preferences of `Prefer` that were honoured."),
    text(
        "Idempotent-Replayed",
        "true",
        "`true` where the stored answer of an earlier request with the same `Idempotency-Key` is given again.",
    ),
    text(
        "Idempotency-Status",
        "not-guaranteed",
        "`not-guaranteed` where the update was done while the store of answers failed: sent again, it is done again.",
    ),
    Header {
        name: "Retry-After",
        about: "Whole seconds to wait before the request is sent again.",
        kind: "integer",
        pattern: None,
        example: "2",
    },
    matching(
        "Proxy-Status",
        "parlance; error=connection_refused; next-hop=\"sales\"",
        "^parlance",
        "The part of the vendor in a problem (RFC 9209): the kind of failure, the upstream, and the status that came.",
    ),
    text("WWW-Authenticate", "Bearer", "The scheme in which a caller presents its key."),
    text("Allow", "GET, HEAD, PATCH, OPTIONS", "The methods of the resource."),
    text("Accept-Patch", "application/json, application/merge-patch+json", "The patch formats."),
    text("Accept-Encoding", "identity", "The content codings of request bodies: none."),
];

/// Headers that are always there where a response names them.
const REQUIRED: [&str; 6] =
    ["X-Request-Id", "Server-Timing", "Cache-Control", "Allow", "Accept-Patch", "WWW-Authenticate"];

/// Definition of each header.
pub(super) fn components() -> Value {
    let definition = |header: &Header| {
        let mut schema = json!({ "type": header.kind });
        if let Value::Object(schema) = &mut schema {
            schema.extend(header.pattern.map(|pattern| ("pattern".to_owned(), json!(pattern))));
        }
        let example = if header.kind == "integer" { json!(2) } else { json!(header.example) };
        let required = REQUIRED.contains(&header.name);
        json!({ "description": header.about, "required": required, "schema": schema, "example": example })
    };
    Value::Object(ALL.iter().map(|header| (header.name.to_owned(), definition(header))).collect())
}

/// References to the headers of these names.
pub(super) fn references(names: &[&str]) -> Value {
    let reference =
        |name: &&str| ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }));
    Value::Object(names.iter().map(reference).collect::<Map<_, _>>())
}

/// Table of all headers, in Markdown.
pub fn markdown() -> String {
    let rows =
        ALL.iter().map(|header| format!("| `{}: {}` | {} |\n", header.name, header.example, header.about));
    format!("\n| header, with an example | meaning |\n| --- | --- |\n{}\n", rows.collect::<String>())
}
