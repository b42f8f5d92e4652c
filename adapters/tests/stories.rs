//! The stories, told by the adapters alone: what is sent and what is answered, without a socket.
//!
//! The gateway's part (routing, media types, preferences about the answer) is not judged here.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use parlance_adapters::canonical::{Patch, Warning};
use parlance_adapters::{
    ALL, Adapter, DecodeContext, DecodeError, EncodeRequest, Encoded, Failure, FailureKind, VendorEndpoint,
    decode, decode_segment, locate,
};
use support::{Story, Tree, names, root, upstream};
use testkit::stories::MANDATORY;

#[test]
fn every_vendor_has_its_nine_stories() {
    let vendors: Vec<&str> = ALL.iter().map(|adapter| adapter.spec().vendor).collect();
    let mut missing = Vec::new();
    for adapter in ALL {
        let vendor = adapter.spec().vendor;
        let told: Vec<String> = Story::of(vendor).into_iter().map(|story| story.name).collect();
        let read = adapter.spec().read.is_some().then_some(&"read");
        let lacks = MANDATORY.iter().chain(read).filter(|name| !told.iter().any(|told| told == **name));
        missing.extend(lacks.map(|name| format!("tests/stories/{vendor}/{name}.json")));
    }
    assert!(missing.is_empty(), "write the missing stories: {missing:#?}");
    let folders = names(&root()).into_iter().filter(|name| root().join(name).is_dir());
    let strangers: Vec<_> = folders.filter(|name| !vendors.contains(&name.as_str())).collect();
    assert!(strangers.is_empty(), "no adapter tells the stories of {strangers:?}");
}

#[test]
fn every_member_that_a_vendor_takes_is_sent_in_a_story() {
    let mut unsent = Vec::new();
    for adapter in ALL {
        let spec = adapter.spec();
        let mut sent = BTreeSet::new();
        for story in Story::of(spec.vendor) {
            let body = story.told.get("sent").and_then(|sent| told_body(sent, false));
            if let Some(Tree::Object(members)) = body {
                sent.extend(
                    members.into_iter().filter(|(_, value)| *value != Tree::Null).map(|(name, _)| name),
                );
            }
        }
        unsent.extend(spec.rows().map(|row| row.wire).filter(|wire| !sent.contains(*wire)));
    }
    assert!(unsent.is_empty(), "no story sends {unsent:?}");
}

#[test]
fn the_adapters_tell_every_story() {
    let mut faults = Vec::new();
    let mut told = 0;
    for adapter in ALL {
        for story in Story::of(adapter.spec().vendor) {
            told += 1;
            if let Err(fault) = tell(*adapter, &story.told) {
                faults.push(format!("{}/{}: {fault}", adapter.spec().vendor, story.name));
            }
        }
    }
    assert!(told >= MANDATORY.len() * ALL.len());
    assert!(faults.is_empty(), "{} of {told} stories go otherwise:\n{}", faults.len(), faults.join("\n"));
}

/// The caller's answer, as far as the adapters decide it.
enum Outcome {
    Conversation(Tree),
    Problem { status: u16, code: &'static str, vendor_error: Option<Tree>, errors: Vec<(String, String)> },
}

impl Outcome {
    fn problem(status: u16, code: &'static str) -> Outcome {
        Outcome::Problem { status, code, vendor_error: None, errors: Vec::new() }
    }
}

/// Tells one story; an error says where it goes otherwise.
fn tell(adapter: &dyn Adapter, story: &Tree) -> Result<(), String> {
    let answer = story.get("answer").ok_or("has no answer")?;
    let merge = match story.get("content_type").and_then(Tree::text) {
        None => false,
        Some(given) => match given.split(';').next() {
            Some("application/json") => false,
            Some("application/merge-patch+json") => true,
            // The gateway refuses any other before an adapter is asked.
            _ => return Ok(()),
        },
    };
    let given = story.get("id").and_then(Tree::text).ok_or("has no id")?;
    let Ok(id) = decode_segment(given) else {
        return compare(answer, Outcome::problem(400, "invalid-id"));
    };
    let (name, vendor_id) = id.split_once(':').ok_or("its id names no upstream")?;
    let upstream = configured(adapter, name, story.get("upstream"));
    let Ok(target) = locate(adapter.spec(), &upstream, vendor_id) else {
        return compare(answer, Outcome::problem(400, "invalid-id"));
    };
    let sent = story.get("sent").filter(|sent| **sent != Tree::Null);
    match story.get("method").and_then(Tree::text) {
        None => {}
        Some("GET") => {
            let request =
                adapter.read_request(&upstream, &target).ok_or("reads, but the vendor has no read")?;
            let request = request.map_err(|e| e.to_string())?;
            compare_sent(sent.ok_or("is sent, but must not be")?, &authorised(adapter, &request))?;
            let reply = reply(story.get("reply").ok_or("has no reply")?)?;
            let cx = DecodeContext::of_read(&target);
            return compare(answer, answered(adapter, &upstream, target.id(), &cx, &[], &reply)?);
        }
        Some(other) => return Err(format!("has the method {other}, of which this test knows nothing")),
    }

    let body = Bytes::from(told_bytes(story.get("patch"), story.get("patch_text")));
    let patch = match Patch::parse(&body) {
        Ok(patch) => patch,
        Err(_) => return compare(answer, Outcome::problem(400, "malformed-json")),
    };
    let lenient = story.get("prefer").and_then(Tree::text).is_some_and(|it| it.contains("handling=lenient"));
    let ask = EncodeRequest {
        endpoint: &upstream,
        target: &target,
        patch: &patch,
        merge,
        lenient,
        idempotency_key: Some("key-1"),
    };
    let call = match adapter.encode(&ask) {
        Ok(Encoded::Ready(call)) => call,
        Ok(Encoded::NeedsStored(_)) => return Err("needs a read, which no story tells".to_owned()),
        Err(refusal) => {
            let errors = refusal.faults.into_iter().map(|it| (it.pointer, it.code.as_str().to_owned()));
            let outcome = Outcome::Problem {
                status: 422,
                code: "invalid-patch",
                vendor_error: None,
                errors: errors.collect(),
            };
            return match sent {
                None => compare(answer, outcome),
                Some(_) => compare(answer, outcome).and(Err("is refused, but the story sends it".into())),
            };
        }
    };
    compare_sent(sent.ok_or("is sent, but must not be")?, &authorised(adapter, &call.request))?;
    let reply = reply(story.get("reply").ok_or("has no reply")?)?;
    let cx = DecodeContext::of_update(&target, &call);
    compare(answer, answered(adapter, &upstream, target.id(), &cx, &call.warnings, &reply)?)
}

/// The caller's answer for a reply.
fn answered(
    adapter: &dyn Adapter,
    upstream: &VendorEndpoint,
    id: &str,
    cx: &DecodeContext<'_>,
    warnings: &[Warning],
    reply: &Response<Bytes>,
) -> Result<Outcome, String> {
    if !reply.status().is_success() {
        return Ok(failed(adapter.failure(reply)));
    }
    Ok(match decode(adapter, cx, reply) {
        Ok(conversation) => {
            let mut out = Vec::new();
            conversation.write(id, adapter.spec().vendor, &upstream.name, warnings, &mut out);
            Outcome::Conversation(Tree::parse(&out).map_err(|e| format!("is answered by no JSON: {e}"))?)
        }
        Err(DecodeError::Invalid(_)) => Outcome::problem(502, "vendor-invalid-response"),
        Err(DecodeError::Failed(failure)) if !cx.is_update() => {
            // A read that is an error has failed, whatever the error is about.
            let Outcome::Problem { vendor_error, .. } = failed(failure) else {
                panic!("a failure is a problem")
            };
            Outcome::Problem {
                status: 502,
                code: "vendor-invalid-response",
                vendor_error,
                errors: Vec::new(),
            }
        }
        Err(DecodeError::Failed(failure)) => failed(failure),
    })
}

/// The usual upstream, with what the story says of it.
fn configured(adapter: &dyn Adapter, name: &str, told: Option<&Tree>) -> VendorEndpoint {
    let mut settings = Vec::new();
    let mut allow = false;
    if let Some(Tree::Object(members)) = told {
        for (key, value) in members {
            match value {
                Tree::Text(text) => settings.push((key.as_str(), text.as_str())),
                Tree::Bool(value) if key == "allow_vendor_fields" => allow = *value,
                other => panic!("a story's upstream has {key} = {other}, of which this test knows nothing"),
            }
        }
    }
    let mut upstream = upstream(adapter.spec(), name, &settings);
    for (key, value) in &mut upstream.settings {
        if let Some((_, told)) = settings.iter().find(|(name, _)| name == key) {
            *value = (*told).to_owned();
        }
    }
    upstream.allow_vendor_fields = allow;
    upstream
}

/// The request with its credential, which whoever sends it puts in.
fn authorised(adapter: &dyn Adapter, request: &Request<Bytes>) -> Request<Bytes> {
    let mut request = request.clone();
    let credential = adapter.spec().credential;
    let key = format!("test-credential-{}", adapter.spec().vendor);
    let value = credential.value(&key).expect("a key that is visible ASCII");
    assert!(!format!("{value:?}").contains(&key), "no Debug shows the credential");
    request.headers_mut().insert(credential.header(), value);
    request
}

fn compare_sent(told: &Tree, request: &Request<Bytes>) -> Result<(), String> {
    let method = told.get("method").and_then(Tree::text).ok_or("sends by no method")?;
    let path = told.get("path").and_then(Tree::text).ok_or("sends to no path")?;
    let uri = request.uri();
    if (method, path) != (request.method().as_str(), uri.path_and_query().map_or("", |it| it.as_str())) {
        return Err(format!("sends {method} {path}, not {} {uri}", request.method()));
    }
    if let Some(Tree::Object(headers)) = told.get("headers") {
        for (name, value) in headers {
            let value = value.text().ok_or("has a header that is no text")?;
            match request.headers().get(name) {
                Some(sent) if value == "*" || sent.as_bytes() == value.as_bytes() => {}
                other => return Err(format!("sends {name}: {value}, not {other:?}")),
            }
        }
    }
    if request.method() == Method::GET {
        return if request.body().is_empty() { Ok(()) } else { Err("reads with a body".to_owned()) };
    }
    let body = told_body(told, false).ok_or("sends no body")?;
    let sent = Tree::parse(request.body()).map_err(|e| format!("sends no JSON: {e}"))?;
    if body.sorted() != sent.sorted() {
        return Err(format!("sends {body}, not {sent}"));
    }
    Ok(())
}

fn reply(told: &Tree) -> Result<Response<Bytes>, String> {
    let mut reply = Response::new(Bytes::from(told_bytes(told.get("body"), told.get("body_text"))));
    *reply.status_mut() = StatusCode::from_u16(status(told)?).map_err(|e| e.to_string())?;
    let mut headers = HeaderMap::new();
    if let Some(Tree::Object(told)) = told.get("headers") {
        for (name, value) in told {
            let value = HeaderValue::from_str(value.text().unwrap_or_default()).map_err(|e| e.to_string())?;
            headers.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|e| e.to_string())?, value);
        }
    }
    *reply.headers_mut() = headers;
    Ok(reply)
}

/// A failure as the API's own table names it.
fn failed(failure: Failure) -> Outcome {
    let (status, code) = match failure.kind {
        FailureKind::Rejected => (422, "vendor-rejected"),
        FailureKind::Unauthenticated => (502, "vendor-unauthenticated"),
        FailureKind::PaymentRequired => (402, "vendor-payment-required"),
        FailureKind::Forbidden => (403, "vendor-forbidden"),
        FailureKind::NotFound => (404, "conversation-not-found"),
        FailureKind::Conflict => (409, "vendor-conflict"),
        FailureKind::RateLimited => (429, "vendor-rate-limited"),
        FailureKind::Error => (502, "vendor-error"),
        FailureKind::Unavailable => (503, "vendor-unavailable"),
        FailureKind::UnexpectedStatus => (502, "vendor-unexpected-status"),
    };
    let text = |name: &str, value: Option<String>| Some((name.to_owned(), Tree::Text(value?)));
    let words: Vec<_> = [text("code", failure.vendor_code), text("message", failure.vendor_message)]
        .into_iter()
        .flatten()
        .collect();
    Outcome::Problem {
        status,
        code,
        vendor_error: (!words.is_empty()).then_some(Tree::Object(words)),
        errors: failure
            .fields
            .into_iter()
            .map(|(pointer, _)| (pointer, "vendor-rejected".to_owned()))
            .collect(),
    }
}

fn compare(answer: &Tree, outcome: Outcome) -> Result<(), String> {
    let told = told_body(answer, true);
    match outcome {
        Outcome::Conversation(conversation) => {
            if status(answer)? == 204 {
                return Ok(()); // By the caller's preference there is no body.
            }
            if status(answer)? != 200 {
                return Err(format!("has the status {}, not 200: {conversation}", status(answer)?));
            }
            let told = told.ok_or("answers without a body")?;
            let (told, conversation) =
                (without_details(&told).sorted(), without_details(&conversation).sorted());
            if told != conversation {
                return Err(format!("answers\n  {told}, not\n  {conversation}"));
            }
        }
        Outcome::Problem { status: actual, code, vendor_error, errors } => {
            let told = told.ok_or("answers without a body")?;
            let name = told.get("type").and_then(Tree::text).unwrap_or_default();
            let code = format!("urn:parlance:problem:{code}");
            if (status(answer)?, name) != (actual, code.as_str()) {
                return Err(format!("answers {} {name}, not {actual} {code} {errors:?}", status(answer)?));
            }
            if let Some(told) = told.get("vendor_error")
                && Some(told.sorted()) != vendor_error.as_ref().map(Tree::sorted)
            {
                return Err(format!("has the vendor's error {told}, not {vendor_error:?}"));
            }
            if let Some(Tree::List(told)) = told.get("errors") {
                let text = |error: &Tree, name: &str| error.get(name).and_then(Tree::text).map(str::to_owned);
                let told: Option<Vec<_>> =
                    told.iter().map(|error| Some((text(error, "pointer")?, text(error, "code")?))).collect();
                let mut told = told.ok_or("has an error without pointer or code")?;
                let mut actual = errors;
                told.sort();
                actual.sort();
                if told != actual {
                    return Err(format!("names {told:?}, not {actual:?}"));
                }
            }
        }
    }
    Ok(())
}

/// The conversation without the sentences of its warnings, and these in the order of their texts.
fn without_details(conversation: &Tree) -> Tree {
    let Tree::Object(members) = conversation else { return conversation.clone() };
    let members = members.iter().map(|(name, value)| match (name.as_str(), value) {
        ("warnings", Tree::List(warnings)) => {
            let mut warnings: Vec<Tree> = warnings
                .iter()
                .map(|warning| match warning {
                    Tree::Object(members) => {
                        Tree::Object(members.iter().filter(|(name, _)| name != "detail").cloned().collect())
                    }
                    other => other.clone(),
                })
                .collect();
            warnings.sort_by_key(|warning| warning.sorted().to_string());
            (name.clone(), Tree::List(warnings))
        }
        _ => (name.clone(), value.clone()),
    });
    Tree::Object(members.collect())
}

fn status(told: &Tree) -> Result<u16, String> {
    match told.get("status") {
        Some(Tree::Number(status)) => status.parse().map_err(|_| format!("has the status {status}")),
        _ => Err("has no status".to_owned()),
    }
}

/// A body as bytes: the exact text, or the JSON.
fn told_bytes(body: Option<&Tree>, text: Option<&Tree>) -> Vec<u8> {
    match (text.and_then(Tree::text), body) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(body)) => body.to_string().into_bytes(),
        (None, None) => Vec::new(),
    }
}

/// A body as JSON, however it is told.
fn told_body(told: &Tree, may_be_text: bool) -> Option<Tree> {
    let bytes = told_bytes(told.get("body"), told.get("body_text"));
    match Tree::parse(&bytes) {
        Ok(body) => Some(body),
        Err(_) if bytes.is_empty() || may_be_text => None,
        Err(fault) => panic!("a story's body is no JSON: {fault}"),
    }
}
