//! The identity of callers: TLS, certificates, keys, and headers that say nothing about it.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use sha2::{Digest, Sha256};
use testkit::{Connection, eventually};
use tokio::net::TcpStream;

use crate::bench::{Bench, ID, get, patch, secure, secured};
use crate::pki::Authority;

pub(crate) fn hash(key: &str) -> String {
    Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a server's certificate and gives the `tls` setting for it.
fn tls(bench: &Bench, authority: &Authority, client_ca: Option<&Authority>) -> String {
    let identity = authority.server(1);
    let certificate = bench.replace("tls.crt", &identity.certificate);
    let key = bench.replace("tls.key", &identity.key);
    let client_ca = client_ca.map(|authority| {
        format!(", client_ca = \"{}\"", bench.replace("clients.crt", &authority.pem).display())
    });
    format!(
        "tls = {{ certificate = \"{}\", key = \"{}\"{} }}",
        certificate.display(),
        key.display(),
        client_ca.unwrap_or_default()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_of_tls_and_of_http_are_spoken() {
    let bench = Bench::new().await;
    let authority = Authority::new("servers");
    let gateway = bench.gateway(&tls(&bench, &authority, None), "").await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = authority.caller_with(None, &[b"http/1.1"], &[version]);
        let mut conn = secured(gateway.api(), &config).await.unwrap();
        let answer = conn.exchange(&patch(ID, "", r#"{"context":"over TLS"}"#)).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let stream = secure(gateway.api(), &authority.caller(None, &[b"h2", b"http/1.1"])).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "HTTP/2 is preferred");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request =
        Request::get("https://gateway.test/openapi.json").body(Empty::<bytes::Bytes>::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
    assert!(!answer.into_body().collect().await.unwrap().to_bytes().is_empty());
    drop(sender);
    assert!(gateway.drain().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_tls_plain_http_and_stalled_handshakes_are_refused() {
    let bench = Bench::new().await;
    let authority = Authority::new("servers");
    let server = format!("header_timeout = \"400ms\"\n{}", tls(&bench, &authority, None));
    let gateway = bench.gateway(&server, "").await;
    let refused = || gateway.vitals().stats().api.handshakes_refused;

    let mut plain = Connection::open(gateway.api()).await.unwrap();
    assert!(plain.exchange(&get("/openapi.json")).await.is_err_and(|e| e.kind() != io::ErrorKind::TimedOut));
    eventually("plain HTTP is counted", async || refused() == 1).await;

    // Half of a record's head, then silence.
    let mut stalled = Connection::open(gateway.api()).await.unwrap();
    stalled.write(&[0x16, 0x03]).await.unwrap();
    assert!(stalled.ended().await >= Duration::from_millis(300));
    eventually("a stalled handshake is counted", async || refused() == 2).await;

    // Where the openssl at hand speaks it at all, TLS 1.1 is refused by the gateway.
    let address = gateway.api().to_string();
    let speaks = |version: &'static str| {
        let address = address.clone();
        async move {
            let mut command = tokio::process::Command::new("openssl");
            command.args(["s_client", "-connect", &address, version, "-cipher", "ALL:@SECLEVEL=0"]);
            command.stdin(std::process::Stdio::null()).kill_on_drop(true);
            command.output().await.ok().map(|output| output.status.success())
        }
    };
    if speaks("-tls1_2").await == Some(true) {
        assert_eq!(speaks("-tls1_1").await, Some(false), "TLS 1.1");
    }
    // A stalled one does not hold up others.
    let config = authority.caller(None, &[]);
    let _stalled = TcpStream::connect(gateway.api()).await.unwrap();
    let mut conn = secured(gateway.api(), &config).await.unwrap();
    assert_eq!(conn.exchange(&get("/openapi.json")).await.unwrap().status, 200);
}

/// The status for a caller with this certificate and these headers; none where the handshake fails.
async fn asked(
    address: std::net::SocketAddr,
    config: &Arc<ClientConfig>,
    headers: &str,
) -> Option<(u16, String)> {
    // With TLS 1.3 the client believes in the handshake before the server has seen its certificate.
    let mut conn = secured(address, config).await.ok()?;
    let answer = conn.exchange(&patch(ID, headers, r#"{"context":"mine"}"#)).await.ok()?;
    let code = if answer.status == 200 { String::new() } else { answer.code() };
    Some((answer.status, code))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_certificates_say_who_calls() {
    let bench = Bench::new().await;
    let (servers, clients, others) =
        (Authority::new("servers"), Authority::new("clients"), Authority::new("others"));
    let callers = format!(
        "[[callers]]\nname = \"crm\"\nkey_sha256 = \"{}\"\ncertificate_names = [\"spiffe://test/crm\", \"crm.test\", \"crm common\"]\n\
         [[callers]]\nname = \"erp\"\nkey_sha256 = \"{}\"\ncertificate_names = [\"erp.test\"]\nupstreams = [\"sms\"]\n",
        hash("key-of-crm"),
        hash("key-of-erp")
    );
    let gateway = bench.gateway(&tls(&bench, &servers, Some(&clients)), &callers).await;
    let by_key = "Authorization: Bearer key-of-crm\r\n";
    let good = || Some((200, String::new()));
    let unknown = || Some((401, "caller-unauthenticated".to_owned()));
    let forbidden = || Some((403, "caller-forbidden".to_owned()));
    let nobody = clients.client("nobody", &["nobody.test"], &["spiffe://test/nobody"], false);
    let crm = clients.client("x", &["crm.test"], &[], false);
    let table = [
        ("no certificate", None, "", None),
        ("no certificate, but a key", None, by_key, None),
        ("another authority", Some(others.client("x", &["crm.test"], &[], false)), "", None),
        ("expired", Some(clients.client("x", &["crm.test"], &[], true)), "", None),
        ("a server's certificate of the other authority", Some(servers.server(2)), "", None),
        ("no known name", Some(nobody.clone()), "", unknown()),
        ("no known name, but a key", Some(nobody.clone()), by_key, good()),
        (
            "a header instead of a name",
            Some(nobody),
            "X-User: crm\r\nX-Forwarded-Client-Cert: crm.test\r\n",
            unknown(),
        ),
        ("a DNS name", Some(crm.clone()), "", good()),
        ("a DNS name in capitals", Some(clients.client("x", &["CRM.TEST"], &[], false)), "", good()),
        ("a URI", Some(clients.client("x", &[], &["spiffe://test/crm"], false)), "", good()),
        ("a URI in capitals", Some(clients.client("x", &[], &["spiffe://test/CRM"], false)), "", unknown()),
        ("a common name", Some(clients.client("crm common", &[], &[], false)), "", good()),
        (
            "two callers' names",
            Some(clients.client("x", &["crm.test", "erp.test"], &[], false)),
            "",
            unknown(),
        ),
        ("another's upstream", Some(clients.client("x", &["erp.test"], &[], false)), "", forbidden()),
        ("its own key too", Some(crm.clone()), by_key, good()),
        ("a wrong key too", Some(crm.clone()), "Authorization: Bearer wrong\r\n", unknown()),
        ("another's key too", Some(crm), "Authorization: Bearer key-of-erp\r\n", unknown()),
    ];
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (what, identity, headers, expected) in &table {
            let config = servers.caller_with(identity.as_ref(), &[b"http/1.1"], &[version]);
            assert_eq!(asked(gateway.api(), &config, headers).await, *expected, "{what}, {version:?}");
        }
    }
    assert_eq!(gateway.vitals().stats().api.handshakes_refused, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_callers_every_verified_certificate_is_let_in() {
    let bench = Bench::new().await;
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let gateway = bench.gateway(&tls(&bench, &servers, Some(&clients)), "").await;
    let anyone = clients.client("anyone", &[], &[], false);
    let config = servers.caller(Some(&anyone), &[]);
    assert_eq!(asked(gateway.api(), &config, "").await, Some((200, String::new())));
    assert_eq!(asked(gateway.api(), &servers.caller(None, &[]), "").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_may_send_so_much_and_no_more() {
    let bench = Bench::new().await;
    let callers = format!(
        "[[callers]]\nname = \"crm\"\nkey_sha256 = [\"{}\", \"{}\"]\nrate_limit = \"3/1h\"\n\
         [[callers]]\nname = \"erp\"\nkey_sha256 = \"{}\"\n",
        hash("old"),
        hash("new"),
        hash("erp")
    );
    let gateway = bench.gateway("", &callers).await;
    let mut conn = Connection::open(gateway.api()).await.unwrap();
    let mut ask = async |key: &str| {
        let request = patch(ID, &format!("Authorization: Bearer {key}\r\n"), r#"{"context":"c"}"#);
        conn.exchange(&request).await.unwrap()
    };
    // Both keys of one caller, while one takes the place of the other, count together.
    for key in ["old", "new", "old"] {
        assert_eq!(ask(key).await.status, 200);
    }
    let refused = ask("new").await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "caller-rate-limited"));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=1200).contains(&wait), "{wait}");
    assert_eq!(refused.json()["update_applied"], "no");
    assert_eq!(ask("erp").await.status, 200, "others are not meant");
    assert_eq!(ask("none").await.status, 401);
    assert_eq!(bench.sent("kakiyo").await.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_header_of_the_caller_goes_on_to_a_vendor() {
    let bench = Bench::new().await;
    let callers = format!("[[callers]]\nname = \"crm\"\nkey_sha256 = \"{}\"\n", hash("key"));
    let gateway = bench.gateway("", &callers).await;
    let mut conn = Connection::open(gateway.api()).await.unwrap();
    let headers = "Authorization: Bearer key\r\n\
        X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\nForwarded: for=10.0.0.1\r\n\
        X-Real-IP: 10.0.0.1\r\nVia: 1.1 evil\r\nX-User: admin\r\nX-Tenant: t\r\nX-Internal-Role: root\r\nX-Vendor: evil\r\n\
        X-API-Key: stolen\r\nX-Sub-Account-Id: sub_other\r\nX-Original-URL: /admin\r\nX-HTTP-Method-Override: DELETE\r\n\
        Cookie: session=1\r\nUser-Agent: evil/1\r\nAccept-Encoding: gzip\r\nAccept-Language: de\r\nPrefer: handling=lenient\r\n\
        traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b\r\nbaggage: user=1\r\n\
        Connection: authorization, x-api-key, content-type, keep-alive\r\nProxy-Authorization: Basic eA==\r\nTE: trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    for (id, vendor, body) in
        [(ID, "kakiyo", r#"{"context":"c"}"#), ("sms:conv_def456", "agentphone", r#"{"title":"t"}"#)]
    {
        let headers = format!("Idempotency-Key: key-for-{vendor}\r\n{headers}");
        let answer = conn.exchange(&patch(id, &headers, body)).await.unwrap();
        assert!(answer.status == 200 || answer.status == 404, "{answer:?}");
        assert_eq!(answer.header("x-request-id").map(str::len), Some(36));
        let sent = &bench.sent(vendor).await[0].headers;
        let names: Vec<String> = sent.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        let allowed = BTreeSet::from(
            [
                "host",
                "authorization",
                "content-type",
                "content-length",
                "accept",
                "accept-encoding",
                "user-agent",
                "traceparent",
            ]
            .map(str::to_owned),
        );
        assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len(), "{names:?}");
        let foreign: Vec<&String> = names.iter().filter(|name| !allowed.contains(*name)).collect();
        assert!(foreign.is_empty(), "{foreign:?}");
        for needed in ["host", "authorization", "content-type", "content-length", "traceparent"] {
            assert!(names.iter().any(|name| name == needed), "{needed} is missing: {names:?}");
        }
        for (name, value) in sent {
            match name.to_ascii_lowercase().as_str() {
                "authorization" => assert_eq!(*value, format!("Bearer {}", bench.key(vendor))),
                "accept-encoding" => assert_eq!(value, "identity"),
                "user-agent" => assert!(!value.contains("evil"), "{value}"),
                "traceparent" => {
                    assert!(value.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{value}");
                    assert!(!value.contains("b7ad6b7169203331"), "{value}");
                }
                _ => assert!(!value.contains("evil"), "{name}: {value}"),
            }
        }
    }
}
