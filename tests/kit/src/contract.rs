//! The promises that hold for every answer of the API listener: the OpenAPI document, and what stands beside it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::{Reply, Request, Tree};

/// Code, status and whether the same request may succeed later: the promise, not what the program prints.
const PROBLEMS: &[(&str, u16, bool)] = &[
    ("malformed-json", 400, false),
    ("invalid-id", 400, false),
    ("invalid-query", 400, false),
    ("invalid-header", 400, false),
    ("caller-unauthenticated", 401, false),
    ("caller-forbidden", 403, false),
    ("not-found", 404, false),
    ("no-route", 404, false),
    ("method-not-allowed", 405, false),
    ("request-timeout", 408, true),
    ("body-too-large", 413, false),
    ("unsupported-media-type", 415, false),
    ("invalid-patch", 422, false),
    ("precondition-failed", 412, false),
    ("precondition-unsupported", 412, false),
    ("conversation-busy", 503, true),
    ("idempotency-in-progress", 409, true),
    ("idempotency-outcome-unknown", 409, false),
    ("idempotency-key-reused", 422, false),
    ("idempotency-store-unavailable", 503, true),
    ("caller-rate-limited", 429, true),
    ("overloaded", 503, true),
    ("draining", 503, true),
    ("vendor-rejected", 422, false),
    ("vendor-payment-required", 402, false),
    ("vendor-forbidden", 403, false),
    ("conversation-not-found", 404, false),
    ("vendor-conflict", 409, false),
    ("vendor-rate-limited", 429, true),
    ("vendor-unauthenticated", 502, false),
    ("vendor-unreachable", 502, true),
    ("vendor-error", 502, true),
    ("vendor-invalid-response", 502, false),
    ("vendor-response-too-large", 502, false),
    ("vendor-unexpected-status", 502, false),
    ("vendor-unavailable", 503, true),
    ("vendor-timeout", 504, true),
    ("internal", 500, false),
];

/// Problems that say when to come back.
const WITH_RETRY_AFTER: [&str; 5] =
    ["conversation-busy", "idempotency-in-progress", "caller-rate-limited", "overloaded", "draining"];

/// Headers that an answer may have; anything else would come from the vendor.
const HEADERS: [&str; 20] = [
    "accept-encoding",
    "accept-patch",
    "allow",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "etag",
    "idempotency-status",
    "idempotent-replayed",
    "preference-applied",
    "proxy-status",
    "retry-after",
    "server-timing",
    "strict-transport-security",
    "vary",
    "www-authenticate",
    "x-content-type-options",
    "x-request-id",
];

/// The document that the program prints: a test of the house keeps the file up to date.
pub fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    })
}

/// Judges an answer of the API listener.
#[track_caller]
pub fn judge(request: &Request, answer: &Reply) {
    let told = || format!("{} {} -> {answer:?}", request.method, request.target);
    if answer.header("etag").is_some() {
        assert!(matches!(answer.status, 200 | 204 | 304 | 412), "an ETag of what? {}", told());
    }
    for (name, _) in &answer.headers {
        let name = name.to_ascii_lowercase();
        assert!(HEADERS.contains(&name.as_str()), "{name} does not belong into an answer: {}", told());
    }
    let id = answer.header("x-request-id").unwrap_or_else(|| panic!("no X-Request-Id: {}", told()));
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    assert!((1..=128).contains(&id.len()) && id.bytes().all(kept), "{id:?}");
    let timing = answer.header("server-timing").unwrap_or_else(|| panic!("no Server-Timing: {}", told()));
    assert!(is_timing(timing), "{timing:?}");
    let uncached = answer.header("cache-control") == Some("no-store");
    assert!(uncached || request.method == "OPTIONS", "no-store is missing: {}", told());
    if request.method != "HEAD" {
        conforms(request, answer).unwrap_or_else(|why| panic!("{why}\n{}", told()));
        if answer.status >= 400 {
            judge_problem(answer, id).unwrap_or_else(|why| panic!("{why}\n{}", told()));
        }
    }
}

/// `upstream;dur=1.2, gateway;dur=0.3`
fn is_timing(value: &str) -> bool {
    let duration = |part: &str, name: &str| {
        part.strip_prefix(name)
            .and_then(|rest| rest.strip_prefix(";dur="))
            .is_some_and(|number| number.parse::<f64>().is_ok_and(|number| number >= 0.0))
    };
    value
        .split_once(", ")
        .is_some_and(|(upstream, gateway)| duration(upstream, "upstream") && duration(gateway, "gateway"))
}

fn judge_problem(answer: &Reply, id: &str) -> Result<(), String> {
    let problem = answer.json();
    let code = answer.code();
    let (_, status, retryable) = PROBLEMS
        .iter()
        .find(|(name, ..)| *name == code)
        .ok_or_else(|| format!("{code} was never promised"))?;
    // An answer that is kept for its key is what every repetition gets.
    let kept = problem["detail"].as_str().is_some_and(|detail| detail.contains("a new key is needed"));
    let expected = json!([status, status, *retryable && !kept, id]);
    let actual = json!([answer.status, problem["status"], problem["retryable"], problem["request_id"]]);
    if actual != expected {
        return Err(format!("{actual} instead of {expected}"));
    }
    let of_vendor = code.starts_with("vendor-") || code == "conversation-not-found";
    let named = problem["vendor"].is_string() && problem["upstream"].is_string();
    let proxied = answer.header("proxy-status").is_some_and(|value| value.starts_with("parlance"));
    if of_vendor && !(named && proxied) {
        return Err("it has to do with the vendor, but does not name it or has no Proxy-Status".into());
    }
    if WITH_RETRY_AFTER.contains(&code.as_str()) && answer.header("retry-after").is_none() {
        return Err("it does not say when to come back".into());
    }
    if let Some(seconds) = answer.header("retry-after")
        && !seconds.parse::<u64>().is_ok_and(|seconds| seconds > 0)
    {
        return Err(format!("Retry-After is {seconds:?}, not whole seconds"));
    }
    if code == "caller-unauthenticated" && answer.header("www-authenticate").is_none() {
        return Err("WWW-Authenticate is missing".into());
    }
    Ok(())
}

/// Checks that the document knows this answer, and that its body fits the schema there.
fn conforms(request: &Request, answer: &Reply) -> Result<(), String> {
    let path = request.target.split('?').next().unwrap_or_default();
    let template = match path.strip_prefix("/conversations/") {
        Some(id) if !id.is_empty() && !id.contains('/') => "/conversations/{id}",
        _ => path,
    };
    let operation = &document()["paths"][template][request.method.to_ascii_lowercase()];
    let kind = answer.header("content-type");
    let schema = if operation.is_null() {
        // What the document does not have is not there, and that is all that may be said about it.
        if !matches!(answer.status, 404 | 405) {
            return Err(format!("no operation of the document answers {}", answer.status));
        }
        (kind == Some("application/problem+json")).then_some("/components/schemas/Problem".to_owned())
    } else {
        let responses = &operation["responses"];
        let status = answer.status.to_string();
        let key = if responses[&status].is_null() { "default" } else { &status };
        let response = &responses[key];
        if response.is_null() {
            return Err(format!("the document does not know the status {status} here"));
        }
        if response["content"].is_null() {
            return if answer.body.is_empty() {
                Ok(())
            } else {
                Err("the document knows no body here".into())
            };
        }
        let found = kind.filter(|kind| !response["content"][kind].is_null());
        found.map(|kind| {
            let escape = |name: &str| name.replace('~', "~0").replace('/', "~1");
            let method = request.method.to_ascii_lowercase();
            format!("/paths/{}/{method}/responses/{key}/content/{}/schema", escape(template), escape(kind))
        })
    };
    let schema = schema.ok_or_else(|| format!("the content type {kind:?} is not documented here"))?;
    let body = Tree::parse(&answer.body).map_err(|e| format!("the body is no JSON: {e}"))?;
    let body = value(&body);
    let validator = validator(&schema);
    let faults: Vec<String> =
        validator.iter_errors(&body).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
    if faults.is_empty() { Ok(()) } else { Err(format!("against {schema}:\n{}", faults.join("\n"))) }
}

/// As far as schemas care: a number beyond every double is still a number, half a surrogate pair still a text.
fn value(tree: &Tree) -> Value {
    match tree {
        Tree::Null => Value::Null,
        Tree::Bool(value) => json!(value),
        Tree::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(0.5)),
        Tree::Text(text) => json!(text),
        Tree::List(items) => items.iter().map(value).collect(),
        Tree::Object(members) => {
            Value::Object(members.iter().map(|(name, member)| (name.clone(), value(member))).collect())
        }
    }
}

/// The schema at a pointer of the document, ready to judge.
fn validator(pointer: &str) -> Arc<Validator> {
    static READY: OnceLock<Mutex<HashMap<String, Arc<Validator>>>> = OnceLock::new();
    let mut ready = READY.get_or_init(Mutex::default).lock().unwrap();
    let make = || {
        let schema =
            document().pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not in the document"));
        let whole = json!({ "allOf": [schema], "components": document()["components"] });
        Arc::new(jsonschema::draft202012::new(&whole).unwrap_or_else(|e| panic!("{pointer}: {e}")))
    };
    Arc::clone(ready.entry(pointer.to_owned()).or_insert_with(make))
}
