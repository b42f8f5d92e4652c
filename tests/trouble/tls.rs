//! TLS on the way to a vendor: whoever cannot prove to be the vendor gets nothing, and the caller is told why.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, GeneralSubtree, IsCa, KeyPair, NameConstraints,
    date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use testkit::Reply;
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsAcceptor;

use super::peer::{CONFIRMED, Peer, read_request, reset, say};
use super::rig::{Rig, told};

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

fn ca(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    params
}

pub(crate) fn authority(change: impl FnOnce(&mut CertificateParams)) -> Authority {
    CertifiedIssuer::self_signed(ca(change), KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for these names and its key.
pub(crate) fn leaf(
    issuer: &Authority,
    names: &[&str],
    change: impl FnOnce(&mut CertificateParams),
) -> (CertificateDer<'static>, KeyPair) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap().der().clone(), key)
}

pub(crate) fn acceptor(chain: Vec<CertificateDer<'static>>, key: &KeyPair, alpn: &[&[u8]]) -> TlsAcceptor {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// A file with the authority that an upstream trusts, and the configuration's line that says so.
pub(crate) fn trusting(authority: &Authority) -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let line = format!("ca_file = \"{}\"", file.display());
    (dir, line)
}

/// A vendor that speaks TLS, and how many requests it could read.
async fn vendor(acceptor: TlsAcceptor) -> (Peer, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&requests);
    let peer = Peer::new(move |tcp, _| {
        let (acceptor, counting) = (acceptor.clone(), Arc::clone(&counting));
        async move {
            let Ok(mut tls) = acceptor.accept(tcp).await else { return };
            while read_request(&mut tls).await.is_some() {
                counting.fetch_add(1, SeqCst);
                say(&mut tls, CONFIRMED).await;
            }
        }
    })
    .await;
    (peer, requests)
}

async fn update(url: &str, trust: &str) -> Reply {
    // Time enough for handshakes on a busy machine.
    let more = format!("timeout = \"5s\"\nconnect_timeout = \"2s\"\n{trust}");
    let rig = Rig::over("agentphone", url, &more).await;
    let answer = rig.update("it").await;
    rig.stop().await;
    answer
}

/// A4, A5, A6.
#[tokio::test]
async fn a_certificate_that_proves_nothing_gets_nothing() {
    let trusted = authority(|_| {});
    let (_dir, trust) = trusting(&trusted);
    let stranger = authority(|_| {});
    let between = CertifiedIssuer::signed_by(ca(|_| {}), KeyPair::generate().unwrap(), &trusted).unwrap();
    let narrow = ca(|params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("vendor.test".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    });
    let narrow = CertifiedIssuer::signed_by(narrow, KeyPair::generate().unwrap(), &trusted).unwrap();
    let alone = KeyPair::generate().unwrap();
    let self_signed =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&alone).unwrap();

    let here = &["localhost"];
    let past = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let future = |params: &mut CertificateParams| params.not_before = date_time_ymd(2090, 1, 1);
    let with = |(leaf, key): (CertificateDer<'static>, KeyPair), more: &[&CertificateDer<'static>]| {
        let chain: Vec<_> = [&leaf].into_iter().chain(more.iter().copied()).cloned().collect();
        (chain, key)
    };
    let table = [
        ("good", true, with(leaf(&trusted, here, |_| {}), &[])),
        ("good by an intermediate", true, with(leaf(&between, here, |_| {}), &[between.der()])),
        ("A4 expired", false, with(leaf(&trusted, here, past), &[])),
        ("A4 not yet valid", false, with(leaf(&trusted, here, future), &[])),
        ("A5 another name", false, with(leaf(&trusted, &["vendor.test"], |_| {}), &[])),
        ("A5 wildcard", false, with(leaf(&trusted, &["*.localhost", "local*"], |_| {}), &[])),
        ("A5 only an address", false, with(leaf(&trusted, &["127.0.0.1"], |_| {}), &[])),
        ("A5 name constraint", false, with(leaf(&narrow, here, |_| {}), &[narrow.der()])),
        ("A6 unknown authority", false, with(leaf(&stranger, here, |_| {}), &[])),
        ("A6 its authority sent along", false, with(leaf(&stranger, here, |_| {}), &[stranger.der()])),
        ("A6 self-signed", false, (vec![self_signed.der().clone()], alone)),
        ("A6 no intermediate", false, with(leaf(&between, here, |_| {}), &[])),
    ];
    for (what, good, (chain, key)) in table {
        let (peer, requests) = vendor(acceptor(chain, &key, &[])).await;
        let answer = update(&format!("https://localhost:{}", peer.address.port()), &trust).await;
        if good {
            assert_eq!((answer.status, requests.load(SeqCst)), (200, 1), "{what}: {answer:?}");
            continue;
        }
        assert_eq!(answer.outcome(), told(502, "vendor-unreachable", "no"), "{what}");
        assert_eq!(answer.proxy_error(), "tls_certificate_error", "{what}");
        assert_eq!(requests.load(SeqCst), 0, "{what}: the key was sent");
        assert!(peer.connections() >= 1, "{what}");
    }
}

/// Without a `ca_file` the system's authorities count, and the test's is none of them.
#[tokio::test]
async fn trust_is_given_not_found() {
    let authority = authority(|_| {});
    let (chain, key) = leaf(&authority, &["localhost"], |_| {});
    let (peer, requests) = vendor(acceptor(vec![chain], &key, &[])).await;
    let answer = update(&format!("https://localhost:{}", peer.address.port()), "").await;
    assert_eq!(answer.outcome(), told(502, "vendor-unreachable", "no"));
    assert_eq!((answer.proxy_error(), requests.load(SeqCst)), ("tls_certificate_error", 0));
}

/// A3, A7, A8: what is no handshake, and one that breaks off.
#[tokio::test]
async fn a_handshake_that_comes_to_nothing() {
    const ALERT: &[u8] = b"\x15\x03\x03\x00\x02\x02\x28";
    let table: [(&str, &[u8], bool, &str); 5] = [
        ("an alert", ALERT, false, "tls_alert_received"),
        ("plain HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n", false, "tls_protocol_error"),
        ("garbage", b"\xff\xff\xff\xff\xff\xff\xff\xff", false, "tls_protocol_error"),
        ("an end", b"", false, "connection_terminated"),
        ("a reset", b"", true, "connection_terminated"),
    ];
    let authority = authority(|_| {});
    let (_dir, trust) = trusting(&authority);
    for (what, bytes, resets, error) in table {
        let peer = Peer::new(move |mut tcp, _| async move {
            let _ = tcp.read(&mut [0; 4096]).await;
            say(&mut tcp, bytes).await;
            if resets {
                reset(&tcp);
            }
        })
        .await;
        let answer = update(&format!("https://localhost:{}", peer.address.port()), &trust).await;
        assert_eq!(answer.outcome(), told(502, "vendor-unreachable", "no"), "{what}");
        assert_eq!(answer.proxy_error(), error, "{what}");
        assert_eq!(peer.connections(), 3, "{what}");
    }

    let silent = Peer::new(|mut tcp, _| async move {
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let url = format!("https://localhost:{}", silent.address.port());
    let rig =
        Rig::over("agentphone", &url, &format!("connect_timeout = \"200ms\"\nmax_attempts = 2\n{trust}"))
            .await;
    let answer = rig.update("it").await;
    assert_eq!(answer.outcome(), told(504, "vendor-timeout", "no"));
    assert_eq!((answer.proxy_error(), silent.connections()), ("connection_timeout", 2));
    rig.stop().await;
}

/// A8: under TLS there is no doubt; the next connection gets the request.
#[tokio::test]
async fn a_reset_before_the_handshake_is_followed_by_another_attempt() {
    let authority = authority(|_| {});
    let (_dir, trust) = trusting(&authority);
    let (chain, key) = leaf(&authority, &["localhost"], |_| {});
    let acceptor = acceptor(vec![chain], &key, &[b"http/1.1"]);
    let peer = Peer::new(move |tcp, number| {
        let acceptor = acceptor.clone();
        async move {
            if number < 2 {
                return reset(&tcp);
            }
            let mut tls = acceptor.accept(tcp).await.unwrap();
            while read_request(&mut tls).await.is_some() {
                say(&mut tls, CONFIRMED).await;
            }
        }
    })
    .await;
    let answer = update(&format!("https://localhost:{}", peer.address.port()), &trust).await;
    assert_eq!((answer.status, peer.connections()), (200, 3));
}

/// `openssl s_server` with what no vendor may speak any more; ends with the value.
struct OldServer(Child, u16);

impl OldServer {
    fn new(dir: &Path, options: &[&str]) -> Option<Self> {
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-cert", "cert.pem", "-key", "key.pem"])
            .args(options)
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let lines = BufReader::new(child.stdout.take()?).lines();
        let port = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("ACCEPT ")?.rsplit(':').next()?.parse().ok());
        Some(OldServer(child, port?))
    }
}

impl Drop for OldServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A7: nothing older than TLS 1.2 with forward secrecy. Needs the `openssl` command, else there is nothing to try.
#[tokio::test]
async fn no_downgrade() {
    let authority = authority(|_| {});
    let (dir, trust) = trusting(&authority);
    // The key exchange of old asks for a certificate with an RSA key, which the command makes itself.
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=localhost",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ])
        .current_dir(dir.path())
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return;
    }
    let table: [(&str, &[&str], &[&str]); 4] = [
        (
            "TLS 1.1",
            &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
            &["tls_alert_received", "tls_protocol_error"],
        ),
        (
            "RSA key exchange",
            &["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
            &["tls_alert_received", "tls_protocol_error"],
        ),
        (
            "CBC",
            &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA"],
            &["tls_alert_received", "tls_protocol_error"],
        ),
        // The control: with what is allowed it is the certificate that fails.
        ("TLS 1.2", &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], &["tls_certificate_error"]),
    ];
    for (what, options, errors) in table {
        let server = OldServer::new(dir.path(), options).unwrap_or_else(|| panic!("no server for {what}"));
        let rig = Rig::over(
            "agentphone",
            &format!("https://localhost:{}", server.1),
            &format!("timeout = \"5s\"\nconnect_timeout = \"2s\"\nmax_attempts = 1\n{trust}"),
        )
        .await;
        let answer = rig.update("it").await;
        assert_eq!(answer.outcome(), told(502, "vendor-unreachable", "no"), "{what}");
        assert!(errors.contains(&answer.proxy_error()), "{what}: {}", answer.proxy_error());
        rig.stop().await;
    }
}
