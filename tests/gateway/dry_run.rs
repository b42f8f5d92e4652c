//! `?dry_run`: the request that would be sent, and nothing sent.

use parlance_adapters::ALL;
use serde_json::{Value, json};
use testkit::Request;

use crate::setup::{usual, with};

fn request(id: &str, query: &str, body: &str) -> Request {
    Request::new("PATCH", &format!("/conversations/{id}?{query}"))
        .header("Content-Type", "application/json")
        .body(body)
}

const UPSTREAMS: [(&str, &str); 5] = [
    ("kakiyo", "sales"),
    ("chatling", "support"),
    ("sigmamind", "voice"),
    ("cuadra", "planning"),
    ("agentphone", "sms"),
];

#[test]
fn it_shows_what_is_then_sent() {
    let rig = with("[upstreams.sms]\nsub_account_id = \"sub_1\"\n");
    for (vendor, upstream) in UPSTREAMS {
        let spec = ALL.iter().map(|adapter| adapter.spec()).find(|spec| spec.vendor == vendor).unwrap();
        let id = format!("{upstream}:{}", spec.example.id);
        let answer = rig.send(&request(&id, "dry_run=true", spec.example.patch));
        assert_eq!(answer.status, 200, "{}", answer.text());
        rig.nothing_sent();
        let shown = answer.json();
        assert_eq!(
            json!([shown["dry_run"], shown["id"], shown["vendor"], shown["upstream"]]),
            json!([true, id, vendor, upstream])
        );

        assert_eq!(rig.patch(&id, spec.example.patch).status, 200);
        let sent = rig.only(vendor);
        let url = shown["request"]["url"].as_str().unwrap();
        assert!(url.starts_with("http://127.0.0.1:") && url.ends_with(&sent.target), "{url}");
        assert_eq!(shown["request"]["method"], sent.method.as_str());
        assert_eq!(shown["request"]["body"], sent.json());
        let headers = shown["request"]["headers"].as_object().unwrap();
        let credential = spec.credential.header();
        for (name, value) in headers {
            let there = sent.header(name).unwrap_or_else(|| panic!("{name} is shown but not sent"));
            if name.eq_ignore_ascii_case(credential.as_str()) {
                assert_eq!(value, "***");
            } else if name != "idempotency-key" {
                assert_eq!(value, there, "{name}");
            }
        }
        assert!(headers.keys().any(|name| name.eq_ignore_ascii_case(credential.as_str())), "{shown}");
        rig.clear();
    }
    let shown = rig.send(&request("sms:c", "dry_run=true", r#"{"title":"t"}"#)).json();
    assert_eq!(shown["request"]["headers"]["x-sub-account-id"], "sub_1");
    rig.finish();
}

#[test]
fn false_and_nothing_are_no_dry_run() {
    let rig = usual();
    for query in ["dry_run=false", ""] {
        rig.clear();
        let answer = rig.send(&request("sms:conv_abc123", query, r#"{"title":"t"}"#));
        assert_eq!((answer.status, &answer.json()["title"]), (200, &json!("t")));
        rig.only("agentphone");
    }
    rig.finish();
}

#[test]
fn any_other_query_is_refused() {
    let rig = usual();
    for query in [
        "dry_run",
        "dry_run=",
        "dry_run=1",
        "dry_run=TRUE",
        "dry_run=yes",
        "dry-run=true",
        "dry_run=true&dry_run=true",
        "dry_run=true&x=1",
        "x=1",
        "x",
        "&",
    ] {
        rig.send(&request("sms:conv_def456", query, r#"{"title":"t"}"#)).is_problem(400, "invalid-query");
    }
    rig.nothing_sent();
    rig.finish();
}

#[test]
fn it_is_checked_like_the_real_one() {
    let rig = usual();
    rig.send(&request("sms:c", "dry_run=true", "{}")).is_problem(422, "invalid-patch");
    rig.send(&request("nobody", "dry_run=true", "{}")).is_problem(404, "no-route");
    let lenient = request("sms:c", "dry_run=true", r#"{"title":"t","nonsense":1}"#)
        .header("Prefer", "handling=lenient");
    let answer = rig.send(&lenient);
    assert_eq!(answer.header("preference-applied"), Some("handling=lenient"));
    assert_eq!(answer.json()["warnings"][0]["pointer"], "/nonsense");
    // It is asked for its body.
    let minimal = request("sms:c", "dry_run=true", r#"{"title":"t"}"#).header("Prefer", "return=minimal");
    assert_eq!(rig.send(&minimal).status, 200);
    rig.nothing_sent();
    rig.finish();
}

#[test]
fn a_merge_patch_is_shown_unmerged_and_says_so() {
    let rig = usual();
    let merge = request("sms:conv_def456", "dry_run=true", r#"{"context":{"a":1,"b":null}}"#)
        .set("Content-Type", "application/merge-patch+json");
    let shown = rig.send(&merge).json();
    assert_eq!(shown["request"]["body"], json!({ "metadata": { "a": 1, "b": null } }));
    assert_eq!(shown["warnings"].as_array().map(Vec::len), Some(1), "{shown}");
    rig.nothing_sent();
    // Without an object context there is nothing to merge and nothing to say.
    let merge = request("sms:conv_def456", "dry_run=true", r#"{"title":"t","context":null}"#)
        .set("Content-Type", "application/merge-patch+json");
    assert_eq!(rig.send(&merge).json()["warnings"], Value::Null);
    rig.finish();
}
