//! Every fault mode, seen from the client's side and in the ledger.

// Always true here; it tells the lints that this is test code.
#![cfg(test)]

mod common;

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Rig, rule, vendors};
use serde_json::{Value, json};
use testkit::blocking::{Connection, End};

const SHORT: Duration = Duration::from_millis(500);
const BODY: &str = r#"{"customData":"effective"}"#;

/// Sets a fault, sends one update to Kakiyo, and returns all bytes until the connection ended or fell silent.
fn strike(rig: &Rig, mode: &str, more: &Value) -> (String, End) {
    rig.fault(&rule("kakiyo", mode, more));
    let mut stream = rig.connect("kakiyo");
    stream.write(&rig.update("kakiyo", BODY));
    let (bytes, end) = stream.read_to_end(SHORT);
    (String::from_utf8_lossy(&bytes).into_owned(), end)
}

fn stored(rig: &Rig) -> Value {
    rig.ask("GET", "/conversations/kakiyo/chat_12345abcde", &Value::Null).json()["customData"].clone()
}

/// The ledger's entry of the last request: its status, its effect, the part that was read, its end.
fn booked(rig: &Rig, mode: &str) -> (Value, bool, String, String) {
    let entry = rig.finished("kakiyo");
    assert_eq!(entry["fault"], mode);
    let text = |name: &str| entry[name].as_str().unwrap_or("").to_owned();
    let effect = entry["effect"].as_bool().unwrap();
    assert_eq!(effect, stored(rig) == "effective", "the ledger says what the state shows");
    (entry["status"].clone(), effect, text("read"), text("end"))
}

fn expect(rig: &Rig, mode: &str, status: impl Into<Value>, effect: bool, read: &str, end: &str) {
    assert_eq!(booked(rig, mode), (status.into(), effect, read.to_owned(), end.to_owned()), "{mode}");
    assert_eq!(rig.ask("POST", "/reset", &Value::Null).status, 200);
}

fn split(text: &str) -> (&str, &str) {
    text.split_once("\r\n\r\n").unwrap()
}

#[test]
fn on_accept() {
    let rig = Rig::new();
    for (mode, more, expected, end) in [
        ("reset_on_accept", json!({}), "", End::Reset),
        ("close_on_accept", json!({}), "", End::Fin),
        ("silent_on_accept", json!({"max_ms": 5000}), "", End::Silence),
        ("not_accept_tls", json!({"max_ms": 5000}), "", End::Silence),
        ("garbage_on_accept", json!({"data": "SSH-2.0-x\r\n"}), "SSH-2.0-x\r\n", End::Fin),
    ] {
        rig.fault(&rule("kakiyo", mode, &more));
        let mut stream = rig.connect("kakiyo");
        let (bytes, got) = stream.read_to_end(SHORT);
        assert_eq!((String::from_utf8(bytes).unwrap().as_str(), got), (expected, end), "{mode}");
        let ledger = rig.ask("GET", "/ledger?vendor=kakiyo", &Value::Null).json();
        let record = ledger["connections"].as_array().unwrap().last().unwrap();
        let name = if mode == "not_accept_tls" { "silent_on_accept" } else { mode };
        assert_eq!((&record["fault"], &record["requests"]), (&json!(name), &json!(0)));
        assert!(ledger["entries"].as_array().unwrap().is_empty());
    }
    // Other vendors and the next connection are not concerned.
    rig.fault(&rule("chatling", "reset_on_accept", &json!({})));
    assert_eq!(rig.patch("kakiyo", BODY).status, 200);
}

#[test]
fn before_the_body() {
    let rig = Rig::new();
    let (text, end) = strike(&rig, "reset_before_body", &json!({}));
    assert_eq!((text.as_str(), end), ("", End::Reset));
    expect(&rig, "reset_before_body", Value::Null, false, "head", "reset");
    let (text, end) =
        strike(&rig, "early_response", &json!({"status": 413, "body": {"error": "x", "message": "y"}}));
    assert!(text.starts_with("HTTP/1.1 413 ") && text.ends_with(r#"{"error":"x","message":"y"}"#), "{text}");
    assert_eq!(end, End::Fin);
    expect(&rig, "early_response", json!(413), false, "head", "closed");
    let (_, end) = strike(&rig, "stop_reading", &json!({"max_ms": 100}));
    assert_ne!(end, End::Silence);
    expect(&rig, "stop_reading", Value::Null, false, "head", "closed");
}

#[test]
fn instead_of_an_answer() {
    let rig = Rig::new();
    for apply in [false, true] {
        for (mode, end, word) in
            [("reset_after_request", End::Reset, "reset"), ("close_after_request", End::Fin, "closed")]
        {
            assert_eq!(strike(&rig, mode, &json!({"apply": apply})), (String::new(), end), "{mode}");
            expect(&rig, mode, Value::Null, apply, "all", word);
        }
        let begun = Instant::now();
        assert_eq!(
            strike(&rig, "hang", &json!({"apply": apply, "max_ms": 5000})),
            (String::new(), End::Silence)
        );
        assert!(begun.elapsed() >= SHORT);
        expect(&rig, "hang", Value::Null, apply, "all", "peer_gone");
    }
    let (text, end) = strike(&rig, "hang", &json!({"max_ms": 50}));
    assert_eq!((text.as_str(), end), ("", End::Fin));
    expect(&rig, "hang", Value::Null, false, "all", "time_over");
    let (text, end) = strike(&rig, "garbage", &json!({}));
    assert!(!text.starts_with("HTTP") && !text.is_empty());
    assert_eq!(end, End::Fin);
    expect(&rig, "garbage", Value::Null, false, "all", "closed");
    let raw = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x";
    for (member, value) in [("data", raw.to_owned()), ("data_base64", STANDARD.encode(raw))] {
        assert_eq!(strike(&rig, "raw", &json!({member: value, "apply": true})), (raw.to_owned(), End::Fin));
        expect(&rig, "raw", Value::Null, true, "all", "closed");
    }
    let (text, end) = strike(&rig, "switch_101", &json!({"data": "other"}));
    assert!(text.starts_with("HTTP/1.1 101 ") && text.ends_with("\r\n\r\nother"), "{text}");
    assert_eq!(end, End::Silence);
    expect(&rig, "switch_101", Value::Null, false, "all", "peer_gone");
}

#[test]
fn other_answers() {
    let rig = Rig::new();
    let more = json!({"status": 429, "body": "slow down", "headers": [["Retry-After", "7"], ["Retry-After", "9"], ["content-type", "text/plain"]]});
    let (text, end) = strike(&rig, "status", &more);
    let (head, body) = split(&text);
    assert_eq!((body, end), ("slow down", End::Silence));
    assert!(head.contains("Retry-After: 7\r\nRetry-After: 9\r\ncontent-type: text/plain"), "{head}");
    assert_eq!(head.matches("content-type").count(), 1);
    expect(&rig, "status", json!(429), false, "all", "sent");
    for status in [0, 299, 302, 600, 999] {
        let (text, _) = strike(&rig, "status", &json!({"status": status, "close": true}));
        assert!(text.starts_with(&format!("HTTP/1.1 {status:03} ")), "{text}");
        expect(&rig, "status", json!(status), false, "all", "sent");
    }
    let (text, _) = strike(&rig, "status", &json!({}));
    assert!(text.starts_with("HTTP/1.1 503 "));
    expect(&rig, "status", json!(503), false, "all", "sent");
    let (text, _) = strike(
        &rig,
        "respond_after_apply",
        &json!({"status": 502, "body_base64": STANDARD.encode("<html>")}),
    );
    assert!(text.starts_with("HTTP/1.1 502 ") && text.ends_with("<html>"));
    expect(&rig, "respond_after_apply", json!(502), true, "all", "sent");
    let (text, _) = strike(&rig, "empty", &json!({}));
    assert!(
        text.starts_with("HTTP/1.1 204 ") && text.ends_with("\r\n\r\n") && !text.contains("content-"),
        "{text}"
    );
    expect(&rig, "empty", json!(204), true, "all", "sent");
    let (text, _) = strike(&rig, "empty", &json!({"status": 200}));
    assert!(text.contains("content-length: 0\r\n"), "{text}");
    expect(&rig, "empty", json!(200), true, "all", "sent");
}

#[test]
fn delays() {
    let rig = Rig::new();
    let begun = Instant::now();
    rig.fault(&rule("kakiyo", "delay", &json!({"delay_ms": 250})));
    assert_eq!(rig.patch("kakiyo", BODY).status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(250));
    expect(&rig, "delay", json!(200), true, "all", "sent");
    // A client that gives up: applied at once by default, not at all when late.
    for late in [false, true] {
        rig.fault(&rule("kakiyo", "delay", &json!({"delay_ms": 5000, "apply_late": late})));
        let mut stream = rig.connect("kakiyo");
        stream.write(&rig.update("kakiyo", BODY));
        assert_eq!(stream.read_to_end(SHORT), (Vec::new(), End::Silence));
        drop(stream);
        let status = if late { Value::Null } else { json!(200) };
        expect(&rig, "delay", status, !late, "all", "peer_gone");
    }
    let begun = Instant::now();
    rig.fault(&rule("kakiyo", "status", &json!({"delay_ms": 100})));
    assert_eq!(rig.patch("kakiyo", BODY).status, 503);
    assert!(begun.elapsed() >= Duration::from_millis(100));
}

#[test]
fn broken_bodies() {
    let rig = Rig::new();
    let whole = rig.patch("kakiyo", BODY).text().to_owned();
    for (mode, more, end, word) in [
        ("truncate", json!({"bytes": 10}), End::Fin, "closed"),
        ("truncate", json!({"bytes": 10, "reset": true}), End::Reset, "reset"),
        ("reset_mid_body", json!({"bytes": 10}), End::Reset, "reset"),
        ("stall", json!({"bytes": 10}), End::Silence, "peer_gone"),
    ] {
        let (text, got) = strike(&rig, mode, &more);
        let (head, body) = split(&text);
        assert_eq!((body, got), (&whole[..10], end), "{mode}");
        assert!(head.contains(&format!("content-length: {}", whole.len())));
        assert_eq!(rig.finished("kakiyo")["sent"], json!(text.len()));
        expect(&rig, mode, json!(200), true, "all", word);
    }
    let (text, _) = strike(&rig, "extra_bytes", &json!({"data": "EXTRA"}));
    assert!(text.ends_with(&format!("{whole}EXTRA")));
    expect(&rig, "extra_bytes", json!(200), true, "all", "sent");
    let (text, end) = strike(&rig, "close_delimited", &json!({}));
    assert_eq!((split(&text).1, end), (whole.as_str(), End::Fin));
    assert!(!split(&text).0.contains("content-length") && !split(&text).0.contains("transfer-encoding"));
    expect(&rig, "close_delimited", json!(200), true, "all", "closed");
    let (text, _) = strike(&rig, "truncate", &json!({"bytes": 1, "apply": false, "body": "abc"}));
    assert!(text.ends_with("content-length: 3\r\n\r\na"), "{text}");
    expect(&rig, "truncate", json!(200), false, "all", "closed");
}

#[test]
fn chunks() {
    let rig = Rig::new();
    let whole = rig.patch("kakiyo", BODY).text().to_owned();
    let (text, end) = strike(&rig, "chunked", &json!({"chunk_bytes": 7, "trailers": [["X-T", "v"]]}));
    let (head, body) = split(&text);
    assert!(head.contains("transfer-encoding: chunked") && !head.contains("content-length"));
    let data: String =
        body.split("\r\n").skip(1).step_by(2).take_while(|part| !part.contains("X-T")).collect();
    assert_eq!((data, end), (whole.clone(), End::Silence));
    assert!(body.ends_with("0\r\nX-T: v\r\n\r\n"), "{body}");
    expect(&rig, "chunked", json!(200), true, "all", "sent");
    let hex = format!("{:x}\r\n{whole}", whole.len());
    for (kind, starts, ends) in [
        ("size", "zz\r\n".to_owned(), "0\r\n\r\n"),
        ("missing_end", hex.clone(), "}\r\n"),
        ("huge_extension", format!("{:x};x=yyy", whole.len()), "0\r\n\r\n"),
        ("trailers", hex.clone(), "zzz\r\n\r\n"),
        ("no_line_end", hex.clone(), "}0\r\n\r\n"),
        ("size_overflow", "fffffffffffffffff\r\n".to_owned(), "0\r\n\r\n"),
    ] {
        let (text, end) = strike(&rig, "bad_chunk", &json!({"kind": kind}));
        let body = split(&text).1;
        assert!(body.starts_with(&starts) && body.ends_with(ends), "{kind}: {}", &body[..60.min(body.len())]);
        assert_eq!(end, End::Fin, "{kind}");
        expect(&rig, "bad_chunk", json!(200), true, "all", "closed");
    }
}

#[test]
fn sizes() {
    let rig = Rig::new();
    rig.fault(&rule("kakiyo", "oversize", &json!({"bytes": 300_000})));
    let reply = rig.patch("kakiyo", BODY);
    assert_eq!((reply.body.len(), reply.json()["customDataSaved"].clone()), (300_001, json!(true)));
    expect(&rig, "oversize", json!(200), true, "all", "sent");
    rig.fault(&rule("kakiyo", "oversize", &json!({"endless": true})));
    let mut stream = rig.connect("kakiyo");
    stream.write(&rig.update("kakiyo", BODY));
    let mut head = [0; 4096];
    for _ in 0..500 {
        std::io::Read::read_exact(&mut stream.0, &mut head).unwrap();
    }
    drop(stream);
    let sent = rig.finished("kakiyo")["sent"].as_u64().unwrap();
    assert!(sent >= 500 * 4096);
    expect(&rig, "oversize", json!(200), true, "all", "peer_gone");
}

#[test]
fn drips_and_interim_responses() {
    let rig = Rig::new();
    let whole = rig.patch("kakiyo", BODY);
    for (part, bytes) in [("status_line", 17), ("body", whole.body.len())] {
        let begun = Instant::now();
        rig.fault(&rule("kakiyo", "drip", &json!({"part": part, "interval_ms": 2})));
        assert_eq!(rig.patch("kakiyo", BODY).body, whole.body);
        assert!(begun.elapsed() >= Duration::from_millis(2 * bytes as u64), "{part}");
        expect(&rig, "drip", json!(200), true, "all", "sent");
    }
    // The peer sees single bytes, and the ledger how many came before it left.
    rig.fault(&rule("kakiyo", "drip", &json!({"part": "headers", "interval_ms": 1500})));
    let mut stream = rig.connect("kakiyo");
    stream.write(&rig.update("kakiyo", BODY));
    let (bytes, _) = stream.read_to_end(SHORT);
    assert!((17..=19).contains(&bytes.len()), "{bytes:?}");
    drop(stream);
    let entry = rig.finished("kakiyo");
    assert!(entry["sent"].as_u64().unwrap() < 25 && entry["end"] == "peer_gone", "{entry}");
    expect(&rig, "drip", json!(200), true, "all", "peer_gone");
    let (text, _) = strike(&rig, "interim", &json!({"n": 3}));
    assert_eq!(text.matches("HTTP/1.1 103 Early Hints\r\n\r\n").count(), 3);
    assert!(text.contains("HTTP/1.1 200 OK\r\n") && text.ends_with(&whole.text()));
    expect(&rig, "interim", json!(200), true, "all", "sent");
    let (text, _) = strike(&rig, "interim", &json!({"interim_status": 100}));
    assert!(text.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 "));
}

#[test]
fn an_idle_connection_is_closed() {
    let rig = Rig::new();
    rig.fault(&rule("kakiyo", "close_idle", &json!({"idle_ms": 400, "count": 0})));
    let mut stream = rig.connect("kakiyo");
    for _ in 0..3 {
        stream.write(&rig.update("kakiyo", BODY));
        assert_eq!(stream.reply().status, 200);
    }
    let begun = Instant::now();
    assert_eq!(stream.read_to_end(Duration::from_secs(2)), (Vec::new(), End::Fin));
    assert!(begun.elapsed() >= Duration::from_millis(350) && begun.elapsed() < Duration::from_millis(1_500));
    let ledger = rig.ask("GET", "/ledger?vendor=kakiyo", &Value::Null).json();
    assert_eq!(ledger["connections"][0]["requests"], json!(3));
}

#[test]
fn rules_count_skip_and_filter() {
    let rig = Rig::new();
    let statuses = |stream: &mut Connection, n: usize| -> Vec<u16> {
        (0..n)
            .map(|_| {
                stream.write(&rig.update("kakiyo", BODY));
                stream.reply().status
            })
            .collect()
    };
    let mut stream = rig.connect("kakiyo");
    rig.fault(&json!([
        rule(
            "kakiyo",
            "status",
            &json!({"skip": 1, "count": 2, "method": "PATCH", "path_contains": "custom-data"})
        ),
        rule("kakiyo", "status", &json!({"status": 500, "method": "GET"}))
    ]));
    assert_eq!(statuses(&mut stream, 4), [200, 503, 503, 200]);
    assert_eq!(rig.get("kakiyo", "/v1/verify").status, 500);
    let shown = rig.ask("GET", "/faults", &Value::Null).json();
    assert_eq!((&shown[0]["hits"], &shown[0]["left"], &shown[1]["hits"]), (&json!(2), &json!(0), &json!(1)));
    rig.fault(&json!({"mode": "status", "status": 418, "count": 0}));
    assert_eq!(statuses(&mut stream, 3), [418; 3]);
    for vendor in vendors() {
        assert_eq!(rig.patch(vendor, rig.effective(vendor)).status, 418, "{vendor}");
    }
    assert_eq!(rig.ask("DELETE", "/faults", &Value::Null).json(), json!({"deleted": 3}));
    assert_eq!(statuses(&mut stream, 1), [200]);
    for (bad, word) in [
        (json!({"mode": "nap"}), "nap"),
        (json!([]), "rule"),
        (json!({"mode": "hang", "vendor": "x"}), "vendors are"),
    ] {
        let reply = rig.ask("POST", "/faults", &bad);
        assert_eq!(reply.status, 400);
        assert!(reply.json()["error"].as_str().unwrap().contains(word), "{}", reply.text());
    }
    // A list with one mistake adds nothing.
    assert_eq!(rig.ask("POST", "/faults", json!([{"mode": "status"}, {"mode": "nap"}])).status, 400);
    assert_eq!(rig.ask("GET", "/faults", &Value::Null).json(), json!([]));
}
