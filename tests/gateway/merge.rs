//! Merge patches: read, merge, write the whole.

use serde_json::{Value, json};
use testkit::blocking::Gateway;
use testkit::{Reply, Request, Tree};

use crate::setup::{usual, with};

/// The vendors that can be read back: upstream, vendor, the member that holds the context.
const READABLE: [(&str, &str, &str); 3] = [
    ("voice", "sigmamind", "dynamicVariables"),
    ("planning", "cuadra", "metadata"),
    ("sms", "agentphone", "metadata"),
];

fn merge(rig: &Gateway, id: &str, body: &str) -> Reply {
    rig.send(&Request::patch(id, body).set("Content-Type", "application/merge-patch+json"))
}

/// Stores a context at the sandbox, text and all.
fn store(rig: &Gateway, vendor: &str, id: &str, member: &str, context: Value) {
    let path = format!("/conversations/{vendor}/{id}");
    let mut conversation = rig.control("GET", &path, &Value::Null);
    conversation[member] = context;
    rig.control("PUT", &path, &conversation);
}

fn methods(rig: &Gateway, vendor: &str) -> Vec<String> {
    rig.sent(vendor).into_iter().map(|sent| sent.method).collect()
}

#[test]
fn it_is_merged_into_what_is_stored() {
    let rig = usual();
    for (upstream, vendor, member) in READABLE {
        let id = rig.conversation(vendor);
        store(&rig, vendor, &id, member, json!({ "keep": 1, "drop": 2, "deep": { "a": 1, "b": [1, 2] } }));
        let patch = r#"{"context":{"drop":null,"new":"n","deep":{"b":[3],"c":null},"none":null}}"#;
        let answer = merge(&rig, &format!("{upstream}:{id}"), patch);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let whole = json!({ "keep": 1, "new": "n", "deep": { "a": 1, "b": [3] } });
        let sent = rig.sent(vendor);
        assert_eq!(methods(&rig, vendor), ["GET", "PATCH"]);
        assert!(sent[0].body.is_empty());
        assert_eq!(sent[0].target.split('?').next(), Some(sent[1].target.as_str()));
        assert_eq!(sent[1].json(), json!({ member: whole }));
        assert_eq!(answer.json()["context"], whole);
        let stored = rig.control("GET", &format!("/conversations/{vendor}/{id}"), &Value::Null);
        assert_eq!(stored[member], whole);
        assert!(answer.json().get("warnings").is_none(), "{}", answer.text());

        // As plain JSON the same object replaces, and nothing is read.
        rig.clear();
        let answer = rig.patch(&format!("{upstream}:{id}"), r#"{"context":{"only":true}}"#);
        assert_eq!(answer.json()["context"], json!({ "only": true }), "{}", answer.text());
        assert_eq!(methods(&rig, vendor), ["PATCH"]);
        rig.clear();
    }
    rig.finish();
}

#[test]
fn digits_are_kept_on_the_way() {
    let rig = usual();
    for (upstream, vendor, _) in READABLE {
        let id = format!("{upstream}:{}", rig.conversation(vendor));
        let stored = rig.patch(&id, r#"{"context":{"big":12345678901234567890123,"exact":1.50}}"#);
        assert_eq!(stored.status, 200, "{}", stored.text());
        rig.clear();
        let answer = merge(&rig, &id, r#"{"context":{"more":100.10}}"#);
        let expected = Tree::parse(br#"{"big":12345678901234567890123,"exact":1.50,"more":100.10}"#).unwrap();
        let answered = Tree::parse(&answer.body).unwrap();
        assert_eq!(answered.get("context").map(Tree::sorted), Some(expected.sorted()), "{}", answer.text());
        let sent = rig.sent(vendor).pop().unwrap().tree();
        let Tree::Object(members) = sent else { panic!("{sent}") };
        assert_eq!(members.len(), 1);
        assert_eq!(members[0].1.sorted(), expected.sorted());
        rig.clear();
    }
    rig.finish();
}

#[test]
fn into_nothing_and_into_what_is_no_object() {
    let rig = usual();
    for (upstream, vendor, member) in READABLE {
        let id = rig.conversation(vendor);
        store(&rig, vendor, &id, member, Value::Null);
        let answer = merge(&rig, &format!("{upstream}:{id}"), r#"{"context":{"a":{"b":1,"c":null}}}"#);
        assert_eq!(answer.json()["context"], json!({ "a": { "b": 1 } }), "{}", answer.text());
    }
    // RFC 7396: what is no object is replaced by one.
    let id = rig.conversation("cuadra");
    store(&rig, "cuadra", &id, "metadata", json!("text"));
    let answer = merge(&rig, &format!("planning:{id}"), r#"{"context":{"a":1}}"#);
    assert_eq!(answer.json()["context"], json!({ "a": 1 }), "{}", answer.text());
    rig.finish();
}

#[test]
fn a_failed_read_changes_nothing() {
    // One attempt, so that what is counted is what was asked for.
    let rig = with("[defaults]\nmax_attempts = 1\n");
    let cases = [
        (json!({ "mode": "status", "status": 404, "body": "{}" }), 404, "conversation-not-found"),
        (json!({ "mode": "status", "status": 401, "body": "{}" }), 502, "vendor-unauthenticated"),
        (json!({ "mode": "status", "status": 500, "body": "{}" }), 502, "vendor-error"),
        (json!({ "mode": "status", "status": 429, "body": "{}" }), 429, "vendor-rate-limited"),
        (json!({ "mode": "status", "status": 302, "body": "{}" }), 502, "vendor-unexpected-status"),
        (json!({ "mode": "status", "status": 200, "body": "[]" }), 502, "vendor-invalid-response"),
        (json!({ "mode": "status", "status": 200, "body": "{\"" }), 502, "vendor-invalid-response"),
        (json!({ "mode": "truncate", "bytes": 5 }), 502, "vendor-invalid-response"),
        (json!({ "mode": "garbage" }), 502, "vendor-invalid-response"),
        (json!({ "mode": "reset_after_request" }), 502, "vendor-unreachable"),
    ];
    for (upstream, vendor, _) in READABLE {
        let id = rig.conversation(vendor);
        let before = rig.control("GET", &format!("/conversations/{vendor}/{id}"), &Value::Null);
        for (rule, status, code) in &cases {
            let mut rule = rule.clone();
            rule["vendor"] = json!(vendor);
            rule["method"] = json!("GET");
            rig.fault(&rule);
            let answer = merge(&rig, &format!("{upstream}:{id}"), r#"{"context":{"a":1}}"#);
            answer.is_problem(*status, code);
            assert_eq!(answer.json()["update_applied"], "no", "{vendor} {rule}: {}", answer.text());
            assert_eq!(methods(&rig, vendor), ["GET"], "{vendor} {rule}");
            rig.clear();
        }
        let after = rig.control("GET", &format!("/conversations/{vendor}/{id}"), &Value::Null);
        assert_eq!(before, after);
    }
    rig.finish();
}

/// Answers to a read that are not the conversation: a merge into them would wipe what is stored.
fn no_conversations(own: &str, id: &str) -> Vec<(u16, String)> {
    let with = |more: Value| {
        let mut told = json!({ own: id, "metadata": { "x": 1 }, "dynamicVariables": { "x": 1 } });
        told.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        told
    };
    let told = [
        (200, json!({ "error": { "message": "rate limited" } })),
        (200, json!({ "errors": ["x"] })),
        (200, json!({ "success": false })),
        (200, json!({ "ok": false, own: id })),
        (200, json!({ "status": "error", "message": "x" })),
        (200, json!({ "statusCode": 500 })),
        (200, json!({ "status": "503" })),
        (200, with(json!({ "error": "locked" }))),
        (200, with(json!({ "status_code": 423 }))),
        (200, with(json!({ own: "another-1" }))),
        (200, with(json!({ own: null }))),
        (200, json!({ "metadata": { "x": 1 }, "dynamicVariables": { "x": 1 } })),
        (200, json!({})),
        (200, json!(null)),
        (200, json!("text")),
        (200, json!(7)),
        (200, json!([with(json!({}))])),
        (201, with(json!({}))),
        (202, with(json!({}))),
        (203, with(json!({}))),
        (206, with(json!({}))),
        (207, with(json!({}))),
    ];
    let told = told.map(|(status, body)| (status, body.to_string()));
    let blank = [(200, ""), (200, " \r\n"), (200, "\u{feff}"), (204, ""), (202, "")];
    told.into_iter().chain(blank.map(|(status, body)| (status, body.to_owned()))).collect()
}

#[test]
fn a_read_that_is_not_the_conversation_changes_nothing() {
    let rig = with("[defaults]\nmax_attempts = 1\n");
    for (upstream, vendor, _) in READABLE {
        let own = if vendor == "sigmamind" { "chatId" } else { "id" };
        let id = rig.conversation(vendor);
        let before = rig.control("GET", &format!("/conversations/{vendor}/{id}"), &Value::Null);
        for (status, body) in no_conversations(own, &id) {
            rig.fault(json!({ "vendor": vendor, "method": "GET", "mode": "status", "status": status, "body": body }));
            let answer = merge(&rig, &format!("{upstream}:{id}"), r#"{"context":{"a":1}}"#);
            answer.is_problem(502, "vendor-invalid-response");
            assert_eq!(answer.json()["update_applied"], "no", "{vendor} {status} {body}: {}", answer.text());
            assert_eq!(methods(&rig, vendor), ["GET"], "{vendor} {status} {body}");
            if body.contains("rate limited") {
                assert_eq!(answer.json()["vendor_error"], json!({ "message": "rate limited" }));
            }
            rig.clear();
        }
        let after = rig.control("GET", &format!("/conversations/{vendor}/{id}"), &Value::Null);
        assert_eq!(before, after);
    }
    rig.finish();
}

#[test]
fn a_failed_write_after_the_read_is_told_as_one() {
    let rig = with("[defaults]\nmax_attempts = 1\n");
    rig.fault(json!({ "vendor": "agentphone", "method": "PATCH", "mode": "reset_after_request" }));
    let answer = merge(&rig, "sms:conv_def456", r#"{"context":{"a":1}}"#);
    answer.is_problem(502, "vendor-unreachable");
    assert_eq!(answer.json()["update_applied"], "unknown");
    assert_eq!(methods(&rig, "agentphone"), ["GET", "PATCH"]);
    rig.finish();
}

#[test]
fn nothing_is_read_where_nothing_is_merged() {
    let rig = usual();
    for (id, vendor, body) in [
        ("sms:conv_def456", "agentphone", r#"{"title":"t"}"#),
        ("sms:conv_def456", "agentphone", r#"{"context":null}"#),
        ("planning:a4f0c0a2-4b1d-4e57-8a2a-0c18f9d4b1e2", "cuadra", r#"{"context":"text"}"#),
        ("sales:chat_12345abcde", "kakiyo", r#"{"context":"text"}"#),
        ("sales:chat_12345abcde", "kakiyo", r#"{"context":null}"#),
        ("support:8977617953", "chatling", r#"{"archived":true}"#),
    ] {
        rig.clear();
        let answer = merge(&rig, id, body);
        assert_eq!(answer.status, 200, "{id} {body}: {}", answer.text());
        assert_eq!(methods(&rig, vendor), ["PATCH"], "{id} {body}");
    }
    rig.clear();
    let refused = merge(&rig, "sales:chat_12345abcde", r#"{"context":{"a":1}}"#);
    refused.is_problem(422, "invalid-patch");
    assert_eq!(refused.errors(), [("/context".to_owned(), "merge-unsupported".to_owned())]);
    rig.nothing_sent();
    rig.finish();
}
