//! OpenAPI 3.1 document, generated from the tables that translation reads.

mod answers;
mod examples;
pub mod headers;
mod operations;
mod requests;
mod responses;

use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::{Value, json};

/// Promise to clients about later releases, in Markdown.
pub const COMPATIBILITY: &str = "
The paths hold no version. Any release may add the following, without notice, and a client accepts it:

- members of answers, at any depth, in problems and warnings too;
- values of `vendor`, `status` and `role`, values of `type` in problems, and codes in `errors` and `warnings`;
- response headers, and statuses of problems;
- optional members, parameters and headers of requests;
- resources and methods.

A client treats an unknown `status` or `role` as `other`, and an unknown problem by its HTTP status, `retryable` and `update_applied`.

Only a new major version changes the following, and the changelog names each change: a member or a header is removed or renamed, or gets
another type or meaning; a request needs something new; `update_applied` gets a fourth value; a problem gets another HTTP status. While
the version is 0, a minor version counts as a major one. A value that a vendor begins to refuse, or a member that it stops reporting, is the vendor's change and not one of
the API.
";

const ABOUT: &str = "
An update is `PATCH` with one of two media types, each with a schema of its own: with `application/json` (ConversationUpdate) an object
`context` replaces the stored one, with `application/merge-patch+json` (ConversationMergePatch) it is merged into the stored one.

A 200 of an update has one of three bodies. DryRun alone has `dry_run`. Conversation has `id`, `vendor` and `upstream`. Confirmation has
`id` and `warnings` alone. A generated client that tries them in this order finds the right one.

# Compatibility
";

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
            "description": format!("{}{COMPATIBILITY}", ABOUT.trim_start()),
        },
        "servers": [{ "url": "http://127.0.0.1:8080", "description": "The default listener" }],
        "security": [{}, { "callerKey": [] }, { "clientCertificate": [] }],
        "paths": operations::paths(),
        "components": {
            "securitySchemes": {
                "callerKey": { "type": "http", "scheme": "bearer", "description": "The caller's own key, where callers are configured." },
                "clientCertificate": { "type": "mutualTLS", "description": "The caller's certificate, where the listener asks for one." },
            },
            "parameters": operations::parameters(),
            "headers": headers::components(),
            "examples": examples::problems(),
            "schemas": answers::schemas().into_iter().chain(requests::schemas()).collect::<serde_json::Map<_, _>>(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` of a value.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    /// Schemas that answers reach must accept what a later release adds.
    #[test]
    fn answers_are_open_and_requests_are_closed() {
        let document = value();
        let mut open = Vec::new();
        references(&document["paths"], &mut open);
        let mut at = 0;
        while let Some(reference) = open.get(at).cloned() {
            let pointer = reference.trim_start_matches('#');
            let target = document.pointer(pointer);
            assert!(target.is_some(), "{reference} leads nowhere");
            let mut further = Vec::new();
            references(target.unwrap(), &mut further);
            further.retain(|it| !open.contains(it));
            open.extend(further);
            at += 1;
        }
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            assert!(open.iter().any(|it| it.ends_with(&format!("/schemas/{name}"))), "{name} is not used");
            let is_request = ["ConversationUpdate", "ConversationMergePatch", "AgentChoice", "ContactChoice"]
                .contains(&name.as_str());
            let closed = schema.get("additionalProperties") == Some(&json!(false));
            assert_eq!(closed, is_request, "{name}");
            let nested = schema["properties"].to_string();
            assert!(!nested.contains(r#""additionalProperties":false"#), "{name}: {nested}");
            // The only closed list of an answer is the one that the policy closes.
            if !is_request {
                assert_eq!(nested.matches(r#""enum""#).count(), usize::from(name == "Problem"), "{name}");
            }
        }
    }
}
