//! The happy path of every vendor, as its document shows it, and what a later read sees.

// Always true here; it tells the lints that this is test code.
#![cfg(test)]

mod common;

use common::{Rig, vendors};
use serde_json::{Value, json};

#[test]
fn every_document_s_own_update_is_accepted() {
    let rig = Rig::new();
    for vendor in vendors() {
        let body = rig.samples()[vendor].update;
        let reply = rig.patch(vendor, body);
        assert_eq!(reply.status, 200, "{vendor}: {}", reply.text());
        assert_eq!(reply.header("content-type"), Some("application/json"), "{vendor}");
        let entry = rig.last(vendor);
        assert_eq!(
            entry["effect"],
            json!(vendor != "agentphone"),
            "{vendor}: an empty object changes nothing"
        );
        assert_eq!(
            (&entry["read"], &entry["body"], &entry["status"]),
            (&json!("all"), &json!(body), &json!(200))
        );
    }
}

#[test]
fn kakiyo_confirms_and_hides_the_text() {
    let rig = Rig::new();
    let set = rig.patch("kakiyo", r#"{"customData":"häppy 🙂"}"#).json();
    assert_eq!(
        set,
        json!({"message": "Conversation customData updated successfully", "chatId": "chat_12345abcde",
               "customDataSaved": true, "customDataLength": 7})
    );
    let read = rig.get("kakiyo", "/v1/prospects/chat_12345abcde").json();
    assert_eq!((&read["id"], &read["status"]), (&json!("chat_12345abcde"), &json!(2)));
    assert!(read.get("customData").is_none());
    let stored = rig.ask("GET", "/conversations/kakiyo/chat_12345abcde", &Value::Null).json();
    assert_eq!(stored["customData"], "häppy 🙂");
    let cleared = rig.patch("kakiyo", r#"{"customData":""}"#).json();
    assert_eq!((&cleared["customDataSaved"], &cleared["customDataLength"]), (&json!(false), &json!(0)));
    let verify = rig.get("kakiyo", "/v1/verify").json();
    assert_eq!(verify, json!({"status": "success", "message": "API key is valid"}));
}

#[test]
fn chatling_answers_flags_as_numbers_and_the_newest_messages_first() {
    let rig = Rig::new();
    let data = rig.patch("chatling", r#"{"archive":true,"important":true,"contact_id":"c-1"}"#).json();
    assert_eq!(data["status"], "success");
    let data = &data["data"];
    assert_eq!(
        (&data["archived"], &data["important"], &data["contact_id"]),
        (&json!(1), &json!(1), &json!("c-1"))
    );
    assert_eq!(data["messages"][0]["created_at"], "2024-06-17T16:09:52+00:00");
    rig.patch("chatling", r#"{"archive":false}"#);
    let read = rig.get("chatling", &rig.read_path("chatling")).json();
    assert_eq!((&read["data"]["archived"], &read["data"]["important"]), (&json!(0), &json!(1)));
    // A long conversation comes as its newest twenty.
    let messages: Vec<Value> = (0..30)
        .map(|n| json!({"text": n.to_string(), "role": "user", "created_at": "2024-06-14T15:45:34+00:00"}))
        .collect();
    let long = json!({"id": "7", "archived": 0, "important": 0, "created_at": "2024-06-14T15:45:34+00:00", "messages": messages});
    assert_eq!(rig.ask("PUT", "/conversations/chatling/9761342719/7", &long).status, 200);
    let read = rig.get("chatling", "/v2/chatbots/9761342719/conversations/7").json();
    assert_eq!(read["data"]["messages"].as_array().unwrap().len(), 20);
    assert_eq!(read["data"]["messages"][0]["text"], "0");
}

#[test]
fn sigmamind_replaces_the_variables_and_prefixes_the_agent() {
    let rig = Rig::new();
    let body = r#"{"agentId":"Zz9","dynamicVariables":{"customer_name":"Ann"}}"#;
    let chat = rig.patch("sigmamind", body).json();
    assert_eq!(chat["dynamicVariables"], json!({"customer_name": "Ann"}));
    assert_eq!(chat["agent"]["agentId"], "agent_Zz9");
    assert_eq!(chat["messages"][2]["content"], json!(["Thank you.", "How can I help you today?"]));
    assert_eq!(rig.get("sigmamind", &rig.path("sigmamind")).json(), chat);
    assert_eq!(rig.ask("PUT", "/settings/sigmamind", json!({"dynamic_variables": "merge"})).status, 200);
    let merged = rig.patch("sigmamind", r#"{"dynamicVariables":{"plan":"b"}}"#).json();
    assert_eq!(merged["dynamicVariables"], json!({"customer_name": "Ann", "plan": "b"}));
}

#[test]
fn cuadra_clears_with_null_and_shows_the_model_only_when_asked() {
    let rig = Rig::new();
    let before = rig.get("cuadra", &rig.path("cuadra")).json();
    assert!(before.get("model").is_none());
    let chat = rig.patch("cuadra", r#"{"title":null,"metadata":{"a":[1]}}"#).json();
    assert_eq!((&chat["title"], &chat["metadata"]), (&Value::Null, &json!({"a": [1]})));
    assert_eq!(chat["systemPrompt"], before["systemPrompt"]);
    assert_ne!(chat["updatedAt"], before["updatedAt"]);
    assert_eq!(rig.get("cuadra", &rig.path("cuadra")).json(), chat);
    for query in ["expand[]=model", "expand%5B%5D=model"] {
        let read = rig.get("cuadra", &format!("{}?{query}", rig.path("cuadra"))).json();
        assert_eq!(read["model"]["contextWindow"], 128_000);
    }
}

#[test]
fn agentphone_tells_absent_from_null_and_renames_groups_only() {
    let rig = Rig::new();
    let path = rig.path("agentphone");
    let set = rig.patch("agentphone", r#"{"metadata":{"only":1}}"#).json();
    assert_eq!(set["metadata"], json!({"only": 1}));
    assert_eq!(rig.patch("agentphone", "{}").json()["metadata"], json!({"only": 1}));
    assert_eq!(rig.patch("agentphone", r#"{"metadata":null}"#).json()["metadata"], Value::Null);
    let ignored = rig.patch("agentphone", r#"{"group_name":"x"}"#).json();
    assert_eq!(ignored["groupName"], Value::Null);
    assert_eq!(rig.last("agentphone")["effect"], json!(false));
    let (name, value) = rig.auth("agentphone");
    let fields = [
        (name.as_str(), value.as_str()),
        ("Content-Type", "application/json"),
        ("X-Sub-Account-Id", "sub_1"),
    ];
    let group = rig.call(
        "agentphone",
        "PATCH",
        "/v1/conversations/conv_abc123",
        &fields,
        r#"{"group_name":"Picnic"}"#,
    );
    assert_eq!(group.json()["groupName"], "Picnic");
    let entry = rig.last("agentphone");
    assert!(entry["headers"].as_array().unwrap().contains(&json!(["X-Sub-Account-Id", "sub_1"])));
    let window = rig.get("agentphone", &format!("{path}?message_limit=1")).json();
    assert_eq!(
        (window["messages"].as_array().unwrap().len(), &window["messages"][0]["id"]),
        (1, &json!("msg_003"))
    );
    let list = rig.get("agentphone", "/v1/conversations?limit=1&offset=0").json();
    assert_eq!(
        (&list["hasMore"], &list["total"], &list["data"][0]["id"]),
        (&json!(true), &json!(2), &json!("conv_abc123"))
    );
    assert_eq!(list["data"][0]["lastMessagePreview"], "I will.");
    assert!(list["data"][0].get("messages").is_none());
    let page = rig.get("agentphone", &format!("{path}/messages?limit=1&before=2025-01-15T12:05:00Z")).json();
    assert_eq!((&page["hasMore"], &page["data"][0]["id"]), (&json!(true), &json!("msg_002")));
}

#[test]
fn numbers_come_back_digit_for_digit() {
    let rig = Rig::new();
    let map = r#"{"big":12345678901234567890123,"small":0.0015000,"e":1E+2,"neg":-0}"#;
    for (vendor, member) in
        [("sigmamind", "dynamicVariables"), ("cuadra", "metadata"), ("agentphone", "metadata")]
    {
        let reply = rig.patch(vendor, &format!(r#"{{"{member}":{map}}}"#));
        assert!(reply.text().contains(&format!(r#""{member}":{map}"#)), "{vendor}: {}", reply.text());
        let read = rig.get(vendor, &rig.path(vendor));
        assert!(read.text().contains(map), "{vendor}: {}", read.text());
    }
    let whole = r#"{"chatId":"n","status":"in_progress","x":1.500}"#;
    assert_eq!(rig.ask("PUT", "/conversations/sigmamind/n", whole).status, 200);
    assert_eq!(rig.get("sigmamind", "/v1/chats/n").text(), whole);
}

#[test]
fn a_reset_brings_everything_back() {
    let rig = Rig::new();
    for vendor in vendors() {
        assert_eq!(rig.patch(vendor, rig.effective(vendor)).status, 200, "{vendor}");
    }
    rig.fault(&json!({"mode": "status"}));
    rig.ask("PUT", "/credentials/kakiyo", json!({"accept": []}));
    let before = rig.entries("kakiyo").last().unwrap()["sequence"].as_u64().unwrap();
    assert_eq!(rig.ask("POST", "/reset", &Value::Null).status, 200);
    assert_eq!(rig.get("agentphone", &rig.path("agentphone")).json()["metadata"]["orderId"], "ORD-12345");
    assert_eq!(rig.get("chatling", &rig.path("chatling")).json()["data"]["archived"], 0);
    assert_eq!(rig.get("kakiyo", "/v1/verify").status, 200);
    assert!(rig.last("kakiyo")["sequence"].as_u64().unwrap() > before);
    assert_eq!(rig.entries("kakiyo").len(), 1);
}
