//! HTTP itself: framing that two servers could read differently is refused, what is legal is served.

// Always true here; it tells the lints that this is test code.
#![cfg(test)]

mod common;

use std::time::Duration;

use common::{Rig, request, vendors};
use serde_json::json;
use testkit::blocking::eventually;

#[test]
fn framing() {
    let rig = Rig::new();
    for vendor in vendors() {
        let (path, (name, value)) = (rig.path(vendor), rig.auth(vendor));
        let whole = |fields: &str, body: &str| {
            format!(
                "PATCH {path} HTTP/1.1\r\n{name}: {value}\r\nContent-Type: application/json\r\n{fields}\r\n\r\n{body}"
            )
        };
        let marked = "GET /marked HTTP/1.1\r\nHost: x\r\n\r\n";
        for (fields, body, status) in [
            ("Content-Length: 2", "{}", 400),
            ("Host: x\r\nHost: x\r\nContent-Length: 2", "{}", 400),
            ("Host: x\r\nContent-Length: 2\r\nContent-Length: 2", "{}", 400),
            ("Host: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked", "{}", 400),
            ("Host: x\r\nTransfer-Encoding: gzip, chunked", "0\r\n\r\n", 501),
            ("Host: x\r\nTransfer-Encoding: chunked", "zz\r\n{}\r\n0\r\n\r\n", 400),
            ("Host: x\r\nContent-Length: 1048577", "", 413),
            ("Host: x\r\nExpect: tea\r\nContent-Length: 0", "", 417),
        ] {
            let mut stream = rig.connect(vendor);
            stream.write(format!("{}{marked}", whole(fields, body)).as_bytes());
            let (bytes, _) = stream.read_to_end(Duration::from_secs(3));
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{vendor} {fields:?}: {text}");
            assert_eq!(
                text.matches("HTTP/1.1 ").count(),
                1,
                "nothing behind a framing error is served: {text}"
            );
        }
        let mut stream = rig.connect(vendor);
        stream.write(b"GET / HTTP/1.1\nHost: x\n\n");
        assert_eq!(stream.reply().status, 400);
        let mut stream = rig.connect(vendor);
        let huge = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(70 << 10));
        stream.write(huge.as_bytes());
        assert_eq!(stream.reply().status, 431);
    }
}

#[test]
fn chunked_bodies_expectations_and_pipelines_are_served() {
    let rig = Rig::new();
    let (name, value) = rig.auth("kakiyo");
    let path = rig.path("kakiyo");
    let head =
        format!("PATCH {path} HTTP/1.1\r\nHost: x\r\n{name}: {value}\r\nContent-Type: application/json\r\n");
    let mut stream = rig.connect("kakiyo");
    stream.write(format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"cus\r\n").as_bytes());
    std::thread::sleep(Duration::from_millis(20));
    stream.write(b"b\r\ntomData\":\"a\r\n2\r\n\"}\r\n0\r\n\r\n");
    assert_eq!(stream.reply().json()["customDataLength"], 1);
    assert_eq!(rig.last("kakiyo")["body"], r#"{"customData":"a"}"#);
    stream.write(format!("{head}Expect: 100-continue\r\nContent-Length: 18\r\n\r\n").as_bytes());
    assert_eq!(stream.reply().status, 100);
    stream.write(br#"{"customData":"b"}"#);
    assert_eq!(stream.reply().status, 200);
    let one = request(
        "PATCH",
        &path,
        &[(&name, &value), ("Content-Type", "application/json")],
        r#"{"customData":"cc"}"#,
    );
    stream.write(&one.encode().repeat(3));
    for _ in 0..3 {
        assert_eq!(stream.reply().json()["customDataLength"], 2);
    }
    let entries = rig.entries("kakiyo");
    assert!(entries.iter().all(|entry| entry["connection"] == entries[0]["connection"]));
    // A body that never ends is booked as far as it came.
    stream.write(format!("{head}Content-Length: 18\r\n\r\n{{\"cust").as_bytes());
    drop(stream);
    eventually("it is booked", || rig.entries("kakiyo").len() > entries.len());
    let cut = rig.finished("kakiyo");
    assert_eq!(
        (&cut["read"], &cut["body_length"], &cut["effect"], &cut["end"]),
        (&json!("part"), &json!(6), &json!(false), &json!("peer_gone"))
    );
}
