//! Starting, stopping, TLS, and the control side.

// Always true here; it tells the lints that this is test code.
#![cfg(test)]

mod common;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Rig, request, rule, vendors};
use parlance_sandbox::{Options, Tls, start};
use serde_json::{Value, json};
use testkit::address;
use testkit::blocking::Connection;

#[test]
fn only_loopback_and_free_ports() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for host in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), "10.0.0.1".parse().unwrap(), "::".parse().unwrap()] {
        let error = runtime.block_on(start(Options { host, ..Options::default() })).unwrap_err();
        assert!(error.to_string().contains("loopback"), "{error}");
    }
    let error = runtime.block_on(start(Options { base_port: 65_533, ..Options::default() })).unwrap_err();
    assert!(error.to_string().contains("65533"), "{error}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base_port = taken.local_addr().unwrap().port();
    let error = runtime.block_on(start(Options { base_port, ..Options::default() })).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert_eq!(
        (Options::default().base_port, Options::default().host.to_string().as_str()),
        (9100, "127.0.0.1")
    );
}

#[test]
fn ports_follow_the_base_in_order() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Another process may hold one of these neighbouring ports, so a few bases are tried.
    let sandbox = (0..20).find_map(|n| {
        runtime.block_on(start(Options { base_port: 23_100 + n * 10, ..Options::default() })).ok()
    });
    let sandbox = sandbox.unwrap();
    let control = address(&sandbox.control_url()).port();
    let ports: Vec<u16> = vendors().map(|vendor| address(&sandbox.url(vendor).unwrap()).port()).collect();
    assert_eq!(ports, (control + 1..).take(vendors().count()).collect::<Vec<_>>());
    // Each name is there once.
    assert_eq!(sandbox.samples().len(), ports.len());
    assert_eq!(sandbox.url("nobody"), None);
    runtime.block_on(sandbox.stop());
}

#[test]
fn stopping_is_prompt_and_closes_everything() {
    let rig = Rig::new();
    let addresses: Vec<_> = vendors().map(|vendor| rig.address(vendor)).collect();
    rig.fault(&rule("kakiyo", "hang", &json!({})));
    let mut hanging = rig.connect("kakiyo");
    hanging.write(&rig.update("kakiyo", rig.effective("kakiyo")));
    let mut idle = rig.connect("chatling");
    idle.write(&rig.update("chatling", rig.effective("chatling")));
    idle.reply();
    let begun = Instant::now();
    rig.stop();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    for mut stream in [hanging, idle] {
        assert!(matches!(stream.0.read(&mut [0; 8]), Ok(0) | Err(_)));
    }
    for address in addresses {
        assert!(TcpStream::connect(address).is_err());
    }
}

#[test]
fn several_at_once_do_not_share_anything() {
    let (one, two) = (Rig::new(), Rig::new());
    assert_eq!(one.patch("agentphone", one.effective("agentphone")).status, 200);
    assert_eq!(one.get("agentphone", &one.path("agentphone")).json()["metadata"], json!({"effective": true}));
    assert_ne!(two.get("agentphone", &two.path("agentphone")).json()["metadata"], json!({"effective": true}));
    assert_eq!((one.entries("agentphone").len(), two.entries("agentphone").len()), (2, 1));
}

#[test]
fn the_ledger_and_its_summary() {
    let rig = Rig::new();
    for vendor in vendors() {
        assert_eq!(rig.patch(vendor, rig.effective(vendor)).status, 200);
    }
    rig.get("kakiyo", "/v1/verify");
    let summary = || rig.ask("GET", "/ledger/summary", &Value::Null).json();
    assert_eq!(summary()["vendors"]["kakiyo"], json!({"connections": 2, "requests": 2, "effects": 1}));
    assert_eq!(summary()["vendors"]["cuadra"], json!({"connections": 1, "requests": 1, "effects": 1}));
    let ledger =
        |query: &str| rig.ask("GET", &format!("/ledger?{query}"), &Value::Null).json()["entries"].clone();
    let entry = &ledger("vendor=sigmamind")[0];
    let headers = entry["headers"].as_array().unwrap();
    assert_eq!(headers[0], json!(["Host", "127.0.0.1"]));
    assert_eq!(headers[1], json!(["X-API-Key", rig.key("sigmamind")]));
    assert_eq!(
        (&entry["method"], &entry["target"]),
        (&json!("PATCH"), &json!("/v1/chats/chat-d17T6uReChpyfFeP"))
    );
    assert_eq!(ledger("id=conv_def456").as_array().unwrap().len(), 1);
    let since = entry["sequence"].as_u64().unwrap();
    assert!(
        ledger(&format!("since={since}"))
            .as_array()
            .unwrap()
            .iter()
            .all(|e| e["sequence"].as_u64().unwrap() > since)
    );
    // The vendors behind it, and the one more request.
    let behind = vendors().skip_while(|vendor| *vendor != "sigmamind").count();
    assert_eq!(ledger(&format!("since={since}")).as_array().unwrap().len(), behind);
    // Bytes that are not text are kept as they were.
    let (name, value) = rig.auth("kakiyo");
    let headers = [(&*name, &*value), ("Content-Type", "application/json")];
    let bytes = request("PATCH", &rig.path("kakiyo"), &headers, "xx").body(*b"\xff\xfe");
    let mut stream = rig.connect("kakiyo");
    assert_eq!(stream.exchange(&bytes).status, 400);
    assert_eq!(
        (&rig.last("kakiyo")["body"], &rig.last("kakiyo")["body_encoding"]),
        (&json!("//4="), &json!("base64"))
    );
    rig.ask("DELETE", "/ledger", &Value::Null);
    assert_eq!(summary()["vendors"]["kakiyo"]["requests"], 0);
    rig.ask("PUT", "/ledger", json!({"enabled": false}));
    assert_eq!(rig.patch("kakiyo", rig.effective("kakiyo")).status, 200);
    assert_eq!(summary()["vendors"]["kakiyo"]["requests"], 0);
    let silent = Rig::with(Options { ledger: false, ..Options::default() });
    silent.patch("kakiyo", rig.effective("kakiyo"));
    assert!(silent.entries("kakiyo").is_empty());
    let small = Rig::with(Options { ledger_entries: 2, ..Options::default() });
    (0..5).for_each(|_| drop(small.patch("kakiyo", rig.effective("kakiyo"))));
    assert_eq!(small.entries("kakiyo").len(), 2);
    assert_eq!(small.ask("GET", "/ledger", &Value::Null).json()["dropped"], 3);
}

#[test]
fn the_control_side_says_what_to_do() {
    let rig = Rig::new();
    let help = rig.ask("GET", "/", &Value::Null).json();
    assert_eq!(help["vendors"]["cuadra"], json!(rig.url("cuadra").unwrap()));
    assert!(help["fault_modes"]["truncate"]["takes"].as_array().unwrap().contains(&json!("bytes")));
    for (method, path, body, status, word) in [
        ("GET", "/nowhere", json!(null), 404, "GET /"),
        ("GET", "/ledger?who=x", json!(null), 400, "vendor, since and id"),
        ("GET", "/ledger?vendor=x", json!(null), 404, "the vendors are kakiyo"),
        ("PUT", "/ledger", json!({"on": true}), 400, "enabled"),
        ("PUT", "/credentials/kakiyo", json!({"accept": "x"}), 400, "accept"),
        ("PUT", "/credentials/kakiyo", json!({"clients": []}), 400, "no token endpoint"),
        ("PUT", "/settings/agentphone", json!({"error_shape": "x"}), 400, "by_class"),
        ("PUT", "/settings/chatling", json!({"x": "y"}), 400, "unknown member"),
        ("PUT", "/tokens", json!({"expires_in": "x"}), 400, "expires_in"),
        ("GET", "/conversations/chatling/1", json!(null), 400, "2 id(s)"),
        ("GET", "/conversations/kakiyo/1", json!(null), 404, "\"1\""),
        ("PUT", "/conversations/kakiyo/1", json!({"id": "1"}), 400, "messages"),
    ] {
        let reply = rig.ask(method, path, &body);
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
        assert!(reply.json()["error"].as_str().unwrap().contains(word), "{method} {path}: {}", reply.text());
    }
    // Pages in a browser are kept out.
    for fields in ["Host: evil.example\r\n", "Host: 127.0.0.1\r\nOrigin: https://evil.example\r\n"] {
        let mut stream = Connection::open(rig.control_address());
        stream.write(format!("POST /reset HTTP/1.1\r\n{fields}Content-Length: 0\r\n\r\n").as_bytes());
        assert_eq!(stream.reply().status, 403);
    }
}

#[test]
fn vendors_under_tls() {
    let made =
        rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let tls = Tls {
        certificates_pem: made.cert.pem().into_bytes(),
        key_pem: made.signing_key.serialize_pem().into_bytes(),
    };
    let rig = Rig::with(Options { tls: Some(tls), ..Options::default() });
    assert!(rig.url("kakiyo").unwrap().starts_with("https://127.0.0.1:"));
    assert!(rig.token_url().starts_with("https://"));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let open = || {
        let name = "localhost".try_into().unwrap();
        let session = rustls::ClientConnection::new(Arc::clone(&config), name).unwrap();
        rustls::StreamOwned::new(session, rig.connect("kakiyo").0)
    };
    let mut stream = open();
    stream.write_all(&rig.update("kakiyo", rig.effective("kakiyo"))).unwrap();
    let mut text = vec![0; 15];
    stream.read_exact(&mut text).unwrap();
    assert_eq!(text, b"HTTP/1.1 200 OK");
    let ledger = rig.ask("GET", "/ledger?vendor=kakiyo", &Value::Null).json();
    assert_eq!(
        (&ledger["connections"][0]["server_name"], &ledger["entries"][0]["effect"]),
        (&json!("localhost"), &json!(true))
    );
    // A handshake that never comes, and a reset under TLS.
    rig.fault(&rule("kakiyo", "garbage_on_accept", &json!({})));
    let mut stream = open();
    assert!(stream.write_all(b"x").and_then(|()| stream.flush()).is_err());
    rig.fault(&rule("kakiyo", "reset_after_request", &json!({"apply": true})));
    let mut stream = open();
    stream.write_all(&rig.update("kakiyo", rig.effective("kakiyo"))).unwrap();
    assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let bad = Tls { certificates_pem: b"x".to_vec(), key_pem: b"y".to_vec() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert!(runtime.block_on(start(Options { base_port: 0, tls: Some(bad), ..Options::default() })).is_err());
}
