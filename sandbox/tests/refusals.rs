//! Refusals: in the vendor's own words, and nothing changes.

// Always true here; it tells the lints that this is test code.
#![cfg(test)]

mod common;

use common::{Rig, vendors};
use serde_json::{Value, json};
use testkit::Reply;

/// Tells whether a refusal has the vendor's shape for its status; none for a vendor without a shape here.
fn shaped(vendor: &str, reply: &Reply) -> Option<bool> {
    let body = reply.json();
    let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let array = |body: &Value| {
        body["detail"][0]["loc"].is_array()
            && text(&body["detail"][0]["msg"])
            && text(&body["detail"][0]["type"])
    };
    Some(match vendor {
        "kakiyo" => text(&body["error"]) && text(&body["message"]) && body.as_object().unwrap().len() == 2,
        "chatling" => {
            body["status"] == "error" && text(&body["message"]) && body.as_object().unwrap().len() == 2
        }
        "sigmamind" => {
            body["status"] == reply.status
                && ["timestamp", "error", "message", "path"].iter().all(|name| text(&body[name]))
        }
        "cuadra" if reply.status == 422 => array(&body),
        "cuadra" => {
            body["status"] == reply.status
                && text(&body["title"])
                && text(&body["detail"])
                && reply.header("content-type") == Some("application/problem+json")
        }
        "agentphone" if reply.status == 401 => text(&body["detail"]),
        "agentphone" if reply.status == 422 => array(&body),
        "agentphone" => {
            text(&body["error"]["message"]) && text(&body["error"]["code"]) && text(&body["error"]["type"])
        }
        _ => return None,
    })
}

struct Case<'a> {
    rig: &'a Rig,
    vendor: &'static str,
}

impl Case<'_> {
    fn fields(&self, without: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut all = self.rig.fields(self.vendor);
        all.retain(|(name, _)| !name.eq_ignore_ascii_case(without));
        all.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        all
    }

    fn expect(
        &self,
        what: &str,
        status: u16,
        method: &str,
        path: &str,
        fields: &[(String, String)],
        body: &str,
    ) -> Reply {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let reply = self.rig.call(self.vendor, method, path, &fields, body);
        let right = match shaped(self.vendor, &reply) {
            Some(shaped) => reply.status == status && shaped,
            // A vendor that has no words of its own here yet refuses in some words.
            None => (400..500).contains(&reply.status) && reply.json().is_object(),
        };
        assert!(right, "{} {what}, wanted {status}: {} {}", self.vendor, reply.status, reply.text());
        let entry = self.rig.last(self.vendor);
        assert_eq!(
            (&entry["effect"], &entry["status"]),
            (&json!(false), &json!(reply.status)),
            "{} {what}",
            self.vendor
        );
        reply
    }

    fn body(&self, what: &str, status: u16, body: &str) -> Reply {
        self.expect(what, status, "PATCH", &self.rig.path(self.vendor), &self.fields("", &[]), body)
    }
}

#[test]
fn credentials() {
    let rig = Rig::new();
    for vendor in vendors() {
        let case = Case { rig: &rig, vendor };
        let (path, body) = (rig.path(vendor), rig.effective(vendor));
        let (name, value) = rig.auth(vendor);
        let foreign = if vendor == "sigmamind" {
            ("Authorization", format!("Bearer {value}"))
        } else {
            ("X-API-Key", rig.key(vendor))
        };
        let doubled = format!("{value}x");
        let lower = value.replacen("Bearer ", "bearer ", 1);
        let mut bad: Vec<(&str, Vec<(&str, &str)>)> = vec![
            ("missing", vec![]),
            ("wrong", vec![(&name, &doubled)]),
            ("twice", vec![(&name, &value), (&name, &value)]),
            ("in the other scheme", vec![(foreign.0, &foreign.1)]),
            ("in both schemes", vec![(&name, &value), (foreign.0, &foreign.1)]),
            ("empty", vec![(&name, "")]),
        ];
        if vendor != "sigmamind" {
            bad.push(("in another case", vec![(&name, &lower)]));
            bad.push(("Basic", vec![(&name, "Basic eDp5")]));
        }
        for (what, more) in bad {
            case.expect(what, 401, "PATCH", &path, &case.fields(&name, &more), body);
            case.expect(what, 401, "GET", &rig.read_path(vendor), &case.fields(&name, &more), "");
        }
        // Other keys can be made good, and the demo key bad.
        let other = "o".repeat(40);
        assert_eq!(rig.ask("PUT", &format!("/credentials/{vendor}"), json!({"accept": [other]})).status, 200);
        case.expect("replaced", 401, "PATCH", &path, &case.fields("", &[]), body);
    }
    let case = Case { rig: &Rig::new(), vendor: "kakiyo" };
    let path = case.rig.path("kakiyo");
    let code = |value: &str| {
        let fields = case.fields(
            "authorization",
            if value.is_empty() { vec![] } else { vec![("Authorization", value)] }.as_slice(),
        );
        case.expect(value, 401, "PATCH", &path, &fields, "{}").json()["error"].clone()
    };
    assert_eq!(code(""), "missing_api_key");
    assert_eq!(code("Bearer short"), "invalid_api_key_format");
    assert_eq!(code(&format!("Bearer {}", "x".repeat(40))), "invalid_api_key");
}

#[test]
fn bodies() {
    let rig = Rig::new();
    let other =
        |vendor, common, fastapi| if matches!(vendor, "cuadra" | "agentphone") { fastapi } else { common };
    for vendor in vendors() {
        let case = Case { rig: &rig, vendor };
        let whole = rig.effective(vendor);
        for (what, body) in [
            ("empty", ""),
            ("cut", &whole[..whole.len() - 1]),
            ("behind", &format!("{whole} x")),
            ("NaN", "{\"a\":NaN}"),
        ] {
            case.body(what, other(vendor, 400, 422), body);
        }
        let meaning = if vendor == "chatling" { 422 } else { other(vendor, 400, 422) };
        let member = whole.split('"').nth(1).unwrap();
        let value = whole.split_once(':').unwrap().1.trim_end_matches('}');
        let value = if value.starts_with('{') { format!("{value}}}") } else { value.to_owned() };
        case.body("array", meaning, "[]");
        case.body("null", meaning, "null");
        case.body("unknown member", meaning, &format!("{{\"{member}\":{value},\"surprise\":1}}"));
        case.body("repeated member", meaning, &format!("{{\"{member}\":{value},\"{member}\":{value}}}"));
        if vendor != "agentphone" {
            case.body("no member", meaning, "{}");
        }
        let path = rig.path(vendor);
        let type_status = match vendor {
            "kakiyo" => 400,
            "cuadra" => 422,
            _ => 415,
        };
        for value in ["text/plain", "application/json; charset=utf-16", "application/merge-patch+json"] {
            case.expect(
                value,
                type_status,
                "PATCH",
                &path,
                &case.fields("content-type", &[("Content-Type", value)]),
                whole,
            );
        }
        case.expect("no type", type_status, "PATCH", &path, &case.fields("content-type", &[]), whole);
        case.expect(
            "two types",
            type_status,
            "PATCH",
            &path,
            &case.fields("", &[("Content-Type", "application/json")]),
            whole,
        );
        case.expect(
            "gzip",
            type_status,
            "PATCH",
            &path,
            &case.fields("", &[("Content-Encoding", "gzip")]),
            whole,
        );
    }
}

#[test]
fn members_types_and_limits() {
    let rig = Rig::new();
    let case = |vendor| Case { rig: &rig, vendor };
    let text = |count: usize| "🙂".repeat(count);
    for body in
        [r#"{"customData":null}"#, r#"{"customData":5}"#, &format!(r#"{{"customData":"{}"}}"#, text(3001))]
    {
        case("kakiyo").body("customData", 400, body);
    }
    assert_eq!(
        rig.patch("kakiyo", &format!(r#"{{"customData":"{}"}}"#, text(3000))).json()["customDataLength"],
        3000
    );
    rig.ask("PUT", "/settings/kakiyo", json!({"over_limit": "truncate"}));
    assert_eq!(
        rig.patch("kakiyo", &format!(r#"{{"customData":"{}"}}"#, text(3001))).json()["customDataLength"],
        3000
    );
    for body in [
        r#"{"archive":1}"#,
        r#"{"archive":null}"#,
        r#"{"important":"true"}"#,
        r#"{"contact_id":null}"#,
        r#"{"contact_id":""}"#,
        r#"{"archived":true}"#,
    ] {
        case("chatling").body("members", 422, body);
    }
    let long = format!(r#"{{"agentId":"{}"}}"#, "a".repeat(65));
    for body in [
        r#"{"agentId":null}"#,
        r#"{"agentId":""}"#,
        &long,
        r#"{"dynamicVariables":null}"#,
        r#"{"dynamicVariables":[]}"#,
    ] {
        case("sigmamind").body("members", 400, body);
    }
    assert_eq!(rig.patch("sigmamind", &format!(r#"{{"agentId":"{}"}}"#, "a".repeat(64))).status, 200);
    for body in [
        r#"{"title":5}"#,
        r#"{"systemPrompt":[]}"#,
        &format!(r#"{{"title":"{}"}}"#, text(501)),
        r#"{"system_prompt":"x"}"#,
    ] {
        case("cuadra").body("members", 422, body);
    }
    assert_eq!(rig.patch("cuadra", &format!(r#"{{"title":"{}"}}"#, text(500))).status, 200);
    for body in [
        r#"{"metadata":[]}"#,
        r#"{"metadata":"x"}"#,
        r#"{"group_name":5}"#,
        r#"{"groupName":"x"}"#,
        r#"{"metadata":{"a":{"b":1,"b":2}}}"#,
    ] {
        let reply = case("agentphone").body("members", 422, body);
        assert_eq!(reply.json()["detail"][0]["loc"][0], "body");
    }
}

#[test]
fn conversations_paths_methods_and_queries() {
    let rig = Rig::new();
    for vendor in vendors() {
        let case = Case { rig: &rig, vendor };
        let (path, read, body) = (rig.path(vendor), rig.read_path(vendor), rig.effective(vendor));
        let id = rig.samples()[vendor].conversations[0];
        case.expect("unknown", 404, "PATCH", &path.replace(id, "nobody"), &case.fields("", &[]), body);
        case.expect("unknown", 404, "GET", &read.replace(id, "nobody"), &case.fields("", &[]), "");
        for forged in ["%2e%2e", "a%2Fb", "%252f", "%00", "%zz", ""] {
            case.expect(forged, 404, "PATCH", &path.replace(id, forged), &case.fields("", &[]), body);
        }
        case.expect("slash", 404, "PATCH", &format!("{path}/"), &case.fields("", &[]), body);
        case.expect("version", 404, "PATCH", &path.replacen("/v", "/V", 1), &case.fields("", &[]), body);
        let query = if matches!(vendor, "kakiyo" | "sigmamind") { 400 } else { 422 };
        case.expect("query", query, "PATCH", &format!("{path}?a=1"), &case.fields("", &[]), body);
        case.expect("query", query, "GET", &format!("{read}?a=1"), &case.fields("", &[]), "");
        let method = if vendor == "kakiyo" { 404 } else { 405 };
        for other in ["PUT", "POST", "DELETE"] {
            case.expect(other, method, other, &path, &case.fields("", &[]), body);
        }
        assert_eq!(rig.call(vendor, "GET", &read, &[], "").status, 401);
        let encoded =
            path.replace(id, &id.replacen(id.get(..1).unwrap(), &format!("%{:02X}", id.as_bytes()[0]), 1));
        let reply = rig.call(
            vendor,
            "PATCH",
            &encoded,
            &case.fields("", &[]).iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<Vec<_>>(),
            body,
        );
        assert_eq!(reply.status, 200, "{vendor}: an encoded letter is the letter: {}", reply.text());
    }
    let case = |vendor| Case { rig: &rig, vendor };
    let kakiyo = case("kakiyo");
    let foreign = kakiyo.expect(
        "foreign",
        403,
        "PATCH",
        "/v1/prospects/chat_67890fghij/custom-data",
        &kakiyo.fields("", &[]),
        rig.effective("kakiyo"),
    );
    assert_eq!(foreign.json()["error"], "forbidden");
    let chatling = case("chatling");
    chatling.expect(
        "other chatbot",
        404,
        "PATCH",
        "/v2/chatbots/1/conversations/8977617953",
        &chatling.fields("", &[]),
        rig.effective("chatling"),
    );
    let sigma = case("sigmamind");
    sigma.expect(
        "ended",
        409,
        "PATCH",
        "/v1/chats/chat-ended0000000001",
        &sigma.fields("", &[]),
        rig.effective("sigmamind"),
    );
    let cuadra = case("cuadra");
    cuadra.expect(
        "deleted",
        404,
        "PATCH",
        "/v1/chats/chat_deleted123",
        &cuadra.fields("", &[]),
        rig.effective("cuadra"),
    );
    cuadra.expect("deleted", 404, "GET", "/v1/chats/chat_deleted123", &cuadra.fields("", &[]), "");
    cuadra.expect(
        "expand",
        422,
        "GET",
        &format!("{}?expand[]=messages", rig.path("cuadra")),
        &cuadra.fields("", &[]),
        "",
    );
    let phone = case("agentphone");
    for query in
        ["message_limit=0", "message_limit=101", "message_limit=x", "message_limit=1&message_limit=2"]
    {
        phone.expect(
            query,
            422,
            "GET",
            &format!("{}?{query}", rig.path("agentphone")),
            &phone.fields("", &[]),
            "",
        );
    }
    phone.expect("list", 422, "GET", "/v1/conversations?limit=101", &phone.fields("", &[]), "");
    phone.expect(
        "messages",
        422,
        "GET",
        "/v1/conversations/conv_def456/messages?before=yesterday",
        &phone.fields("", &[]),
        "",
    );
    phone.expect(
        "sub account",
        400,
        "PATCH",
        &rig.path("agentphone"),
        &phone.fields("", &[("X-Sub-Account-Id", "")]),
        "{}",
    );
}

#[test]
fn agentphone_has_three_shapes_to_choose_from() {
    let rig = Rig::new();
    for (shape, pointer) in [("docs", "/error/message"), ("openapi", "/detail/0/msg"), ("detail", "/detail")]
    {
        assert_eq!(rig.ask("PUT", "/settings/agentphone", json!({"error_shape": shape})).status, 200);
        for reply in [
            rig.call("agentphone", "GET", "/v1/conversations", &[], ""),
            rig.patch("agentphone", r#"{"metadata":1}"#),
        ] {
            assert!(reply.json().pointer(pointer).is_some_and(Value::is_string), "{shape}: {}", reply.text());
        }
    }
    rig.ask("PUT", "/settings/agentphone", json!({"error_shape": "docs"}));
    let details = &rig.patch("agentphone", r#"{"metadata":1}"#).json()["error"]["details"];
    assert_eq!(details[0]["field"], "metadata");
}
