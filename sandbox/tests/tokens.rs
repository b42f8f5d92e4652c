//! The token endpoint, scopes, and idempotency keys.

// Always true here; it tells the lints that this is test code.
#![cfg(test)]

mod common;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Rig, unique};
use serde_json::{Value, json};
use testkit::Reply;

const TOKEN: &str = "/v1/oauth2/token";
const JSON: (&str, &str) = ("Content-Type", "application/json");
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

fn client(rig: &Rig, index: usize) -> (String, String) {
    let client = rig.credentials()["cuadra"].clients[index].clone();
    (client.client_id, client.client_secret)
}

fn grant(rig: &Rig, more: &Value) -> Reply {
    let (id, secret) = client(rig, 0);
    let mut body = json!({"client_id": id, "client_secret": secret, "grant_type": "client_credentials"});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    rig.call("cuadra", "POST", TOKEN, &[JSON], &body.to_string())
}

fn update(rig: &Rig, token: &str, key: &str, body: &str) -> Reply {
    let bearer = format!("Bearer {token}");
    rig.call(
        "cuadra",
        "PATCH",
        &rig.path("cuadra"),
        &[("Authorization", &bearer), JSON, ("Idempotency-Key", key)],
        body,
    )
}

#[test]
fn three_ways_to_a_token() {
    let rig = Rig::new();
    assert!(rig.token_url().ends_with(TOKEN));
    assert!(rig.token_url().starts_with(&rig.url("cuadra").unwrap()));
    let (id, secret) = client(&rig, 0);
    let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    let replies = [
        grant(&rig, &json!({})),
        rig.call(
            "cuadra",
            "POST",
            TOKEN,
            &[FORM],
            &format!("client_id={id}&client_secret={secret}&grant_type=client_credentials"),
        ),
        rig.call(
            "cuadra",
            "POST",
            TOKEN,
            &[FORM, ("Authorization", &basic)],
            "grant_type=client_credentials&scope=chat%3Awrite",
        ),
    ];
    let mut seen = Vec::new();
    for reply in replies {
        assert_eq!(reply.status, 200, "{}", reply.text());
        let body = reply.json();
        assert_eq!(
            (&body["token_type"], &body["expires_in"], body.as_object().unwrap().len()),
            (&json!("bearer"), &json!(3600), 3)
        );
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        let token = body["access_token"].as_str().unwrap().to_owned();
        assert_eq!(update(&rig, &token, &unique(), r#"{"title":"t"}"#).status, 200);
        assert!(!seen.contains(&token));
        seen.push(token);
    }
}

#[test]
fn scopes_revocation_and_expiry() {
    let rig = Rig::new();
    let token = |more: &Value| grant(&rig, more).json()["access_token"].as_str().unwrap().to_owned();
    let reader = token(&json!({"scope": "chat:read"}));
    let refused = update(&rig, &reader, &unique(), r#"{"title":"t"}"#);
    assert_eq!(
        (refused.status, &refused.json()["detail"]),
        (403, &json!("Missing required scope: chat:write"))
    );
    let bearer = format!("Bearer {reader}");
    let read = || rig.call("cuadra", "GET", &rig.path("cuadra"), &[("Authorization", &bearer)], "").status;
    assert_eq!(read(), 200);
    let writer = token(&json!({"scope": "chat:write"}));
    assert_eq!(update(&rig, &writer, &unique(), r#"{"title":"t"}"#).status, 200);
    assert_eq!(rig.ask("POST", "/tokens/revoke", &Value::Null).json(), json!({"revoked": 2}));
    assert_eq!(update(&rig, &writer, &unique(), r#"{"title":"t"}"#).status, 401);
    assert_eq!(read(), 401);
    rig.ask("PUT", "/tokens", json!({"expires_in": 1}));
    let short = token(&json!({}));
    assert_eq!(update(&rig, &short, &unique(), r#"{"title":"t"}"#).status, 200);
    std::thread::sleep(Duration::from_millis(1_050));
    let late = update(&rig, &short, &unique(), r#"{"title":"t"}"#);
    assert_eq!((late.status, &late.json()["detail"]), (401, &json!("Invalid or expired token.")));
    assert_eq!(update(&rig, &rig.key("cuadra"), &unique(), r#"{"title":"t"}"#).status, 200);
}

#[test]
fn refusals_in_two_shapes() {
    let rig = Rig::new();
    let (id, secret) = client(&rig, 0);
    let both = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    let bad = format!("Basic {}", STANDARD.encode(format!("{id}:nope")));
    let whole = format!("client_id={id}&client_secret={secret}&grant_type=client_credentials");
    for (shape, code) in [("stytch", "error_type"), ("rfc6749", "error")] {
        assert_eq!(rig.ask("PUT", "/settings/cuadra", json!({"token_errors": shape})).status, 200);
        let expect = |reply: &Reply, status: u16, what: &str| {
            assert_eq!(
                (reply.status, &reply.json()[code]),
                (status, &json!(what)),
                "{shape}: {}",
                reply.text()
            );
        };
        expect(&grant(&rig, &json!({"client_secret": "nope"})), 401, "invalid_client");
        expect(&grant(&rig, &json!({"client_id": "nobody"})), 401, "invalid_client");
        expect(&grant(&rig, &json!({"client_secret": null})), 401, "invalid_client");
        expect(&grant(&rig, &json!({"grant_type": "password"})), 400, "unsupported_grant_type");
        expect(&grant(&rig, &json!({"grant_type": null})), 400, "invalid_request");
        expect(&grant(&rig, &json!({"audience": "x"})), 400, "invalid_request");
        expect(&grant(&rig, &json!({"scope": "chat:write admin"})), 400, "invalid_scope");
        expect(
            &rig.call("cuadra", "POST", TOKEN, &[("Content-Type", "text/plain")], &whole),
            400,
            "invalid_request",
        );
        expect(
            &rig.call("cuadra", "POST", TOKEN, &[FORM], &format!("{whole}&grant_type=client_credentials")),
            400,
            "invalid_request",
        );
        expect(
            &rig.call("cuadra", "POST", TOKEN, &[FORM, ("Authorization", &both)], &whole),
            400,
            "invalid_request",
        );
        let basic = rig.call(
            "cuadra",
            "POST",
            TOKEN,
            &[FORM, ("Authorization", &bad)],
            "grant_type=client_credentials",
        );
        expect(&basic, 401, "invalid_client");
        assert!(basic.header("www-authenticate").is_some());
    }
    assert_eq!(rig.call("cuadra", "GET", TOKEN, &[], "").status, 405);
    assert!(rig.entries("cuadra").iter().all(|entry| entry["effect"] == json!(false)));
    let (id, secret) = ("new client", "p+w");
    let clients = json!({"clients": [{"client_id": id, "client_secret": secret, "scope": "chat:write"}]});
    assert_eq!(rig.ask("PUT", "/credentials/cuadra", &clients).status, 200);
    let encoded = format!("Basic {}", STANDARD.encode("new+client:p%2Bw"));
    let reply = rig.call(
        "cuadra",
        "POST",
        TOKEN,
        &[FORM, ("Authorization", &encoded)],
        "grant_type=client_credentials",
    );
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn an_idempotency_key_applies_once() {
    let rig = Rig::new();
    let key = rig.key("cuadra");
    let first = update(&rig, &key, "k1", r#"{"title":"one"}"#);
    assert_eq!(first.status, 200);
    assert_eq!(update(&rig, &key, "k2", r#"{"title":"two"}"#).status, 200);
    let again = update(&rig, &key, "k1", r#"{"title":"one"}"#);
    assert_eq!((again.status, &again.text()), (200, &first.text()));
    let entry = rig.last("cuadra");
    assert_eq!((&entry["effect"], &entry["note"]), (&json!(false), &json!("replayed")));
    assert_eq!(rig.get("cuadra", &rig.path("cuadra")).json()["title"], "two");
    let other = update(&rig, &key, "k1", r#"{"title":"three"}"#);
    assert_eq!((other.status, &other.json()["title"]), (409, &json!("Conflict")));
    let bearer = format!("Bearer {key}");
    let missing = rig.call(
        "cuadra",
        "PATCH",
        &rig.path("cuadra"),
        &[("Authorization", &bearer), JSON],
        r#"{"title":"x"}"#,
    );
    assert_eq!(missing.status, 400);
    let twice =
        [("Authorization", bearer.as_str()), JSON, ("Idempotency-Key", "a"), ("Idempotency-Key", "a")];
    assert_eq!(rig.call("cuadra", "PATCH", &rig.path("cuadra"), &twice, r#"{"title":"x"}"#).status, 400);
    // What was refused is not remembered: the corrected request may use the key.
    assert_eq!(update(&rig, &key, "k3", r#"{"title":5}"#).status, 422);
    assert_eq!(update(&rig, &key, "k3", r#"{"title":"four"}"#).status, 200);
    // An update whose answer was lost is replayed to the retry.
    rig.fault(&json!({"mode": "reset_after_request", "apply": true, "vendor": "cuadra", "method": "PATCH"}));
    let mut stream = rig.connect("cuadra");
    let fields = [("Authorization", bearer.as_str()), JSON, ("Idempotency-Key", "k4")];
    let bytes = common::request("PATCH", &rig.path("cuadra"), &fields, r#"{"title":"five"}"#).encode();
    stream.write(&bytes);
    assert!(stream.try_reply().is_err());
    assert_eq!(rig.finished("cuadra")["effect"], json!(true));
    assert_eq!(update(&rig, &key, "k4", r#"{"title":"five"}"#).status, 200);
    let effects = rig.entries("cuadra").iter().filter(|e| e["effect"] == json!(true)).count();
    assert_eq!(effects, 4);
}
