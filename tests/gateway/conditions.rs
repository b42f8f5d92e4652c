//! `If-Match` on an update.

use parlance_adapters::ALL;
use serde_json::{Value, json};
use testkit::{Request, stories};

use crate::setup::usual;

fn get(id: &str) -> Request {
    Request::new("GET", &format!("/conversations/{id}"))
}

#[test]
fn an_update_is_sent_only_to_the_conversation_that_was_read() {
    let rig = usual();
    for spec in ALL.iter().map(|adapter| adapter.spec()).filter(|spec| spec.is_conditional()) {
        let id = format!("{}:{}", stories::upstream(spec.vendor), spec.example.id);
        let tag = rig.send(&get(&id)).header("etag").unwrap().to_owned();
        let update = Request::patch(&id, spec.example.patch);
        rig.clear();

        // Not as another tag says; a weak tag never matches.
        for other in ["\"other\"".to_owned(), format!("W/{tag}")] {
            let refused = rig.send(&update.clone().header("If-Match", &other));
            refused.is_problem(412, "precondition-failed");
            assert_eq!(refused.header("etag"), Some(tag.as_str()));
            assert_eq!(refused.json()["update_applied"], "no");
            assert_eq!(rig.only(spec.vendor).method, "GET");
            rig.clear();
        }
        // As it was read.
        let done = rig.send(&update.clone().header("If-Match", &format!("\"other\", {tag}")));
        assert_eq!(done.status, 200, "{}", done.text());
        let methods: Vec<String> = rig.sent(spec.vendor).into_iter().map(|sent| sent.method).collect();
        assert_eq!(methods, ["GET", "PATCH"]);
        // It has another state now, unless the patch set what was there.
        let now = rig.send(&get(&id)).header("etag").unwrap().to_owned();
        assert_ne!(now, tag, "{}", spec.vendor);
        rig.send(&update.clone().header("If-Match", &tag)).is_problem(412, "precondition-failed");
        assert_eq!(rig.send(&update.header("If-Match", "*")).status, 200);
        rig.clear();
    }
    rig.finish();
}

#[test]
fn a_merge_tests_the_conversation_that_it_merges_into() {
    let rig = usual();
    let id = "sms:conv_def456";
    rig.patch(id, r#"{"context":{"a":1}}"#);
    let tag = rig.send(&get(id)).header("etag").unwrap().to_owned();
    rig.clear();
    let merge = |tag: &str| {
        Request::patch(id, r#"{"context":{"b":2}}"#)
            .set("Content-Type", "application/merge-patch+json")
            .header("If-Match", tag)
    };
    let done = rig.send(&merge(&tag));
    assert_eq!(done.json()["context"], json!({ "a": 1, "b": 2 }), "{}", done.text());
    let methods: Vec<String> = rig.sent("agentphone").into_iter().map(|sent| sent.method).collect();
    assert_eq!(methods, ["GET", "PATCH"], "one read serves both");
    rig.send(&merge(&tag)).is_problem(412, "precondition-failed");
    rig.finish();
}

#[test]
fn a_dry_run_tests_the_condition_and_writes_nothing() {
    let rig = usual();
    let request = |tag: &str| {
        Request::new("PATCH", "/conversations/sms:conv_def456?dry_run=true")
            .headers(&[("Content-Type", "application/json"), ("If-Match", tag)])
            .body(r#"{"title":"t"}"#)
    };
    let shown = rig.send(&request("*"));
    assert_eq!((shown.status, &shown.json()["dry_run"]), (200, &Value::Bool(true)), "{}", shown.text());
    rig.send(&request("\"other\"")).is_problem(412, "precondition-failed");
    assert!(rig.sent("agentphone").iter().all(|sent| sent.method == "GET"));
    rig.finish();
}

#[test]
fn a_precondition_is_never_ignored() {
    let rig = usual();
    let update =
        |name: &str, value: &str| Request::patch("sms:conv_def456", r#"{"title":"t"}"#).header(name, value);
    for (name, value) in [
        ("If-None-Match", "*"),
        ("If-None-Match", "\"a\""),
        ("If-Unmodified-Since", "Wed, 21 Oct 2015 07:28:00 GMT"),
        ("If-Modified-Since", "Wed, 21 Oct 2015 07:28:00 GMT"),
        ("If-Range", "\"a\""),
        ("If-Match", "a"),
        ("If-Match", ""),
        ("If-Match", "*, \"a\""),
        ("If-Match", "\"a\" \"b\""),
    ] {
        rig.send(&update(name, value)).is_problem(400, "invalid-header");
    }
    // A vendor whose reads do not show what is written.
    for tag in ["*", "\"a\""] {
        let request = Request::patch("sales:chat_12345abcde", r#"{"context":"x"}"#).header("If-Match", tag);
        rig.send(&request).is_problem(412, "precondition-unsupported");
    }
    rig.nothing_sent();

    rig.fault(json!({ "vendor": "agentphone", "mode": "status", "count": 0, "status": 404, "body": "{}" }));
    rig.send(&update("If-Match", "*")).is_problem(404, "conversation-not-found");
    rig.clear();
    rig.fault(json!({ "vendor": "agentphone", "mode": "status", "count": 0, "status": 500, "body": "{}" }));
    let failed = rig.send(&update("If-Match", "*"));
    failed.is_problem(502, "vendor-error");
    assert_eq!(failed.json()["update_applied"], "no");
    assert!(rig.sent("agentphone").iter().all(|sent| sent.method == "GET"));
    rig.finish();
}
