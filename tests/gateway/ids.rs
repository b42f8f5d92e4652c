//! Ids are opaque and stay one path segment.

use serde_json::json;
use testkit::{Request, Tree};

use crate::setup::usual;

const BODY: &str = r#"{"context":"c"}"#;

#[test]
fn what_cannot_be_an_id_is_refused() {
    let rig = usual();
    let long = format!("sales:{}", "a".repeat(513));
    let wide = format!("sales:{}", "%C3%A4".repeat(257));
    let ids = [
        "sales:%zz",
        "sales:%",
        "sales:%4",
        "sales:%4g",
        "%zz",
        "sales:",
        "sales:.",
        "sales:..",
        "sales:%2e",
        "sales:%2E%2e",
        "sales:a%00b",
        "sales:a%0Ab",
        "sales:a%1F",
        "sales:a%7F",
        "sales:a%C2%80",
        "sales:a%C2%9F",
        "sales:%FF",
        "sales:%C3",
        "sales:%C0%AF",
        "sales:%ED%A0%80",
        "support:9761342719:",
        "support::1",
        "support:..:1",
        &long,
        &wide,
    ];
    for id in ids {
        let answer = rig.patch(id, BODY);
        answer.is_problem(400, "invalid-id");
        assert_eq!(answer.json()["update_applied"], "no");
    }
    rig.nothing_sent();
    rig.finish();
}

#[test]
fn whatever_is_in_it_an_id_is_one_segment() {
    let rig = usual();
    rig.fault(json!({ "mode": "status", "status": 200, "body": "{}", "count": 0 }));
    let long = "a".repeat(512);
    let wide = "%C3%A4".repeat(256);
    // What is asked for, what goes upstream, and the id in the answer.
    let table = [
        ("chat_1", "chat_1", "sales:chat_1"),
        ("a%2Fb", "a%2Fb", "sales:a/b"),
        ("a%2F..%2F..%2Fc", "a%2F..%2F..%2Fc", "sales:a/../../c"),
        ("a%3Fb=c%23d", "a%3Fb%3Dc%23d", "sales:a?b=c#d"),
        ("a%5Cb", "a%5Cb", "sales:a\\b"),
        ("...", "...", "sales:..."),
        ("a%20b", "a%20b", "sales:a b"),
        // Decoded once, not twice.
        ("a%252Fb", "a%252Fb", "sales:a%2Fb"),
        ("%2525", "%2525", "sales:%25"),
        ("a+b&c;d@e", "a%2Bb%26c%3Bd%40e", "sales:a+b&c;d@e"),
        ("a%22b", "a%22b", "sales:a\"b"),
        ("%C3%A4", "%C3%A4", "sales:ä"),
        ("%E2%80%AE", "%E2%80%AE", "sales:\u{202e}"),
        ("%61~-_.", "a~-_.", "sales:a~-_."),
    ];
    for (asked, segment, id) in table {
        rig.control("DELETE", "/ledger", &json!(null));
        let answer = rig.patch(&format!("sales:{asked}"), BODY);
        assert_eq!(answer.status, 200, "{asked}: {}", answer.text());
        assert_eq!(rig.only("kakiyo").target, format!("/v1/prospects/{segment}/custom-data"), "{asked}");
        assert_eq!(answer.json()["id"], id, "{asked}");
    }
    for asked in [&long, &wide] {
        rig.control("DELETE", "/ledger", &json!(null));
        assert_eq!(rig.patch(&format!("sales:{asked}"), BODY).status, 200);
        let target = rig.only("kakiyo").target;
        assert_eq!(target.split('/').count(), 5, "{target}");
    }
    rig.finish();
}

#[test]
fn a_dry_run_shows_the_same_path() {
    let rig = usual();
    let target = "/conversations/sms:a%2Fb%3Fc?dry_run=true";
    let request =
        Request::new("PATCH", target).header("Content-Type", "application/json").body(r#"{"title":"t"}"#);
    let answer = rig.send(&request);
    let shown = Tree::parse(&answer.body).unwrap();
    let url = shown.get("request").and_then(|it| it.get("url")).and_then(Tree::text).unwrap();
    assert!(url.ends_with("/v1/conversations/a%2Fb%3Fc"), "{url}");
    rig.nothing_sent();
    rig.finish();
}
