//! The caller's body: its type, its size, its shape, its pace.

use serde_json::json;
use testkit::Request;
use testkit::blocking::Connection;

use crate::setup::{usual, with};

const ID: &str = "sales:chat_12345abcde";
const SMS: &str = "sms:conv_def456";
const LIMIT: usize = 256 * 1024;

/// Pointers and codes.
type Pairs = [(&'static str, &'static str)];

#[test]
fn json_and_merge_patch_are_taken_and_nothing_else() {
    let rig = usual();
    let typed = |kind: &str| Request::patch(ID, r#"{"context":"c"}"#).set("Content-Type", kind);
    for kind in [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        "application/json ; charset=\"UTF-8\"",
        "application/json; profile=x",
        "application/merge-patch+json",
        "application/merge-patch+json; charset=utf-8",
    ] {
        assert_eq!(rig.send(&typed(kind)).status, 200, "{kind}");
    }
    rig.clear();
    let mut refused: Vec<Request> = [
        "",
        "text/plain",
        "text/json",
        "application/json-patch+json",
        "application/x-www-form-urlencoded",
        "application/problem+json",
        "application/json; charset=latin1",
        "application/json, text/plain",
        "*/*",
        "application",
    ]
    .into_iter()
    .map(typed)
    .collect();
    let mut without = typed("x");
    without.headers.clear();
    refused.push(without);
    refused.push(typed("application/json").header("Content-Type", "application/json"));
    refused.push(typed("application/json").header("Content-Encoding", "gzip"));
    for request in refused {
        let answer = rig.send(&request);
        answer.is_problem(415, "unsupported-media-type");
        let formats = Some("application/json, application/merge-patch+json");
        assert_eq!(answer.header("accept-patch"), formats, "{:?}", request.headers);
    }
    rig.nothing_sent();
    rig.finish();
}

#[test]
fn a_body_up_to_the_limit() {
    let rig = usual();
    let frame = r#"{"context":{"a":""}}"#.len();
    let body = |length: usize| format!(r#"{{"context":{{"a":"{}"}}}}"#, "x".repeat(length - frame));
    // The whole limit, told by length and in chunks. The vendor may think of it what it likes.
    rig.fault(json!({ "mode": "status", "status": 200, "body": "{}", "count": 0 }));
    assert_eq!(rig.patch(SMS, &body(LIMIT)).status, 200);
    let text = body(LIMIT);
    let mut chunked = Vec::new();
    for piece in text.as_bytes().chunks(10_000) {
        chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let streamed = Request::patch(SMS, "").header("Transfer-Encoding", "chunked").body(chunked);
    assert_eq!(rig.send(&streamed).status, 200);
    assert!(rig.sent("agentphone").iter().all(|sent| sent.body.len() > LIMIT - frame));
    rig.clear();

    // One byte more: declared, it is refused before it is sent at all.
    let declared = Request::patch(SMS, "").header("Content-Length", &(LIMIT + 1).to_string());
    let mut connection = rig.connect();
    connection.write(&declared.encode());
    let answer = connection.reply();
    rig.judge(&declared, &answer);
    answer.is_problem(413, "body-too-large");

    // Not declared, it is refused as soon as the limit is passed, wherever the end may be.
    let streamed = Request::patch(SMS, "").header("Transfer-Encoding", "chunked");
    let mut connection = rig.connect();
    connection.write(&streamed.encode());
    let piece = [b"1000\r\n".as_slice(), &[b' '; 0x1000], b"\r\n"].concat();
    for _ in 0..LIMIT / 0x1000 {
        connection.write(&piece);
    }
    connection.write(b"1\r\n \r\n");
    let answer = connection.reply();
    rig.judge(&streamed, &answer);
    answer.is_problem(413, "body-too-large");
    assert!(connection.ends(), "what would still come is not read as a request");
    rig.nothing_sent();
    rig.finish();
}

#[test]
fn the_limit_is_a_setting() {
    let rig = with("[server]\nmax_body = \"64B\"\n");
    assert_eq!(rig.patch(ID, &format!(r#"{{"context":"{}"}}"#, "x".repeat(64 - 14))).status, 200);
    rig.clear();
    rig.patch(ID, &format!(r#"{{"context":"{}"}}"#, "x".repeat(65 - 14))).is_problem(413, "body-too-large");
    rig.nothing_sent();
    rig.finish();
}

#[test]
fn what_is_no_json_is_refused() {
    let rig = usual();
    let nested = |levels: usize| format!(r#"{{"context":{}1{}}}"#, "[".repeat(levels), "]".repeat(levels));
    let deep =
        |levels: usize| format!(r#"{{"context":{{"a":{}1{}}}}}"#, "[".repeat(levels), "]".repeat(levels));
    for body in [
        "",
        " ",
        "{",
        "{]",
        r#"{"context":"c"}}"#,
        r#"{"context":"c",}"#,
        r#"{'context':'c'}"#,
        r#"{"context":01}"#,
        r#"{"context":NaN}"#,
        r#"{"context":"c"} {}"#,
        "\u{feff}{\"context\":\"c\"}",
        // Members given twice, at any depth and however they are spelled.
        r#"{"context":"a","context":"a"}"#,
        r#"{"context":{"a":1,"a":1}}"#,
        r#"{"context":{"a":[{"b":{"c":1,"c":2}}]}}"#,
        r#"{"context":{"a":1,"\u0061":1}}"#,
        // One level too many.
        &deep(127),
        &nested(128),
    ] {
        let answer = rig.patch(SMS, body);
        answer.is_problem(400, "malformed-json");
        assert_eq!(answer.json()["update_applied"], "no");
    }
    let bytes: [&[u8]; 2] = [b"{\"context\":\"\xff\"}", b"{\"context\":\"a\nb\"}"];
    for body in bytes {
        rig.send(&Request::patch(SMS, "").body(body)).is_problem(400, "malformed-json");
    }
    rig.nothing_sent();
    // 128 levels are not too many.
    rig.fault(json!({ "mode": "status", "status": 200, "body": "{}", "count": 0 }));
    let answer = rig.patch(SMS, &deep(126));
    assert_eq!(answer.status, 200, "{}", answer.text());
    rig.finish();
}

#[test]
fn every_fault_of_a_body_at_once() {
    let rig = usual();
    let pairs = |list: &Pairs| -> Vec<(String, String)> {
        let mut pairs: Vec<_> = list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        pairs.sort();
        pairs
    };
    let table: &[(&str, &str, &Pairs)] = &[
        (ID, "{}", &[("", "empty-patch")]),
        (ID, r#"{"vendor_fields":{}}"#, &[("", "empty-patch")]),
        (ID, "[]", &[("", "wrong-type")]),
        (ID, "null", &[("", "wrong-type")]),
        (ID, "\"x\"", &[("", "wrong-type")]),
        (
            ID,
            r#"{"context":5,"title":"t","id":"x","messages":[],"nonsense":1,"vendor_fields":{"a":1}}"#,
            &[
                ("/context", "wrong-type"),
                ("/title", "unsupported-field"),
                ("/id", "read-only-field"),
                ("/messages", "read-only-field"),
                ("/nonsense", "unknown-field"),
                ("/vendor_fields", "vendor-field-refused"),
            ],
        ),
        ("voice:c", r#"{"agent":{}}"#, &[("/agent/id", "wrong-type")]),
        ("voice:c", r#"{"agent":null}"#, &[("/agent", "null-not-allowed")]),
        ("voice:c", r#"{"agent":{"id":""}}"#, &[("/agent/id", "too-short")]),
        ("voice:c", r#"{"context":null}"#, &[("/context", "null-not-allowed")]),
        ("voice:c", r#"{"context":"text"}"#, &[("/context", "wrong-type")]),
        (
            "support:c",
            r#"{"archived":null,"important":"yes","contact":null}"#,
            &[
                ("/archived", "null-not-allowed"),
                ("/contact", "null-not-allowed"),
                ("/important", "wrong-type"),
            ],
        ),
        (ID, r#"{"a/b~c":1}"#, &[("/a~1b~0c", "unknown-field")]),
    ];
    for (id, body, expected) in table {
        let answer = rig.patch(id, body);
        answer.is_problem(422, "invalid-patch");
        assert_eq!(answer.errors(), pairs(expected), "{id} {body}");
        assert_eq!(answer.json()["update_applied"], "no");
    }
    let long = |length: usize| format!(r#"{{"context":"{}"}}"#, "x".repeat(length));
    assert_eq!(rig.patch(ID, &long(3001)).errors(), pairs(&[("/context", "too-long")]));
    let title = format!(r#"{{"title":"{}"}}"#, "ä".repeat(501));
    assert_eq!(rig.patch("planning:c", &title).errors(), pairs(&[("/title", "too-long")]));
    rig.nothing_sent();
    rig.finish();
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let rig = with("[server]\nbody_timeout = \"300ms\"\n");
    let request = Request::patch(ID, "").header("Content-Length", "20");
    let slow = |first: &[u8]| {
        let mut connection = rig.connect();
        connection.write(&request.encode());
        connection.write(first);
        connection
    };
    let judged = |mut connection: Connection| {
        let answer = connection.reply();
        rig.judge(&request, &answer);
        answer.is_problem(408, "request-timeout");
        assert_eq!(answer.json()["update_applied"], "no");
        assert!(connection.ends(), "what would still come is not read as a request");
    };
    judged(slow(b""));
    judged(slow(b"{\"context\":"));
    // Drop by drop does not help.
    let mut dripping = slow(b"{");
    for _ in 0..8 {
        std::thread::sleep(std::time::Duration::from_millis(50));
        // It may be refused already.
        let _ = std::io::Write::write_all(&mut dripping.0, b" ");
    }
    judged(dripping);
    rig.nothing_sent();
    rig.finish();
}

#[test]
fn a_caller_that_hangs_up_sends_nothing() {
    let rig = usual();
    let mut connection = rig.connect();
    connection.write(&Request::patch(ID, "").header("Content-Length", "30").encode());
    connection.write(br#"{"context":"c"}"#);
    drop(connection);
    // Its end is seen: the next request on another connection is served as ever.
    assert_eq!(rig.patch(SMS, r#"{"title":"t"}"#).status, 200);
    assert!(rig.sent("kakiyo").is_empty());
    rig.finish();
}
