//! The process stands still for longer than its requests may take, as a machine does that is moved or has no time for
//! it. Nothing that is late is begun afterwards, and the vendors are not blamed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use testkit::{Connection, eventually, record};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::bench::{Bench, ID, get, patch, program};
use crate::pki::{Authority, Identity};

/// The time that a request may take, and the time in which something is about to happen when the process is stopped.
const TIMEOUT: Duration = Duration::from_secs(3);
const SOON: Duration = Duration::from_secs(2);
/// Requests that wait for their vendor then: more failures than open a circuit.
const WAITING: usize = 12;
/// Requests that wait for the time that their vendor named, as many as the retry budget has for them.
const LIMITED: usize = 10;

/// A vendor that takes its time for the TLS handshake, and counts the connections on which something was asked.
struct Slow {
    url: String,
    connections: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl Slow {
    async fn new(identity: &Identity) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let (connections, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let slow = Slow { url, connections: Arc::clone(&connections), asked: Arc::clone(&asked) };
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                connections.fetch_add(1, SeqCst);
                let (acceptor, asked) = (acceptor.clone(), Arc::clone(&asked));
                tokio::spawn(async move {
                    tokio::time::sleep(SOON).await;
                    let Ok(mut tls) = acceptor.accept(tcp).await else { return };
                    if tls.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {
                        asked.fetch_add(1, SeqCst);
                    }
                });
            }
        });
        slow
    }
}

/// The process is stopped for this much longer than its requests may take. Gives the calls that were begun late; none
/// where it was not stopped in time: on a busy machine it may be too late for what was to be about to happen.
async fn paused(longer: Duration) -> Option<Vec<String>> {
    let bench = Bench::new().await;
    let authority = Authority::new("vendors");
    let slow = Slow::new(&authority.server(1)).await;
    let seconds = TIMEOUT.as_secs();
    let more = format!(
        "timeout = \"{seconds}s\"\nconnect_timeout = \"{seconds}s\"\n[upstreams.slow]\nvendor = \"kakiyo\"\n\
         base_url = \"{}\"\nca_file = \"{}\"\ncredential = {{ value = \"k\" }}\n\
         [upstreams.limited]\nvendor = \"kakiyo\"\nbase_url = \"{}\"\ncredential = {{ value = \"{}\" }}\n\
         circuit = {{ failures = 0, success_rate = 0.0 }}\n",
        slow.url,
        bench.replace("vendors.pem", &authority.pem).display(),
        bench.sandbox.url("kakiyo").unwrap(),
        bench.key("kakiyo"),
    );
    let program = program(&bench.replace("program.toml", bench.config("", &more)), &[]);
    let begin = async |bytes: &[u8]| {
        let mut conn = Connection::open(program.api).await.unwrap();
        conn.write(bytes).await.unwrap();
        conn
    };
    let body = r#"{"context":"c"}"#;
    let soon = SOON.as_millis();
    for rule in [
        // Answered while the process stands still.
        format!(
            r#"{{"vendor":"kakiyo","path_contains":"waits","mode":"delay","delay_ms":{soon},"count":100}}"#
        ),
        // To be asked again while it does.
        format!(
            r#"{{"vendor":"kakiyo","path_contains":"limits","mode":"status","status":429,"headers":[["Retry-After","{}"]],"count":100}}"#,
            SOON.as_secs()
        ),
        // Read while it does, to be written then.
        format!(r#"{{"vendor":"agentphone","method":"GET","mode":"delay","delay_ms":{soon},"count":100}}"#),
    ] {
        bench.fault(&rule).await;
    }

    let begun = Instant::now();
    let mut waits = Vec::new();
    // A conversation for each: updates of one take turns.
    for number in 0..WAITING {
        waits.push(begin(&patch(&format!("sales:waits-{number}"), "", body)).await);
    }
    let mut late = Vec::new();
    for number in 0..2 {
        late.push(("a handshake", begin(&patch(&format!("slow:c-{number}"), "", body)).await));
    }
    for number in 0..LIMITED {
        let id = format!("limited:limits-{number}");
        late.push(("a pause between attempts", begin(&patch(&id, "", body)).await));
    }
    let merge = String::from_utf8(patch("sms:conv_def456", "", r#"{"context":{"a":"b"}}"#)).unwrap();
    let merge = merge.replace("application/json", "application/merge-patch+json");
    late.push(("a read before the update", begin(merge.as_bytes()).await));
    bench.reached("kakiyo", WAITING + LIMITED).await;
    bench.reached("agentphone", 1).await;
    eventually("both handshakes are under way", async || slow.connections.load(SeqCst) == 2).await;
    program.signal("STOP");
    let in_time = begun.elapsed() < SOON.mul_f64(0.8);
    tokio::time::sleep(TIMEOUT + longer).await;
    program.signal("CONT");
    if !in_time {
        return None;
    }

    let mut begun_late = Vec::new();
    for (what, mut conn) in late {
        let answer = conn.reply().await.unwrap();
        let expected = (504, "vendor-timeout".to_owned(), "no".to_owned());
        assert_eq!(answer.outcome(), expected, "{what}: {answer:?}");
    }
    for mut conn in waits {
        // The answer was there before the process went on, and after the deadline: both is true.
        let answer = conn.reply().await.unwrap();
        let expected = (504, "vendor-timeout".to_owned(), "unknown".to_owned());
        assert!(answer.status == 404 || answer.outcome() == expected, "{answer:?}");
    }
    // Late calls would come now.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for (vendor, on_time) in [("kakiyo", WAITING + LIMITED), ("agentphone", 1)] {
        let entries = bench.sent(vendor).await;
        begun_late.extend(entries.into_iter().skip(on_time).map(|entry| entry.target));
    }
    begun_late.extend((0..slow.asked.load(SeqCst)).map(|_| "after a handshake".to_owned()));

    let mut admin = Connection::open(program.admin).await.unwrap();
    let metrics = String::from_utf8(admin.exchange(&get("/metrics")).await.unwrap().body).unwrap();
    for upstream in ["sales", "sms", "slow"] {
        let never = format!("parlance_circuit_opened_total{{upstream=\"{upstream}\"}} 0\n");
        assert!(metrics.contains(&never), "{upstream} was blamed after {longer:?} more");
    }
    let mut conn = Connection::open(program.api).await.unwrap();
    assert_eq!(conn.exchange(&patch(ID, "", body)).await.unwrap().status, 200);
    program.signal("TERM");
    assert_eq!(program.ended().await.status.code(), Some(0));
    Some(begun_late)
}

async fn paused_in_time(milliseconds: u64) -> Vec<String> {
    for _ in 0..3 {
        if let Some(begun_late) = paused(Duration::from_millis(milliseconds)).await {
            return begun_late;
        }
    }
    panic!("this machine is too busy");
}

/// C19.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_pause_nothing_late_is_begun_and_no_vendor_is_blamed() {
    // A little longer, and much.
    let (one, two, three) = tokio::join!(paused_in_time(100), paused_in_time(450), paused_in_time(1500));
    let begun_late = [one, two, three].concat();
    record(
        "vendor calls begun after a pause that outlasted them",
        begun_late.len(),
        3 * (WAITING + LIMITED + 3),
    );
    assert!(begun_late.is_empty(), "{begun_late:?}");
}
