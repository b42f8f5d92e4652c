//! `Prefer`, and what is said about it.

use serde_json::json;
use testkit::Request;

use crate::setup::usual;

const SMS: &str = "sms:conv_abc123";

fn preferring(body: &str, prefer: &str) -> Request {
    Request::patch(SMS, body).header("Prefer", prefer)
}

#[test]
fn lenient_leaves_out_what_cannot_be_written() {
    let rig = usual();
    let body = r#"{"title":"t","instructions":"i","id":"x","nonsense":1}"#;
    rig.patch(SMS, body).is_problem(422, "invalid-patch");
    rig.nothing_sent();
    for prefer in
        ["handling=lenient", "Handling=Lenient", "handling=\"lenient\"", "wait=5, handling=lenient; x"]
    {
        rig.clear();
        let answer = rig.send(&preferring(body, prefer));
        assert_eq!(answer.status, 200, "{prefer}: {}", answer.text());
        assert_eq!(answer.header("preference-applied"), Some("handling=lenient"), "{prefer}");
        assert_eq!(rig.only("agentphone").json(), json!({ "group_name": "t" }));
        let conversation = answer.json();
        let mut left_out: Vec<&str> = conversation["warnings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|w| w["pointer"].as_str().unwrap())
            .collect();
        left_out.sort_unstable();
        assert_eq!(left_out, ["/id", "/instructions", "/nonsense"]);
    }
    rig.clear();
    // What is wrong with a member that can be written stays wrong.
    let answer = rig.send(&preferring(r#"{"title":5,"nonsense":1}"#, "handling=lenient"));
    answer.is_problem(422, "invalid-patch");
    let nothing_left = rig.send(&preferring(r#"{"nonsense":1}"#, "handling=lenient"));
    nothing_left.is_problem(422, "invalid-patch");
    assert!(nothing_left.errors().iter().any(|(_, code)| code == "empty-patch"), "{}", nothing_left.text());
    for prefer in ["handling=strict", "respond-async", "handling", "lenient"] {
        rig.send(&preferring(body, prefer)).is_problem(422, "invalid-patch");
    }
    rig.nothing_sent();
    rig.finish();
}

#[test]
fn minimal_is_answered_without_a_body() {
    let rig = usual();
    let answer = rig.send(&preferring(r#"{"title":"t"}"#, "return=minimal"));
    assert_eq!((answer.status, answer.header("content-type")), (204, None));
    assert_eq!(answer.header("preference-applied"), Some("return=minimal"));
    assert_eq!(rig.only("agentphone").json(), json!({ "group_name": "t" }));
    let whole = rig.send(&preferring(r#"{"title":"t"}"#, "return=representation"));
    assert_eq!((whole.status, whole.json()["title"].as_str()), (200, Some("t")));
    // A problem is a problem.
    rig.send(&preferring("{}", "return=minimal")).is_problem(422, "invalid-patch");
    rig.finish();
}

#[test]
fn both_in_one_header_or_in_two() {
    let rig = usual();
    let two = |body| preferring(body, "return=minimal").header("Prefer", "handling=lenient");
    for request in
        [preferring(r#"{"title":"t"}"#, "handling=lenient, return=minimal"), two(r#"{"title":"t"}"#)]
    {
        let answer = rig.send(&request);
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("preference-applied"), Some("handling=lenient, return=minimal"));
    }
    rig.finish();
}

#[test]
fn warnings_are_not_lost_in_a_minimal_answer() {
    let rig = usual();
    let body = r#"{"title":"t","contxt":{"vip":true}}"#;
    let keyed = preferring(body, "return=minimal, handling=lenient").header("Idempotency-Key", "k");
    for request in [preferring(body, "return=minimal, handling=lenient"), keyed.clone(), keyed] {
        let answer = rig.send(&request);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        assert_eq!(answer.header("preference-applied"), Some("handling=lenient"));
        let answer = answer.json();
        let names: Vec<&String> = answer.as_object().unwrap().keys().collect();
        assert_eq!(names, ["id", "warnings"]);
        assert_eq!(answer["id"], SMS);
        assert_eq!(answer["warnings"][0]["pointer"], "/contxt");
    }
    rig.finish();
}

#[test]
fn preferences_in_quoted_strings_are_not_preferences() {
    let rig = usual();
    let body = r#"{"title":"t"}"#;
    for prefer in [
        r#"foo="x, return=minimal""#,
        r#"foo="x; \", return=minimal""#,
        r#"foo=bar; baz="return=minimal, handling=lenient""#,
        r#"foo="return=minimal"#,
    ] {
        let answer = rig.send(&preferring(body, prefer));
        assert_eq!((answer.status, answer.header("preference-applied")), (200, None), "{prefer}");
    }
    for prefer in [r#"return="minimal""#, r#"foo="a,b", return=minimal; x="y,z""#, r#"return="mini\mal""#] {
        assert_eq!(rig.send(&preferring(body, prefer)).status, 204, "{prefer}");
    }
    rig.finish();
}
