//! The resources of both listeners.

use serde_json::{Value, json};
use testkit::Request;
use testkit::blocking::Gateway;
use testkit::blocking::once;

use crate::setup::{usual, with};

#[test]
fn the_api_listener_has_two_resources() {
    let rig = usual();
    let elsewhere = [
        "/",
        "/conversations",
        "/conversations/",
        "/conversations//",
        "/conversations/sales:a/b",
        "/conversations/sales:a/",
        "/Conversations/sales:a",
        "/v1/conversations/sales:a",
        "/openapi.json/",
        "/openapi",
        "//openapi.json",
        // What belongs to the admin listener is never here.
        "/livez",
        "/readyz",
        "/metrics",
        "/config",
        "/console",
    ];
    for path in elsewhere {
        for method in ["GET", "PATCH", "POST"] {
            let request = Request::new(method, path).header("Content-Type", "application/json").body("{}");
            rig.send(&request).is_problem(404, "not-found");
        }
    }
    rig.nothing_sent();
    rig.finish();
}

#[test]
fn other_methods_are_refused_with_those_that_are_allowed() {
    let rig = usual();
    let allowed = |path: &str, allow: &str, others: &[&str]| {
        for method in others {
            let answer = rig.send(&Request::new(method, path));
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
            match *method {
                "HEAD" => assert!(answer.body.is_empty()),
                _ => answer.is_problem(405, "method-not-allowed"),
            }
        }
    };
    let common = ["POST", "PUT", "DELETE", "TRACE", "PROPFIND"];
    allowed("/conversations/sales:chat_12345abcde", "GET, HEAD, PATCH, OPTIONS", &common);
    allowed("/openapi.json", "GET, HEAD", &[&common[..], &["PATCH", "OPTIONS"]].concat());
    rig.nothing_sent();
    rig.finish();
}

#[test]
fn options_tells_methods_and_patch_formats() {
    let rig = usual();
    let answer = rig.send(&Request::new("OPTIONS", "/conversations/sales:chat_12345abcde"));
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("allow"), Some("GET, HEAD, PATCH, OPTIONS"));
    assert_eq!(answer.header("accept-patch"), Some("application/json, application/merge-patch+json"));
    rig.nothing_sent();
    rig.finish();
}

#[test]
fn the_document_is_served_as_it_is_printed() {
    let rig = usual();
    let answer = rig.send(&Request::new("GET", "/openapi.json"));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.json(), *testkit::contract::document());
    assert!(answer.json()["openapi"].as_str().unwrap().starts_with("3.1."));
    let head = rig.send(&Request::new("HEAD", "/openapi.json"));
    assert_eq!((head.status, head.body.as_slice()), (200, b"".as_slice()));
    assert_eq!(head.header("content-length"), answer.header("content-length"));
    rig.finish();
}

#[test]
fn a_connection_is_used_for_one_request_after_the_other() {
    let rig = usual();
    let mut connection = rig.connect();
    let id = rig.conversation("kakiyo");
    for n in 0..3 {
        let body = format!(r#"{{"context":"{n}"}}"#);
        let done = rig.send_on(&mut connection, &Request::patch(&format!("sales:{id}"), &body));
        assert_eq!((done.status, &done.json()["context"]), (200, &json!(n.to_string())));
        rig.send_on(&mut connection, &Request::new("GET", "/nowhere")).is_problem(404, "not-found");
        rig.send_on(&mut connection, &Request::patch("sales:x", "{}")).is_problem(422, "invalid-patch");
    }
    // Two requests written at once are answered in their order.
    let (first, second) = (Request::new("GET", "/nowhere"), Request::new("GET", "/openapi.json"));
    connection.write(&[first.encode(), second.encode()].concat());
    assert_eq!((connection.reply().status, connection.reply().status), (404, 200));
    rig.finish();
}

#[test]
fn the_admin_listener_tells_health_and_the_configuration() {
    let rig = with("[[routes]]\nid = \"conv_*\"\nupstream = \"sms\"\n");
    for path in ["/livez", "/readyz"] {
        assert_eq!(rig.ask_admin(&Request::new("GET", path)).status, 200, "{path}");
        let head = rig.ask_admin(&Request::new("HEAD", path));
        assert_eq!((head.status, head.body.as_slice()), (200, b"".as_slice()), "{path}");
        let refused = rig.ask_admin(&Request::new("POST", path));
        assert_eq!(refused.status, 405, "{path}");
        assert!(refused.header("allow").is_some_and(|allow| allow.contains("GET")), "{refused:?}");
    }
    let config = rig.ask_admin(&Request::new("GET", "/config"));
    assert_eq!((config.status, config.header("content-type")), (200, Some("application/json")));
    for vendor in parlance_sandbox::vendors() {
        assert!(!config.text().contains(&rig.key(vendor)), "{}", config.text());
    }
    let shown = config.json();
    assert_eq!(shown["upstreams"]["voice"]["vendor"], "sigmamind");
    assert_eq!(shown["routes"][0]["id"], "conv_*");
    rig.ask_admin(&Request::new("GET", "/nowhere")).is_problem(404, "not-found");
    // The API is not on the admin listener.
    rig.ask_admin(&Request::patch("sales:x", r#"{"context":"c"}"#)).is_problem(404, "not-found");
    rig.ask_admin(&Request::new("GET", "/openapi.json")).is_problem(404, "not-found");
    rig.nothing_sent();
    rig.finish();
}

#[test]
fn vendors_that_fail_do_not_make_it_unready() {
    let rig = usual();
    for vendor in parlance_sandbox::vendors() {
        rig.fault(json!({ "vendor": vendor, "mode": "reset_on_accept", "count": 0 }));
    }
    for id in ["sales:a", "support:a", "voice:a"] {
        let body = if id.starts_with("support") { r#"{"archived":true}"# } else { r#"{"context":{"a":1}}"# };
        let answer = rig.patch(id, body);
        assert!(answer.status == 502, "{}", answer.text());
    }
    assert_eq!(once(rig.admin(), &Request::new("GET", "/readyz")).status, 200);
    rig.control("DELETE", "/faults", &Value::Null);
    rig.finish();
}

#[test]
fn off_loopback_the_configuration_needs_the_token() {
    // Bound to every address, reached over loopback: where the request comes from does not count.
    let open = with("[admin]\nlisten = \"0.0.0.0:0\"\n");
    let reach = |rig: &Gateway, request: &Request| {
        once(std::net::SocketAddr::from(([127, 0, 0, 1], rig.admin().port())), request)
    };
    for path in ["/livez", "/readyz"] {
        assert_eq!(reach(&open, &Request::new("GET", path)).status, 200);
    }
    reach(&open, &Request::new("GET", "/config")).is_problem(404, "not-found");
    open.finish();

    let token = "admin-token-for-tests";
    let guarded =
        with(&format!("[admin]\nlisten = \"0.0.0.0:0\"\ntoken = {{ value = \"{token}\" }}\n")).keeping(token);
    let config = Request::new("GET", "/config");
    for request in [config.clone(), config.clone().header("Authorization", "Bearer no")] {
        let refused = reach(&guarded, &request);
        refused.is_problem(401, "caller-unauthenticated");
        assert!(refused.header("www-authenticate").is_some());
    }
    let shown = reach(&guarded, &config.header("Authorization", &format!("Bearer {token}")));
    assert_eq!(shown.status, 200);
    assert!(!shown.text().contains(token));
    guarded.finish();
}
