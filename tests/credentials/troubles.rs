//! Tokens that cannot be had: what the caller is told, and that the vendor hears nothing of it.

use std::time::{Duration, Instant};

use parlance::upstream::credentials::Credentials;
use parlance::upstream::transport::TransportErrorKind;
use serde_json::{Value, json};

use crate::rig::{OAUTH, Rig, logged};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failure_of_the_token_endpoint_is_told_for_what_it_is() {
    let rig = Rig::new().await;
    let answers = |body: Value| json!({"mode": "status", "status": 200, "body": body});
    let says = |status: u16| json!({"mode": "status", "status": status});
    let later = |status: u16| json!({"mode": "status", "status": status, "headers": [["Retry-After", "17"]]});
    let moved = json!({"mode": "status", "status": 307, "headers": [["Location", "/v1/chats/moved"]]});
    // What the endpoint does, what the caller is told, `Retry-After`, how often the endpoint is asked at most.
    let table = [
        (says(400), "vendor-unauthenticated", None, 1),
        (says(401), "vendor-unauthenticated", None, 1),
        (says(403), "vendor-unauthenticated", None, 1),
        (later(401), "vendor-unauthenticated", None, 1),
        (says(429), "vendor-rate-limited", None, 1),
        (later(429), "vendor-rate-limited", Some(17), 1),
        (says(503), "vendor-unavailable", None, 3),
        (later(503), "vendor-unavailable", Some(17), 1),
        (says(500), "vendor-error", None, 3),
        (says(504), "vendor-error", None, 3),
        (later(500), "vendor-error", None, 3),
        (says(404), "vendor-unexpected-status", None, 1),
        (moved, "vendor-unexpected-status", None, 1),
        (json!({"mode": "reset_after_request"}), "vendor-unreachable", None, 3),
        (json!({"mode": "close_after_request"}), "vendor-unreachable", None, 3),
        (json!({"mode": "hang"}), "vendor-timeout", None, 1),
        (json!({"mode": "stall", "bytes": 20}), "vendor-timeout", None, 1),
        (json!({"mode": "garbage"}), "vendor-invalid-response", None, 1),
        (json!({"mode": "truncate", "bytes": 20}), "vendor-invalid-response", None, 1),
        (json!({"mode": "oversize", "bytes": 70_000}), "vendor-response-too-large", None, 1),
        (json!({"mode": "empty"}), "vendor-invalid-response", None, 1),
        (answers(json!("<html>")), "vendor-invalid-response", None, 1),
        (answers(json!({})), "vendor-invalid-response", None, 1),
        (answers(json!({"access_token": 5})), "vendor-invalid-response", None, 1),
        (answers(json!({"access_token": ""})), "vendor-invalid-response", None, 1),
        (answers(json!({"access_token": "split\r\nX-Token: t"})), "vendor-invalid-response", None, 1),
        (answers(json!({"access_token": "a b"})), "vendor-invalid-response", None, 1),
        (answers(json!({"access_token": "t", "token_type": "mac"})), "vendor-invalid-response", None, 1),
    ];
    for (rule, code, wait, asked) in table {
        rig.token_fault(rule.clone()).await;
        let gateway = rig.gateway(OAUTH, &rig.oauth2(""), "timeout = \"1500ms\"").await;
        for _ in 0..2 {
            // A second one within the moment for which the failure is remembered, or as good as it.
            let answer = gateway.refused(code).await;
            let told = answer.retry_after();
            assert!(told.is_some() == wait.is_some() && told <= wait, "{rule}: {told:?}");
            let text = answer.text();
            assert!(!text.contains(&rig.client_secret()) && !text.contains("127.0.0.1"), "{text}");
        }
        let count = rig.token_requests().await;
        // The two seconds that a hanging endpoint takes are longer than its failure is remembered.
        assert!(count <= 2 * asked, "{rule}: asked {count} times");
        assert_eq!(rig.received(OAUTH, "PATCH").await.len(), 0, "{rule}");
        assert_eq!(rig.received(OAUTH, "GET").await.len(), 0, "{rule}");
        let stats = gateway.upstream.credentials.stats();
        assert!(
            stats.failed >= 1 && stats.last_error.is_some() && stats.generation == 0,
            "{rule}: {stats:?}"
        );
        rig.faults_over().await;
        rig.forget().await;
        gateway.end().await;
    }
    assert!(!logged().contains(&rig.client_secret()));
}

#[tokio::test]
async fn what_is_odd_but_of_use_is_used() {
    let rig = Rig::new().await;
    rig.accept(OAUTH, &["an-odd-token"]).await;
    for body in [
        json!({"access_token": "an-odd-token"}),
        json!({"access_token": "an-odd-token", "token_type": "BEARER", "expires_in": "60", "request_id": "r"}),
        json!({"access_token": "an-odd-token", "token_type": "Bearer", "expires_in": null, "scope": null}),
    ] {
        rig.token_fault(json!({"mode": "status", "status": 200, "body": body})).await;
        let gateway = rig.gateway(OAUTH, &rig.oauth2(""), "").await;
        assert_eq!(gateway.update().await.status, 200, "{body}");
        assert_eq!(gateway.upstream.credentials.stats().generation, 1);
        rig.faults_over().await;
        gateway.end().await;
    }
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_or_not_allowed_is_unreachable() {
    let rig = Rig::new().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let at = |url: &str| rig.oauth2("").replace(&rig.sandbox.token_url(), url);
    let gateway = rig.gateway(OAUTH, &at(&format!("http://{closed}/token")), "").await;
    gateway.refused("vendor-unreachable").await;
    gateway.end().await;
    // A name that leads inside is not asked unless that is meant. Only names of this machine lead there for sure.
    let Some(name) = name_of_this_machine() else { return };
    let port = rig.sandbox.token_url().rsplit_once(':').unwrap().1.to_owned();
    for (allowed, prohibited) in [("", true), ("allow_private = true", false)] {
        let inside = at(&format!("http://{name}:{port}"));
        let gateway = rig.gateway(OAUTH, &inside, &format!("allow_plain_http = true\n{allowed}")).await;
        let answer = gateway.update().await;
        let status = answer.header("proxy-status").unwrap_or_default();
        assert_eq!(status.contains("destination_ip_prohibited"), prohibited, "{answer:?}");
        gateway.end().await;
    }
}

/// A name other than localhost, which is always meant, that resolves to loopback.
fn name_of_this_machine() -> Option<String> {
    use std::net::ToSocketAddrs;
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let names = lines.flat_map(|line| line.split_whitespace().skip(1)).filter(|name| *name != "localhost");
    let leads_inside = |name: &&str| {
        (*name, 0).to_socket_addrs().is_ok_and(|mut found| found.all(|address| address.ip().is_loopback()))
    };
    names.filter(leads_inside).map(str::to_owned).next()
}

#[tokio::test]
async fn a_refusing_endpoint_is_not_stormed() {
    let rig = Rig::new().await;
    let gateway = rig.gateway(OAUTH, &rig.oauth2_as("m2m-client-sandbox", "wrong", ""), "").await;
    let began = Instant::now();
    for _ in 0..100 {
        gateway.refused("vendor-unauthenticated").await;
    }
    let asked = rig.token_requests().await as u64;
    assert!(asked <= began.elapsed().as_secs() + 1, "{asked} in {:?}", began.elapsed());
    gateway.end().await;
}

#[tokio::test]
async fn a_token_that_the_vendor_never_takes_is_not_replaced_again_and_again() {
    let rig = Rig::new().await;
    let gateway = rig.gateway(OAUTH, &rig.oauth2(""), "").await;
    let refuse = json!({"mode": "status", "status": 401, "method": "PATCH", "count": 1_000_000});
    rig.fault(refuse).await;
    let began = Instant::now();
    for _ in 0..50 {
        gateway.refused("vendor-unauthenticated").await;
    }
    let replaced = began.elapsed().as_secs() + 1;
    let asked = rig.token_requests().await as u64;
    assert!(asked <= 1 + replaced, "{asked} in {:?}", began.elapsed());
    let sent = rig.received(OAUTH, "PATCH").await.len() as u64;
    assert!(sent <= 50 + replaced, "{sent}");
    gateway.end().await;
}

#[tokio::test]
async fn who_waits_keeps_to_its_own_deadline_and_the_fetch_outlives_it() {
    let rig = Rig::new().await;
    rig.token_fault(json!({"mode": "delay", "delay_ms": 1_000})).await;
    let settings = rig.settings(OAUTH, &rig.oauth2(""), "");
    let credentials = Credentials::new(&settings.upstreams["it"]).unwrap();
    let began = Instant::now();
    // One hangs up, one runs out of time, one waits.
    let patient = (began + Duration::from_secs(60)).into();
    let hangs_up = credentials.current(&patient);
    assert!(tokio::time::timeout(Duration::from_millis(50), hangs_up).await.is_err());
    let trouble =
        credentials.current(&(Instant::now() + Duration::from_millis(100)).into()).await.unwrap_err();
    assert_eq!(trouble.kind, TransportErrorKind::Timeout);
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    credentials.current(&patient).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(rig.token_requests().await, 1);
    assert_eq!((credentials.stats().generation, credentials.stats().failed), (1, 0));
}
