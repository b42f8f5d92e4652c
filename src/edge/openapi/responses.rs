//! Responses of each operation. Problems come from the closed list of codes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{examples, headers};
use crate::types::code::{AnsweredBy, Code};
use crate::types::remedies;

/// Kind of operation, as far as its responses differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Reads a conversation.
    Read,
    /// Reads a conversation and sends no body.
    Head,
    /// Updates a conversation.
    Update,
    /// Answers without any vendor.
    Local,
    /// Answers without any vendor and sends no body.
    LocalHead,
}

/// Headers of every response that the gateway makes.
const ALWAYS: [&str; 2] = ["X-Request-Id", "Server-Timing"];

/// True if an operation of this kind can be answered with this code.
fn has(kind: Kind, code: Code) -> bool {
    match kind {
        Kind::Update => true,
        Kind::Read | Kind::Head => !matches!(
            code,
            Code::MalformedJson
                | Code::BodyTooLarge
                | Code::UnsupportedMediaType
                | Code::RequestTimeout
                | Code::InvalidPatch
                | Code::IdempotencyInProgress
                | Code::IdempotencyOutcomeUnknown
                | Code::IdempotencyKeyReused
                | Code::IdempotencyStoreUnavailable
                | Code::PreconditionFailed
                | Code::PreconditionUnsupported
                | Code::ConversationBusy
        ),
        Kind::Local | Kind::LocalHead => matches!(
            code,
            Code::InvalidHeader | Code::MethodNotAllowed | Code::Overloaded | Code::Draining | Code::Internal
        ),
    }
}

/// A response with these headers beside those that every one has, and with a body if it has a schema.
pub(super) fn response(about: &str, named: &[&str], content: Option<Value>) -> Value {
    let all: Vec<&str> = ALWAYS.into_iter().chain(named.iter().copied()).collect();
    let mut response = json!({ "description": about, "headers": headers::references(&all) });
    if let Value::Object(response) = &mut response {
        response.extend(content.map(|content| ("content".to_owned(), content)));
    }
    response
}

/// These responses and those of all problems that such an operation may be answered with.
pub(super) fn with_problems<const N: usize>(kind: Kind, successes: [(&str, Value); N]) -> Value {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in Code::ALL.iter().copied().filter(|code| has(kind, *code)) {
        by_status.entry(code.status().as_u16()).or_default().push(code);
    }
    let mut all: Map<String, Value> =
        successes.into_iter().map(|(status, response)| (status.to_owned(), response)).collect();
    all.extend(
        by_status.into_iter().map(|(status, codes)| (status.to_string(), problem(kind, status, &codes))),
    );
    // No header either: nothing of the request has been read when it is made.
    all.insert("431".to_owned(), json!({
        "description": "The head of the request has more than 100 lines or is longer than 32 KiB. The answer has no body, and the connection is closed.",
    }));
    Value::Object(all)
}

/// The response for all problems of one status.
fn problem(kind: Kind, status: u16, codes: &[Code]) -> Value {
    let mut about = String::new();
    for code in codes {
        let remedy = remedies::of(*code);
        about.push_str(&format!(
            "- `{}`: {} {}
",
            code.as_str(),
            remedy.cause,
            remedy.action
        ));
    }
    if status == 400 {
        about.push_str("\nWhat is not HTTP is answered 400 without a body.\n");
    }
    let of_vendor = codes.iter().any(|code| code.answered_by() == AnsweredBy::Vendor);
    let mut named = vec!["Cache-Control"];
    match status {
        401 => named.push("WWW-Authenticate"),
        405 => named.push("Allow"),
        412 => named.push("ETag"),
        415 => named.extend(["Accept-Patch", "Accept-Encoding"]),
        _ => {}
    }
    // Who let a request time out may repeat it at once.
    if status != 408 && codes.iter().any(|code| code.retryable()) {
        named.push("Retry-After");
    }
    if of_vendor {
        named.push("Proxy-Status");
    }
    if of_vendor && kind == Kind::Update {
        named.extend(["Idempotent-Replayed", "Idempotency-Status"]);
    }
    let body = !matches!(kind, Kind::Head | Kind::LocalHead);
    response(
        &about,
        &named,
        body.then(|| {
            json!({ "application/problem+json": {
            "schema": { "$ref": "#/components/schemas/Problem" },
            "examples": examples::references(codes),
        } })
        }),
    )
}
