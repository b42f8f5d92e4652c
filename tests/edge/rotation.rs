//! Everything that proves who somebody is, changed at once and again and again, while callers ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use parlance_sandbox::{Options, Tls};
use testkit::{PATIENCE, eventually, is_long, record};

use crate::bench::{Bench, ID, follow, patch, secured, shown};
use crate::identity::hash;
use crate::load::Callers;
use crate::pki::Authority;
use crate::reload::{certificate, install};

const CALLERS: usize = 4;

/// C8: the key of a caller, the gateway's certificate, the authorities of clients and of a vendor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_certificates_and_authorities_are_rotated_under_load() {
    let rounds = if is_long() { 100 } else { 10 };
    let (servers, clients, vendors) =
        (Authority::new("servers"), Authority::new("clients"), Authority::new("vendors"));
    let others = Authority::new("others").pem;
    let identity = vendors.server(0);
    let tls = Tls {
        certificates_pem: identity.certificate.clone().into_bytes(),
        key_pem: identity.key.clone().into_bytes(),
    };
    let bench = Bench::with(Options { tls: Some(tls), ..Options::default() }).await;

    let ca_file = bench.path("vendors.pem");
    let text = |round: usize, server: &str| {
        let server = format!("max_body = \"{}KiB\"\n{server}", 100 + round);
        let more = format!("ca_file = \"{}\"", ca_file.display());
        // The vendor's certificate names it, not its address.
        let text = bench.config(&server, &more).replace("https://127.0.0.1", "https://localhost");
        let keys =
            [round.saturating_sub(1), round + usize::from(round == 0)].map(|key| hash(&format!("key-{key}")));
        format!("{text}\n[[callers]]\nname = \"crm\"\nkey_sha256 = [\"{}\", \"{}\"]\n", keys[0], keys[1])
    };
    // Authorities that are trusted all the time, now and then with another before or behind them.
    let with_others = |pem: &str, round: usize| match round % 3 {
        0 => pem.to_owned(),
        1 => format!("{others}{pem}"),
        _ => format!("{pem}{others}"),
    };
    let change = |round: usize| {
        bench.replace("clients.crt", with_others(&clients.pem, round));
        bench.replace("vendors.pem", with_others(&vendors.pem, round + 1));
        let server = install(&bench, &servers.server(round));
        bench.replace("parlance.toml", text(round, &server))
    };
    let gateway = follow(&change(0)).await;
    let address = gateway.api();
    let config = servers.caller(Some(&clients.client("caller", &[], &[], false)), &[b"http/1.1"]);

    // The key to use, and the one that each caller used last: when it asks again, the answer before has come.
    let key = Arc::new(AtomicUsize::new(0));
    let used: Arc<[AtomicUsize; CALLERS]> = Arc::default();
    let (now, last) = (Arc::clone(&key), Arc::clone(&used));
    let callers = Callers::start_with(
        CALLERS,
        Some(&config),
        move || Some(address),
        move |number| {
            let key = now.load(SeqCst);
            last[number].store(key, SeqCst);
            format!("Authorization: Bearer key-{key}\r\n")
        },
    );
    let mut certificates = vec![certificate(address, &config).await.unwrap()];
    for round in 1..=rounds {
        change(round);
        let vitals = gateway.vitals();
        let size = 100 + round as u64;
        eventually("the configuration is at work", async || {
            vitals.live().settings.server.max_body as u64 == size * 1024
        })
        .await;
        // The pair may have been read when only half of it was there; then it follows.
        let mut seen = certificate(address, &config).await.unwrap();
        let until = Instant::now() + PATIENCE;
        while certificates.last() == Some(&seen) {
            assert!(Instant::now() < until, "the new certificate is not at work");
            tokio::time::sleep(Duration::from_millis(20)).await;
            seen = certificate(address, &config).await.unwrap();
        }
        certificates.push(seen);
        key.store(round, SeqCst);
        eventually("nobody uses the old key", async || used.iter().all(|used| used.load(SeqCst) == round))
            .await;
    }
    let seen = callers.end().await;
    let (failed, sent) = seen.failed();
    record(&format!("failed requests during {rounds} rotations of keys and certificates"), failed, sent);
    seen.is_perfect();
    assert!(seen.good() > 100, "{}", seen.good());
    certificates.sort();
    certificates.dedup();
    assert_eq!(certificates.len(), rounds + 1, "a certificate came back");
    assert_eq!(shown(&gateway).await["status"]["last_rejection"], serde_json::Value::Null);

    // What is no longer named counts no longer: an old key, and a vendor of an authority that is gone.
    let ask = async |key: usize| {
        let mut conn = secured(address, &config).await.unwrap();
        let headers = format!("Authorization: Bearer key-{key}\r\n");
        conn.exchange(&patch(ID, &headers, r#"{"context":"c"}"#)).await.unwrap()
    };
    assert_eq!(ask(rounds - 2).await.status, 401);
    assert_eq!(ask(rounds).await.status, 200);
    let generation = gateway.vitals().stats().generation;
    bench.replace("vendors.pem", &others);
    let vitals = gateway.vitals();
    eventually("the other authority is at work", async || vitals.stats().generation > generation).await;
    let refused = ask(rounds).await;
    assert_eq!((refused.status, refused.code().as_str()), (502, "vendor-unreachable"));
    assert!(gateway.drain().await);
}
