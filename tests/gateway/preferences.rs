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
    let body = r#"{"title":"t","nonsense":1}"#;
    let two = preferring(body, "return=minimal").header("Prefer", "handling=lenient");
    for request in [preferring(body, "handling=lenient, return=minimal"), two] {
        let answer = rig.send(&request);
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("preference-applied"), Some("handling=lenient, return=minimal"));
    }
    rig.finish();
}
