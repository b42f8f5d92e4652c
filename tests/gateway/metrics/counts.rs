//! The counters agree: what callers count is what metrics and the log count, and what vendors count is what the
//! metrics of the way to them count.

use std::collections::BTreeMap;
use std::thread;

use serde_json::{Value, json};
use testkit::blocking::{Gateway, eventually};
use testkit::{Reply, Request};

use super::exposition::Exposition;
use super::{BODY, ID, scrape, tally};
use crate::setup::with;

/// Method, status and code of an answer.
type Answered = (String, u16, String);

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

fn answered(method: &str, status: u16, code: &str) -> Answered {
    let method = if METHODS.contains(&method) { method } else { "_OTHER" };
    (method.to_owned(), status, code.to_owned())
}

fn of_answer(method: &str, answer: &Reply) -> Answered {
    let problem = answer.status >= 400 && !answer.body.is_empty();
    answered(method, answer.status, &if problem { answer.code() } else { String::new() })
}

/// A histogram by whatever of its labels matters.
fn counted<K: Ord>(
    metrics: &Exposition,
    name: &str,
    key: impl Fn(&super::exposition::Sample) -> K,
) -> BTreeMap<K, u64> {
    let mut counts = BTreeMap::new();
    for sample in metrics.of(&format!("{name}_count"), &[]).filter(|sample| sample.value > 0.0) {
        *counts.entry(key(sample)).or_default() += sample.value as u64;
    }
    counts
}

/// Requests of every sort, one after the other.
fn requests(rig: &Gateway, round: usize) -> Vec<Request> {
    let key = format!("key-{round}");
    let merge = |id: &str| {
        Request::patch(id, r#"{"context":{"a":1}}"#).set("Content-Type", "application/merge-patch+json")
    };
    let chatling = format!("support:{}", rig.conversation("chatling"));
    let sms = format!("sms:{}", rig.conversation("agentphone"));
    let voice = format!("voice:{}", rig.conversation("sigmamind"));
    let planning = format!("planning:{}", rig.conversation("cuadra"));
    vec![
        Request::patch(ID, BODY),
        Request::patch(&chatling, r#"{"important":true}"#),
        Request::patch(&sms, r#"{"context":{"a":1}}"#),
        Request::patch(&voice, r#"{"context":{"a":"1"}}"#),
        Request::patch(&planning, r#"{"context":{"a":1}}"#),
        merge(&sms),
        merge(&planning),
        merge(ID),
        Request::patch(ID, BODY).header("Prefer", "return=minimal"),
        Request::patch(&format!("{ID}?dry_run=true"), BODY),
        Request::patch(ID, r#"{"context":"c","bogus":1,"title":"t"}"#),
        Request::patch(ID, "{"),
        Request::patch(&format!("{ID}?x=1"), BODY),
        Request::patch(ID, BODY).set("Content-Type", "text/plain"),
        Request::patch("sales:%zz", BODY),
        Request::patch("nobody-serves-this", BODY),
        Request::patch("sales:no-such-conversation", BODY),
        Request::patch(ID, BODY).header("Idempotency-Key", &key),
        Request::patch(ID, BODY).header("Idempotency-Key", &key),
        Request::patch(ID, r#"{"context":"other"}"#).header("Idempotency-Key", &key),
        Request::new("OPTIONS", &format!("/conversations/{ID}")),
        Request::new("GET", &format!("/conversations/{ID}")),
        Request::new("GET", "/openapi.json"),
        Request::new("GET", "/nowhere"),
        Request::new("BREW", "/pot"),
        Request::new("DELETE", "/openapi.json"),
    ]
}

/// Vendors that fail in every way in which they can have received the request; each failure hits the next one.
fn faults(rig: &Gateway) -> Vec<(Value, Request)> {
    let conversation = |upstream: &str, vendor: &str, body: &str| {
        Request::patch(&format!("{upstream}:{}", rig.conversation(vendor)), body)
    };
    let sales = || conversation("sales", "kakiyo", BODY);
    let planning = || conversation("planning", "cuadra", r#"{"context":{"a":1}}"#);
    let sms = || conversation("sms", "agentphone", r#"{"context":{"a":1}}"#);
    let mut all = Vec::new();
    for status in [400, 401, 403, 404, 409, 418, 429, 500, 502, 503, 520] {
        all.push((json!({ "vendor": "kakiyo", "mode": "status", "status": status }), sales()));
    }
    let later = json!([["Retry-After", "1"]]);
    all.extend([
        (json!({ "vendor": "kakiyo", "mode": "status", "status": 429, "headers": later }), sales()),
        (json!({ "vendor": "cuadra", "mode": "reset_after_request" }), planning()),
        (json!({ "vendor": "cuadra", "mode": "status", "status": 500, "count": 2 }), planning()),
        (json!({ "vendor": "agentphone", "mode": "close_after_request" }), sms()),
        (json!({ "vendor": "agentphone", "mode": "truncate", "bytes": 10 }), sms()),
        (json!({ "vendor": "agentphone", "mode": "hang" }), sms()),
        (json!({ "vendor": "agentphone", "mode": "garbage" }), sms()),
    ]);
    all
}

fn rig() -> Gateway {
    // Short, so that a vendor that hangs is not waited for; long enough for one that asks for a second.
    with("[defaults]\ntimeout = \"2500ms\"\n")
}

/// Judges everything at once: answers as callers saw them, the rig, and how many callers hung up.
#[track_caller]
fn judge(rig: Gateway, seen: Vec<Answered>, gone: u64) {
    let seen = tally(seen);
    let asked: u64 = seen.values().sum();
    let metrics = scrape(&rig);

    let mut vendors = BTreeMap::new();
    for vendor in parlance_sandbox::vendors() {
        for sent in rig.sent(vendor) {
            *vendors.entry(((*vendor).to_owned(), sent.method)).or_default() += 1;
        }
    }
    let sent = counted(&metrics, "http_client_request_duration_seconds", |sample| {
        (sample.label("vendor").to_owned(), sample.label("http_request_method").to_owned())
    });
    assert_eq!(sent, vendors, "what was sent and what vendors received");

    let served = counted(&metrics, "http_server_request_duration_seconds", |sample| {
        let status = sample.label("http_response_status_code").parse().unwrap();
        answered(sample.label("http_request_method"), status, sample.label("error_type"))
    });
    let mut expected = seen;
    if gone > 0 {
        expected.insert(answered("GET", 499, "caller-gone"), gone);
    }
    assert_eq!(served, expected, "what callers saw and what metrics say");
    let by_upstream =
        |of: &str, upstream: &str, origin: &str| (of.to_owned(), upstream.to_owned(), origin.to_owned());
    let by_metrics = counted(&metrics, "http_server_request_duration_seconds", |sample| {
        by_upstream(
            sample.label("http_response_status_code"),
            sample.label("upstream"),
            sample.label("origin"),
        )
    });

    let lines: Vec<Value> = rig
        .finish()
        .lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["target"] == "access")
        .collect();
    assert_eq!(lines.len() as u64, asked + gone);
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let logged = tally(lines.iter().map(|line| {
        let status = line["status"].as_u64().unwrap() as u16;
        let code = if status == 499 { "caller-gone".to_owned() } else { text(line, "code") };
        answered(&text(line, "method"), status, &code)
    }));
    assert_eq!(logged, expected, "what callers saw and what the log says");
    let by_lines = tally(lines.iter().map(|line| {
        by_upstream(&line["status"].to_string(), &text(line, "upstream"), &text(line, "origin"))
    }));
    assert_eq!(by_lines, by_metrics, "upstream and origin of the log and of the metrics");
}

#[test]
fn callers_vendors_metrics_and_the_log_count_the_same() {
    let rig = rig();
    let mut seen = Vec::new();
    for round in 0..2 {
        for request in requests(&rig, round) {
            let answer = rig.send(&request);
            seen.push(of_answer(&request.method, &answer));
        }
    }
    for (fault, request) in faults(&rig) {
        rig.fault(&fault);
        let answer = rig.send(&request);
        seen.push(of_answer(&request.method, &answer));
    }
    // Every sort of answer was among them.
    let codes: Vec<&str> = seen.iter().map(|(.., code)| code.as_str()).collect();
    for code in
        ["", "invalid-patch", "not-found", "vendor-error", "vendor-timeout", "vendor-invalid-response"]
    {
        assert!(codes.contains(&code), "{code:?} in {codes:?}");
    }
    judge(rig, seen, 0);
}

#[test]
fn callers_that_hang_up_are_counted_too() {
    let rig = rig();
    rig.fault(json!({ "vendor": "kakiyo", "mode": "hang", "count": 3 }));
    for already in 0..3 {
        let mut connection = rig.connect();
        // A read; an update goes on without its caller.
        connection.write(&Request::new("GET", &format!("/conversations/{ID}")).encode());
        eventually("it has reached the vendor", || rig.sent("kakiyo").len() == already + 1);
    }
    let gone = [("error_type", "caller-gone"), ("origin", "gateway")];
    eventually("all of them are counted", || {
        scrape(&rig).value("http_server_request_duration_seconds_count", &gone) == 3.0
    });
    let cancelled = [("error_type", "cancelled"), ("upstream", "sales")];
    assert_eq!(scrape(&rig).value("http_client_request_duration_seconds_count", &cancelled), 3.0);
    judge(rig, Vec::new(), 3);
}

#[test]
fn many_callers_at_a_time_lose_no_count() {
    let rig = rig();
    rig.fault(json!({ "vendor": "kakiyo", "mode": "status", "status": 500, "count": 20 }));
    let seen: Vec<Answered> = thread::scope(|scope| {
        let callers: Vec<_> = (0..6)
            .map(|caller| {
                let rig = &rig;
                scope.spawn(move || {
                    let mut connection = rig.connect();
                    let mut seen = Vec::new();
                    for round in 0..30 {
                        let request = match (caller + round) % 3 {
                            0 => Request::patch(ID, BODY),
                            1 => Request::patch(ID, r#"{"bogus":1}"#),
                            _ => Request::patch(&format!("sms:{}", "conv_def456"), r#"{"context":{"a":1}}"#),
                        };
                        let answer = rig.send_on(&mut connection, &request);
                        seen.push(of_answer(&request.method, &answer));
                    }
                    seen
                })
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!(seen.len(), 180);
    judge(rig, seen, 0);
}
