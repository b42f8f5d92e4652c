//! The vendors' own samples against vendors that keep state: what is sent has the effect that the answer tells.

use parlance_adapters::ALL;
use serde_json::{Value, json};
use testkit::{Request, Tree};

use crate::setup::{usual, with};

#[test]
fn every_vendors_sample_has_its_effect() {
    let rig = usual();
    let upstreams = rig.ask_admin(&Request::new("GET", "/config")).json()["upstreams"].clone();
    for adapter in ALL {
        let spec = adapter.spec();
        let (name, _) = upstreams
            .as_object()
            .unwrap()
            .iter()
            .find(|(_, upstream)| upstream["vendor"] == spec.vendor)
            .unwrap();
        let id = format!("{name}:{}", spec.example.id);
        let answer = rig.patch(&id, spec.example.patch);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let conversation = answer.json();
        let named = json!([conversation["id"], conversation["vendor"], conversation["upstream"]]);
        assert_eq!(named, json!([id, spec.vendor, name]));
        let patch: Value = serde_json::from_str(spec.example.patch).unwrap();
        for (member, value) in patch.as_object().unwrap() {
            let reported = &conversation[member];
            match value["id"].as_str() {
                // An agent or a contact may come back with more than its id, and the id with the vendor's prefix.
                Some(id) => {
                    assert!(reported["id"].as_str().is_some_and(|it| it.ends_with(id)), "{conversation}");
                }
                None => assert_eq!(reported, value, "{member} in {conversation}"),
            }
        }
        let ledger = rig.control("GET", &format!("/ledger?vendor={}", spec.vendor), &Value::Null);
        assert_eq!(ledger["entries"].as_array().unwrap().len(), 1, "{ledger}");
        assert_eq!(ledger["entries"][0]["effect"], true, "{ledger}");
    }
    rig.finish();
}

#[test]
fn the_id_of_an_answer_can_be_sent_back() {
    let rig = usual();
    // Chatling's id names the chatbot unless it is the configured one.
    for (asked, shown) in [
        ("support:8977617953", "support:8977617953"),
        ("support:9761342719:8977617953", "support:8977617953"),
        ("sms:conv_def456", "sms:conv_def456"),
    ] {
        let body = if asked.starts_with("sms") { r#"{"title":"t"}"# } else { r#"{"archived":true}"# };
        let answer = rig.patch(asked, body);
        assert_eq!(answer.json()["id"], shown, "{}", answer.text());
        let again = rig.patch(shown, body);
        assert_eq!(again.json()["id"], shown, "{}", again.text());
    }
    rig.clear();
    let answer = rig.patch("support:other:1", r#"{"archived":true}"#);
    let sent = rig.only("chatling");
    assert_eq!(sent.target, "/v2/chatbots/other/conversations/1");
    answer.is_problem(404, "conversation-not-found");
    rig.finish();
}

#[test]
fn a_chatbot_must_be_named_somewhere() {
    let rig = with(
        "[upstreams.bots]\nvendor = \"chatling\"\nbase_url = \"${chatling}\"\ncredential = { value = \"${chatling_key}\" }\n",
    );
    let answer = rig.patch("bots:8977617953", r#"{"archived":true}"#);
    answer.is_problem(400, "invalid-id");
    assert!(answer.json()["detail"].as_str().unwrap().contains("chatbot"), "{}", answer.text());
    rig.nothing_sent();
    let answer = rig.patch("bots:9761342719:8977617953", r#"{"archived":true}"#);
    assert_eq!(answer.json()["id"], "bots:9761342719:8977617953");
    rig.finish();
}

#[test]
fn two_accounts_at_one_vendor_and_a_base_path() {
    let rig = with(
        "[upstreams.other]\nvendor = \"kakiyo\"\nbase_url = \"${kakiyo}/proxy/x\"\ncredential = { value = \"second-key-of-kakiyo\" }\n",
    )
    .keeping("second-key-of-kakiyo");
    rig.fault(json!({ "mode": "status", "status": 200, "body": "{}", "count": 0 }));
    rig.patch("other:1", r#"{"context":"c"}"#);
    rig.patch("sales:1", r#"{"context":"c"}"#);
    let sent = rig.sent("kakiyo");
    let own = format!("Bearer {}", rig.key("kakiyo"));
    let told: Vec<_> = sent.iter().map(|sent| (sent.target.as_str(), sent.header("authorization"))).collect();
    assert_eq!(
        told,
        [
            ("/proxy/x/v1/prospects/1/custom-data", Some("Bearer second-key-of-kakiyo")),
            ("/v1/prospects/1/custom-data", Some(own.as_str())),
        ]
    );
    rig.finish();
}

#[test]
fn digits_come_back_as_they_were_sent() {
    let rig = usual();
    let context = r#"{"big":12345678901234567890123,"exact":1.50,"tiny":1E-400,"minus":-0}"#;
    let answer = rig.patch("sms:conv_def456", &format!(r#"{{"context":{context}}}"#));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let expected = Tree::parse(context.as_bytes()).unwrap().sorted();
    let sent = rig.only("agentphone").tree();
    assert_eq!(sent.get("metadata").unwrap().sorted(), expected);
    let answered = Tree::parse(&answer.body).unwrap();
    assert_eq!(answered.get("context").unwrap().sorted(), expected);
    rig.finish();
}
