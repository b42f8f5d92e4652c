//! `GET` and `HEAD` of a conversation, and `If-None-Match`.

use parlance_adapters::ALL;
use serde_json::{Value, json};
use testkit::{Request, stories};

use crate::setup::usual;

fn get(id: &str) -> Request {
    Request::new("GET", &format!("/conversations/{id}"))
}

#[test]
fn every_vendors_conversation_can_be_read() {
    let rig = usual();
    for spec in ALL.iter().map(|adapter| adapter.spec()) {
        let id = format!("{}:{}", stories::upstream(spec.vendor), spec.example.id);
        let answer = rig.send(&get(&id));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let conversation = answer.json();
        assert_eq!(conversation["id"], id.as_str());
        assert_eq!(conversation["vendor"], spec.vendor);
        assert_eq!(rig.only(spec.vendor).method, "GET");

        // The same conversation has the same tag; another one has another.
        let tag = answer.header("etag").unwrap_or_else(|| panic!("{}", answer.text())).to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
        let again = rig.send(&get(&id));
        assert_eq!(again.header("etag"), Some(tag.as_str()), "{} {}", answer.text(), again.text());
        let head = rig.send(&Request::new("HEAD", &format!("/conversations/{id}")));
        assert_eq!((head.status, head.header("etag"), head.body.len()), (200, Some(tag.as_str()), 0));

        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            for method in ["GET", "HEAD"] {
                let request = Request::new(method, &format!("/conversations/{id}"));
                let same = rig.send(&request.header("If-None-Match", &known));
                assert_eq!((same.status, same.body.len()), (304, 0), "{known}");
                assert_eq!(same.header("etag"), Some(tag.as_str()));
                assert_eq!(same.header("content-type"), None);
            }
        }
        let other = rig.send(&get(&id).header("If-None-Match", "\"other\""));
        assert_eq!((other.status, other.header("etag")), (200, Some(tag.as_str())));
        rig.clear();
    }
    rig.finish();
}

#[test]
fn an_update_answers_with_the_tag_of_the_next_read() {
    let rig = usual();
    for (id, body) in [
        ("sms:conv_def456", r#"{"context":{"n":1.50}}"#),
        ("planning:a4f0c0a2-4b1d-4e57-8a2a-0c18f9d4b1e2", r#"{"title":"t"}"#),
    ] {
        let before = rig.send(&get(id));
        let updated = rig.patch(id, body);
        assert_eq!(updated.status, 200, "{}", updated.text());
        let after = rig.send(&get(id));
        assert_ne!(before.header("etag"), after.header("etag"));
        let tag = updated.header("etag").unwrap_or_else(|| panic!("{}", updated.text()));
        assert_eq!(after.header("etag"), Some(tag), "{} {}", updated.text(), after.text());
    }
    // A conversation that is only confirmed has none.
    let confirmed = rig.patch("sales:chat_12345abcde", r#"{"context":"x"}"#);
    assert_eq!((confirmed.status, confirmed.header("etag")), (200, None), "{}", confirmed.text());
    rig.finish();
}

#[test]
fn a_read_has_a_vendors_problems_and_changes_nothing() {
    let rig = usual();
    for (status, code, expected) in [
        (400, "vendor-rejected", 422),
        (401, "vendor-unauthenticated", 502),
        (403, "vendor-forbidden", 403),
        (404, "conversation-not-found", 404),
        (410, "conversation-not-found", 404),
        (429, "vendor-rate-limited", 429),
        (500, "vendor-error", 502),
        (503, "vendor-unavailable", 503),
        (302, "vendor-unexpected-status", 502),
    ] {
        rig.fault(json!({ "vendor": "agentphone", "mode": "status", "count": 0, "status": status, "body": "{\"message\":\"no\"}" }));
        let answer = rig.send(&get("sms:conv_def456"));
        answer.is_problem(expected, code);
        assert_eq!(answer.json()["update_applied"], "no", "{}", answer.text());
        assert_eq!(answer.header("etag"), None);
        rig.clear();
    }
    // What is safe to repeat is repeated.
    rig.fault(json!({ "vendor": "agentphone", "mode": "status", "count": 1, "status": 500, "body": "{}" }));
    let answer = rig.send(&get("sms:conv_def456"));
    assert_eq!((answer.status, rig.sent("agentphone").len()), (200, 2), "{}", answer.text());
    rig.finish();
}

#[test]
fn bad_reads_are_refused_before_anything_is_sent() {
    let rig = usual();
    let id = "sms:conv_def456";
    rig.send(&get(&format!("{id}?x=1"))).is_problem(400, "invalid-query");
    rig.send(&get("nowhere")).is_problem(404, "no-route");
    rig.send(&get("sms:%zz")).is_problem(400, "invalid-id");
    for (name, value) in [
        ("If-Match", "*"),
        ("If-Match", "\"a\""),
        ("If-Modified-Since", "Wed, 21 Oct 2015 07:28:00 GMT"),
        ("If-Unmodified-Since", "Wed, 21 Oct 2015 07:28:00 GMT"),
        ("If-Range", "\"a\""),
        ("If-None-Match", "a"),
        ("If-None-Match", ""),
        ("If-None-Match", "*, \"a\""),
    ] {
        rig.send(&get(id).header(name, value)).is_problem(400, "invalid-header");
    }
    rig.nothing_sent();
    let shown = rig.send(&get(&format!("{id}?dry_run=true"))).json();
    assert_eq!(shown["request"]["method"], "GET");
    assert_eq!(shown["request"]["body"], Value::Null);
    assert_eq!(shown["request"]["headers"]["authorization"], "***");
    assert_eq!(shown["route"], "prefix");
    rig.nothing_sent();
    rig.finish();
}
