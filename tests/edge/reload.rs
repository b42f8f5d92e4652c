//! Configurations and certificates that change under load: whole, or not at all.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parlance::runtime::Gateway;
use rustls::ClientConfig;
use serde_json::{Value, json};
use testkit::{Connection, eventually, is_long, record};

use crate::bench::{Bench, ID, follow, get, patch, program, secure, secured, shown};
use crate::load::Callers;
use crate::pki::{Authority, Identity};

/// Waits until a configuration of this generation, or a later one, is at work.
async fn generation(gateway: &Gateway, at_least: u64) {
    let vitals = gateway.vitals();
    eventually("the new configuration is at work", async || vitals.stats().generation >= at_least).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_fail_no_request() {
    // At each of two gateways.
    let rounds = if is_long() { 100 } else { 10 };
    let bench = Bench::new().await;
    let text = |number: u64| bench.config(&format!("max_body = \"{number}KiB\""), "");

    // As Kubernetes mounts a ConfigMap: the file is a link into a directory that is swapped by a link.
    let mount = bench.path("mount");
    std::fs::create_dir(&mount).unwrap();
    let swap = |number: u64| {
        let version = mount.join(format!("..v{number}"));
        std::fs::create_dir(&version).unwrap();
        std::fs::write(version.join("parlance.toml"), text(number)).unwrap();
        std::os::unix::fs::symlink(format!("..v{number}"), mount.join("..data_tmp")).unwrap();
        std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
        if number > 100 {
            // The old version is gone as soon as nothing leads to it.
            let _ = std::fs::remove_dir_all(mount.join(format!("..v{}", number - 1)));
        }
    };
    swap(100);
    std::os::unix::fs::symlink("..data/parlance.toml", mount.join("parlance.toml")).unwrap();
    let mounted = follow(&mount.join("parlance.toml")).await;
    let renamed = follow(&bench.replace("parlance.toml", text(100))).await;

    let (one, other) = (mounted.api(), renamed.api());
    let first = Callers::start(4, None, move || Some(one));
    let second = Callers::start(4, None, move || Some(other));
    for number in 1..=rounds {
        swap(100 + number);
        bench.replace("parlance.toml", text(100 + number));
        for gateway in [&mounted, &renamed] {
            generation(gateway, number + 1).await;
            assert_eq!(shown(gateway).await["server"]["max_body"], format!("{}KiB", 100 + number));
        }
    }
    let all = [first.end().await, second.end().await];
    let counts = all.each_ref().map(|seen| seen.failed());
    let (failed, sent) = (counts[0].0 + counts[1].0, counts[0].1 + counts[1].1);
    record(&format!("failed requests during {} reloads", 2 * rounds), failed, sent);
    for seen in all {
        assert!(seen.good() > 100);
        seen.is_perfect();
    }
    for gateway in [mounted, renamed] {
        let stats = gateway.vitals().stats();
        assert_eq!((stats.reloads, stats.reloads_rejected, stats.generation), (rounds, 0, rounds + 1));
        assert!(gateway.drain().await);
    }
    // The vendors did not change, so their connections were kept: about as many as requests at a time, not as many for
    // each of the configurations.
    let connections = bench.sandbox.connections("kakiyo").await;
    assert!(connections.len() <= 16, "{} connections", connections.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_reloads_the_program() {
    let bench = Bench::new().await;
    let config = bench.replace("program.toml", bench.config("", ""));
    let program = program(&config, &[]);
    let generation = async || {
        let answer = Connection::open(program.admin).await.unwrap().exchange(&get("/config")).await.unwrap();
        answer.json()["status"]["generation"].as_u64().unwrap()
    };
    assert_eq!(generation().await, 1);
    for round in 2..=5 {
        program.signal("HUP");
        eventually("it is at work", async || generation().await >= round).await;
    }
    let mut conn = Connection::open(program.api).await.unwrap();
    assert_eq!(conn.exchange(&patch(ID, "", r#"{"context":"c"}"#)).await.unwrap().status, 200);
    program.signal("TERM");
    assert_eq!(program.ended().await.status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_is_at_work_for_new_requests_and_requests_in_flight_keep_theirs() {
    let bench = Bench::new().await;
    let mut gateway = bench.gateway("", "").await;
    bench.fault(r#"{"vendor":"kakiyo","mode":"delay","delay_ms":2500,"count":1}"#).await;
    let mut slow = Connection::open(gateway.api()).await.unwrap();
    slow.write(&patch(ID, "", r#"{"context":"old"}"#)).await.unwrap();
    bench.reached("kakiyo", 1).await;
    // The upstream that serves it is gone, another came, callers are needed, and its own limits changed.
    let text = bench.config("max_in_flight = 7\nmax_connections = 77", "");
    let text = text.replace("[upstreams.sales]", "[upstreams.other]");
    let key = "f".repeat(64);
    bench.replace("parlance.toml", format!("{text}\n[[callers]]\nname = \"crm\"\nkey_sha256 = \"{key}\"\n"));
    generation(&gateway, 2).await;
    let mut conn = Connection::open(gateway.api()).await.unwrap();
    assert_eq!(conn.exchange(&patch(ID, "", r#"{"context":"new"}"#)).await.unwrap().status, 401);
    bench.replace("parlance.toml", text);
    generation(&gateway, 3).await;
    let answer = conn.exchange(&patch(ID, "", r#"{"context":"new"}"#)).await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (404, "no-route"));
    let renamed = ID.replace("sales:", "other:");
    assert_eq!(conn.exchange(&patch(&renamed, "", r#"{"context":"new"}"#)).await.unwrap().status, 200);
    let answer = slow.reply().await.unwrap();
    assert_eq!((answer.status, &answer.json()["context"]), (200, &json!("old")));
    // Asked for, it is read again although nothing changed.
    gateway.reload();
    generation(&gateway, 4).await;
    tokio::time::timeout(Duration::from_millis(50), gateway.ended()).await.unwrap_err();
    assert!(gateway.drain().await);
}

/// Configurations that are wrong in one way each, given the right one.
fn wrong(good: &str, bench: &Bench) -> Vec<(&'static str, Vec<u8>)> {
    let with = |more: &str| format!("{more}\n{good}").into_bytes();
    let behind = |more: &str| format!("{good}\n{more}").into_bytes();
    let instead = |old: &str, new: &str| {
        assert!(good.contains(old), "{old}");
        good.replacen(old, new, 1).into_bytes()
    };
    let missing = bench.path("missing").display().to_string();
    let tls = |certificate: &str, key: &str| {
        instead("[admin]", &format!("tls = {{ certificate = \"{certificate}\", key = \"{key}\" }}\n[admin]"))
    };
    let one = Authority::new("one").server(1);
    let other = Authority::new("other").server(2);
    let certificate = bench.replace("one.crt", &one.certificate).display().to_string();
    let key = bench.replace("other.key", &other.key).display().to_string();
    vec![
        ("empty", Vec::new()),
        ("cut off", good.as_bytes()[..good.len() - 30].to_vec()),
        ("no TOML", b"[server\nlisten = ".to_vec()),
        ("not UTF-8", b"\xff\xfe\x00".to_vec()),
        ("too large", vec![b'#'; 3 * 1024 * 1024]),
        ("an unknown key", with("unknown_key = 1")),
        ("an unknown table", behind("[serverr]\nlisten = \"127.0.0.1:0\"")),
        ("a key twice", with("default_upstream = \"sales\"\ndefault_upstream = \"sales\"")),
        (
            "an upstream twice",
            behind("[upstreams.sales]\nvendor = \"kakiyo\"\ncredential = { value = \"k\" }"),
        ),
        ("an unknown vendor", instead("vendor = \"kakiyo\"", "vendor = \"nobody\"")),
        ("an unknown upstream in a route", behind("[[routes]]\nid = \"x*\"\nupstream = \"nowhere\"")),
        ("an unknown default", with("default_upstream = \"nowhere\"")),
        ("a bad URL", instead("base_url = \"http://", "base_url = \"nonsense://")),
        (
            "plain http off loopback",
            instead("base_url = \"http://127.0.0.1", "base_url = \"http://192.0.2.1"),
        ),
        ("a number for a duration", instead("[admin]", "header_timeout = 5\n[admin]")),
        ("a duration of nothing", instead("[admin]", "idle_timeout = \"0s\"\n[admin]")),
        ("a size without a unit", instead("[admin]", "max_body = \"10\"\n[admin]")),
        ("a bad address", instead("listen = \"127.0.0.1:0\"", "listen = \"localhost\"")),
        ("an open address without callers", instead("listen = \"127.0.0.1:0\"", "listen = \"0.0.0.0:0\"")),
        ("a missing credential", instead("credential = {", "credential = { file = \"/nowhere/key\" }\n#")),
        ("a missing variable", instead("credential = {", "credential = { env = \"NOT_SET_ANYWHERE\" }\n#")),
        (
            "a missing authority",
            instead("vendor = \"kakiyo\"", &format!("vendor = \"kakiyo\"\nca_file = \"{missing}\"")),
        ),
        (
            "an authority that is none",
            instead("vendor = \"kakiyo\"", &format!("vendor = \"kakiyo\"\nca_file = \"{key}\"")),
        ),
        ("a bad hash", behind("[[callers]]\nname = \"crm\"\nkey_sha256 = \"secret-canary\"")),
        (
            "two callers of one name",
            behind(&"[[callers]]\nname = \"crm\"\ncertificate_names = [\"a\"]\n".repeat(2)),
        ),
        ("a missing certificate", tls(&missing, &missing)),
        ("a key of another certificate", tls(&certificate, &key)),
        ("another address", instead("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:1\"")),
        ("other threads", instead("[admin]", "workers = 3\n[admin]")),
        ("another log", behind("[log]\nlevel = \"debug\"")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_configuration_is_rejected_whole_and_the_old_one_stays() {
    let bench = Bench::new().await;
    let good = bench.config("max_body = \"100KiB\"", "");
    let gateway = follow(&bench.replace("parlance.toml", &good)).await;
    let address = gateway.api();
    let callers = Callers::start(2, None, move || Some(address));
    let vitals = gateway.vitals();
    let secrets: Vec<String> =
        bench.sandbox.credentials().into_values().flat_map(|credentials| credentials.keys).collect();
    let cases = wrong(&good, &bench);
    assert!(cases.len() >= 20);
    for (number, (what, text)) in (1..).zip(&cases) {
        // What would be seen if only a part of it were taken.
        let text = String::from_utf8(text.clone()).map_or_else(
            |error| error.into_bytes(),
            |text| text.replace("max_body = \"100KiB\"", "max_body = \"99KiB\"").into_bytes(),
        );
        bench.replace("parlance.toml", text);
        // The first ones are found by themselves; the others are asked for, which is quicker.
        if number > 5 {
            gateway.reload();
        }
        eventually(what, async || vitals.stats().reloads_rejected >= number).await;
        let shown = shown(&gateway).await;
        assert_eq!(shown["server"]["max_body"], "100KiB", "{what}");
        let status = &shown["status"];
        assert_eq!(status["generation"], 1, "{what}");
        let faults = status["last_rejection"]["faults"].as_array().unwrap();
        assert!(!faults.is_empty(), "{what}");
        let said = status.to_string();
        assert!(!said.contains("secret-canary"), "{what}: {said}");
        assert!(secrets.iter().all(|secret| !said.contains(secret.as_str())), "{what}: {said}");
        assert!(status["last_rejection"]["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{said}");
    }
    let stats = vitals.stats();
    assert_eq!((stats.reloads_rejected, stats.reloads, stats.reloaded), (cases.len() as u64, 0, false));
    // Which one it was can be read.
    let last = shown(&gateway).await["status"]["last_rejection"]["faults"][0].as_str().unwrap().to_owned();
    assert!(last.contains("parlance.toml:") && last.contains(": log.level: "), "{last}");

    bench.replace("parlance.toml", good.replace("100KiB", "101KiB"));
    generation(&gateway, 2).await;
    let shown = shown(&gateway).await;
    assert_eq!(
        (&shown["server"]["max_body"], &shown["status"]["last_rejection"]),
        (&json!("101KiB"), &Value::Null)
    );
    callers.end().await.is_perfect();
    assert!(gateway.drain().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_missing_is_found_when_it_comes() {
    let bench = Bench::new().await;
    let gateway = bench.gateway("", "").await;
    let key = bench.path("key");
    let text = bench.config("", "").replacen(
        "credential = {",
        &format!("credential = {{ file = \"{}\" }}\n#", key.display()),
        1,
    );
    bench.replace("parlance.toml", text);
    let vitals = gateway.vitals();
    eventually("it is rejected", async || vitals.stats().reloads_rejected == 1).await;
    // A file that nobody watches: only trying again finds it.
    std::fs::write(&key, bench.key("kakiyo")).unwrap();
    generation(&gateway, 2).await;
    assert_eq!(vitals.stats().reloads_rejected, 1, "the same fault counts once");
    let mut conn = Connection::open(gateway.api()).await.unwrap();
    assert_eq!(conn.exchange(&patch(ID, "", r#"{"context":"c"}"#)).await.unwrap().status, 200);
}

/// Puts a certificate and its key where the gateway reads them.
pub(crate) fn install(bench: &Bench, identity: &Identity) -> String {
    let certificate = bench.replace("tls.crt", &identity.certificate);
    let key = bench.replace("tls.key", &identity.key);
    let client_ca = bench.path("clients.crt");
    format!(
        "tls = {{ certificate = \"{}\", key = \"{}\", client_ca = \"{}\" }}",
        certificate.display(),
        key.display(),
        client_ca.display()
    )
}

/// The certificate that the gateway shows.
pub(crate) async fn certificate(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Vec<u8>> {
    let stream = secure(address, config).await?;
    Ok(stream.get_ref().1.peer_certificates().unwrap()[0].as_ref().to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_rotated_under_load() {
    let bench = Bench::new().await;
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    bench.replace("clients.crt", &clients.pem);
    let gateway = bench.gateway(&install(&bench, &servers.server(0)), "").await;
    let client = clients.client("caller", &[], &[], false);
    let config = servers.caller(Some(&client), &[b"http/1.1"]);
    let address = gateway.api();
    let callers = Callers::start(4, Some(&config), move || Some(address));
    let mut kept = secured(address, &config).await.unwrap();
    assert_eq!(kept.exchange(&get("/openapi.json")).await.unwrap().status, 200);

    let mut shown = vec![certificate(address, &config).await.unwrap()];
    for round in 1..=3 {
        install(&bench, &servers.server(round));
        generation(&gateway, round as u64 + 1).await;
        let now = certificate(address, &config).await.unwrap();
        assert!(!shown.contains(&now), "round {round}");
        shown.push(now);
    }
    // A certificate without its key keeps the old one in use.
    bench.replace("tls.crt", &servers.server(9).certificate);
    let vitals = gateway.vitals();
    eventually("the pair is rejected", async || !vitals.stats().reloaded).await;
    assert_eq!(certificate(address, &config).await.unwrap(), shown[3]);
    // So does one that is not PEM.
    bench.replace("tls.crt", "nonsense");
    eventually("nonsense is rejected", async || vitals.stats().reloads_rejected == 2).await;
    assert_eq!(certificate(address, &config).await.unwrap(), shown[3]);
    install(&bench, &servers.server(10));
    generation(&gateway, 5).await;
    callers.end().await.is_perfect();
    assert_eq!(kept.exchange(&get("/openapi.json")).await.unwrap().status, 200, "a live connection goes on");

    // Another authority of clients: old certificates open no new connection.
    let others = Authority::new("others");
    bench.replace("clients.crt", &others.pem);
    generation(&gateway, 6).await;
    let refused = async {
        let mut conn = secured(address, &config).await?;
        conn.exchange(&get("/openapi.json")).await
    };
    assert!(refused.await.is_err());
    let config = servers.caller(Some(&others.client("caller", &[], &[], false)), &[]);
    let mut conn = secured(address, &config).await.unwrap();
    assert_eq!(conn.exchange(&get("/openapi.json")).await.unwrap().status, 200);
    drop((kept, conn));
    assert!(gateway.drain().await);
}
