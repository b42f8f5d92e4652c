//! Callers with keys of their own.

use sha2::{Digest, Sha256};
use testkit::Request;
use testkit::blocking::Gateway;

use crate::setup::with;

const OLD: &str = "crm-key-of-last-year";
const NEW: &str = "crm-key-of-this-year";
const OPS: &str = "operators-own-key";

fn hash(key: &str) -> String {
    Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn rig() -> Gateway {
    with(&format!(
        r#"
[[callers]]
name = "crm"
key_sha256 = ["{}", "{}"]
upstreams = ["sms"]
[[callers]]
name = "ops"
key_sha256 = "{}"
"#,
        hash(OLD),
        hash(NEW),
        hash(OPS)
    ))
    .keeping(OLD)
    .keeping(NEW)
    .keeping(OPS)
}

fn request(id: &str, body: &str, authorization: &str) -> Request {
    Request::patch(id, body).header("Authorization", authorization)
}

#[test]
fn without_a_key_that_is_known_nobody_is_let_in() {
    let rig = rig();
    let mut twice = request("sms:conv_def456", r#"{"title":"t"}"#, &format!("Bearer {OPS}"));
    twice = twice.header("Authorization", &format!("Bearer {OPS}"));
    let hashed = format!("Bearer {}", hash(OPS));
    let basic = format!("Basic {OPS}");
    let mut refused = vec![Request::patch("sms:conv_def456", r#"{"title":"t"}"#), twice];
    refused.extend(
        [
            "",
            "Bearer",
            "Bearer ",
            "Bearer x",
            OPS,
            &basic,
            &hashed,
            "Bearer operators-own-ke",
            "Bearer operators-own-keyx",
        ]
        .map(|value| request("sms:conv_def456", r#"{"title":"t"}"#, value)),
    );
    for request in refused {
        let answer = rig.send(&request);
        answer.is_problem(401, "caller-unauthenticated");
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Bearer"), "{challenge}");
    }
    // Who may not come in learns nothing about ids, routes or bodies.
    for id in ["nobody", "sms:%zz", "sales:x"] {
        rig.send(&Request::patch(id, "{")).is_problem(401, "caller-unauthenticated");
    }
    rig.nothing_sent();
    rig.finish();
}

#[test]
fn each_key_opens_what_its_caller_was_granted() {
    let rig = rig();
    for key in [OLD, NEW] {
        let bearer = format!("Bearer {key}");
        assert_eq!(rig.send(&request("sms:conv_def456", r#"{"title":"t"}"#, &bearer)).status, 200);
        let refused = rig.send(&request("sales:chat_12345abcde", r#"{"context":"c"}"#, &bearer));
        refused.is_problem(403, "caller-forbidden");
        assert_eq!(refused.json()["update_applied"], "no");
    }
    assert!(rig.sent("kakiyo").is_empty());
    let bearer = format!("bearer {OPS}");
    assert_eq!(rig.send(&request("sms:conv_def456", r#"{"title":"t"}"#, &bearer)).status, 200);
    assert_eq!(rig.send(&request("sales:chat_12345abcde", r#"{"context":"c"}"#, &bearer)).status, 200);
    // The caller's key goes no further.
    for vendor in ["agentphone", "kakiyo"] {
        for sent in rig.sent(vendor) {
            assert_eq!(sent.header("authorization"), Some(format!("Bearer {}", rig.key(vendor)).as_str()));
        }
    }
    let ended = rig.finish();
    let named = |name: &str| {
        ended.lines.iter().filter(|line| line.contains(&format!("\"caller\":\"{name}\""))).count()
    };
    assert_eq!((named("crm"), named("ops")), (4, 2), "{:#?}", ended.lines);
}
