//! Headers in, headers on, headers out.

use serde_json::json;
use testkit::Request;

use crate::setup::usual;

const ID: &str = "sales:chat_12345abcde";
const BODY: &str = r#"{"context":"c"}"#;

#[test]
fn a_request_id_is_kept_if_it_is_one() {
    let rig = usual();
    let longest = "x".repeat(128);
    let too_long = "x".repeat(129);
    for id in ["a", "A-b_c.9", &longest] {
        for request in [Request::patch(ID, BODY), Request::new("GET", "/nowhere")] {
            let answer = rig.send(&request.header("X-Request-Id", id));
            assert_eq!(answer.header("x-request-id"), Some(id));
        }
    }
    for id in ["", "a b", "a/b", "ä", "a,b", &too_long] {
        let answer = rig.send(&Request::patch(ID, BODY).header("X-Request-Id", id));
        let made = answer.header("x-request-id").unwrap();
        assert_ne!(made, id);
        // A UUID of version 7.
        assert_eq!((made.len(), made.as_bytes()[14]), (36, b'7'), "{made}");
    }
    let twice = Request::patch(ID, BODY).header("X-Request-Id", "a").header("X-Request-Id", "b");
    assert_eq!(rig.send(&twice).header("x-request-id").unwrap().len(), 36);
    let (first, second) = (rig.patch(ID, BODY), rig.patch(ID, BODY));
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
    rig.finish();
}

#[test]
fn a_trace_is_continued() {
    let rig = usual();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = "00f067aa0ba902b7";
    rig.send(&Request::patch(ID, BODY).header("traceparent", &format!("00-{trace}-{parent}-01")));
    let sent = rig.only("kakiyo");
    let continued = sent.header("traceparent").expect("the trace goes on").to_owned();
    let parts: Vec<&str> = continued.split('-').collect();
    assert_eq!((parts.len(), parts[0], parts[1], parts[3]), (4, "00", trace, "01"), "{continued}");
    assert_eq!(parts[2].len(), 16);
    assert_ne!(parts[2], parent, "a span of its own");
    assert_ne!(parts[2], "0000000000000000");

    for broken in [
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        "nonsense",
    ] {
        rig.clear();
        assert_eq!(rig.send(&Request::patch(ID, BODY).header("traceparent", broken)).status, 200);
        let sent = rig.only("kakiyo");
        let own = sent.header("traceparent");
        assert!(own.is_none_or(|own| !own.contains(trace) && own.len() == 55), "{broken} became {own:?}");
    }
    rig.finish();
}

#[test]
fn an_answer_has_its_headers_and_none_of_the_vendors() {
    let rig = usual();
    rig.fault(json!({
        "vendor": "kakiyo", "mode": "respond_after_apply", "count": 2,
        "headers": [
            ["Set-Cookie", "session=1"], ["X-Powered-By", "vendor"], ["Server", "vendor/1"], ["Etag", "\"1\""],
            ["Cache-Control", "public, max-age=600"], ["X-Request-Id", "of-the-vendor"], ["X-RateLimit-Remaining", "0"],
            ["Server-Timing", "db;dur=1"], ["Link", "<https://vendor.example>"],
        ],
    }));
    for _ in 0..2 {
        // That nothing else is there is judged for every answer.
        let answer = rig.send(&Request::patch(ID, BODY).header("X-Request-Id", "mine"));
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-request-id"), Some("mine"));
        assert!(answer.header("server-timing").unwrap().starts_with("upstream;dur="));
        assert!(answer.header("preference-applied").is_none());
    }
    rig.finish();
}

#[test]
fn the_time_spent_on_the_vendor_is_told_apart() {
    let rig = usual();
    rig.fault(json!({ "vendor": "kakiyo", "mode": "delay", "delay_ms": 300 }));
    let answer = rig.patch(ID, BODY);
    let timing = answer.header("server-timing").unwrap();
    let upstream: f64 = timing["upstream;dur=".len()..timing.find(',').unwrap()].parse().unwrap();
    assert!(upstream >= 290.0, "{timing}");
    let unsent = rig.patch(ID, "{}");
    assert!(unsent.header("server-timing").unwrap().starts_with("upstream;dur=0.000, "), "{unsent:?}");
    rig.finish();
}

#[test]
fn what_a_caller_sends_stays_with_the_gateway() {
    let rig = usual().keeping("callers-own-secret");
    let request = Request::patch(ID, BODY)
        .header("Authorization", "Bearer callers-own-secret")
        .header("X-API-Key", "callers-own-secret")
        .header("Cookie", "a=callers-own-secret")
        .header("X-Tenant", "acme")
        .header("X-Forwarded-For", "192.0.2.1")
        .header("Forwarded", "for=192.0.2.1")
        .header("X-Sub-Account-Id", "sub_of_the_caller")
        .header("Accept-Encoding", "gzip, br");
    assert_eq!(rig.send(&request).status, 200);
    let sent = rig.only("kakiyo");
    assert_eq!(sent.header("authorization"), Some(format!("Bearer {}", rig.key("kakiyo")).as_str()));
    assert_eq!(sent.header("accept-encoding"), Some("identity"));
    assert_eq!(sent.header("content-type"), Some("application/json"));
    for name in ["x-api-key", "cookie", "x-tenant", "x-forwarded-for", "forwarded", "x-sub-account-id"] {
        assert_eq!(sent.header(name), None, "{name}");
    }
    let everything = format!("{sent:?}");
    assert!(!everything.contains("callers-own-secret"), "{everything}");
    rig.finish();
}

#[test]
fn one_host_and_a_valid_one() {
    let rig = usual();
    for hosts in [&["a", "b"][..], &["a b"], &["user@host"]] {
        let request =
            hosts.iter().fold(Request::patch(ID, BODY), |request, host| request.header("Host", host));
        rig.send(&request).is_problem(400, "invalid-header");
        let document = hosts
            .iter()
            .fold(Request::new("GET", "/openapi.json"), |request, host| request.header("Host", host));
        rig.send(&document).is_problem(400, "invalid-header");
    }
    rig.nothing_sent();
    rig.finish();
}

#[test]
fn an_idempotency_key_is_visible_ascii() {
    let rig = usual();
    let longest = "k".repeat(255);
    let quoted = format!("\"{longest}\"");
    let too_long = "k".repeat(256);
    for key in ["k", "\"k\"", &longest, &quoted, "!~"] {
        assert_eq!(rig.send(&Request::patch(ID, BODY).header("Idempotency-Key", key)).status, 200, "{key}");
    }
    for key in ["", "\"\"", "a b", "ä", &too_long] {
        let request = Request::patch(ID, BODY).header("Idempotency-Key", key);
        rig.send(&request).is_problem(400, "invalid-header");
    }
    let twice = Request::patch(ID, BODY).header("Idempotency-Key", "a").header("Idempotency-Key", "b");
    rig.send(&twice).is_problem(400, "invalid-header");
    rig.finish();
}

#[test]
fn only_the_vendor_that_takes_a_key_gets_one() {
    let rig = usual();
    let planning = "planning:a4f0c0a2-4b1d-4e57-8a2a-0c18f9d4b1e2";
    let title = |n: u32| format!(r#"{{"title":"{n}"}}"#);
    rig.patch(planning, &title(1));
    rig.patch(planning, &title(2));
    rig.send(&Request::patch(planning, &title(3)).header("Idempotency-Key", "of-the-caller"));
    rig.send(&Request::patch(ID, BODY).header("Idempotency-Key", "another-of-the-caller"));
    let sent = rig.sent("cuadra");
    let keys: Vec<&str> = sent.iter().map(|sent| sent.header("idempotency-key").unwrap()).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2], "{keys:?}");
    assert!(keys.iter().all(|key| (1..=255).contains(&key.len())), "{keys:?}");
    assert_eq!(rig.only("kakiyo").header("idempotency-key"), None);
    rig.finish();
}
