//! From start to drained: ends that lose nothing.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use testkit::{Connection, Ended, eventually, is_long, record};

use crate::bench::{Bench, ID, follow, get, patch, program};
use crate::load::Callers;

async fn is_ready(admin: SocketAddr) -> bool {
    let Ok(mut conn) = Connection::open(admin).await else { return false };
    conn.exchange(&get("/readyz")).await.is_ok_and(|answer| answer.status == 200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_fails_while_one_gateway_after_the_other_is_replaced() {
    let rounds = if is_long() { 20 } else { 3 };
    let bench = Bench::new().await;
    let server = "drain_delay = \"300ms\"";
    let mut old = bench.gateway(server, "").await;
    let target = Arc::new(std::sync::Mutex::new(old.api()));
    let ready = Arc::clone(&target);
    let callers = Callers::start(16, None, move || Some(*ready.lock().unwrap()));
    for _ in 0..rounds {
        let so_far = callers.seen.good();
        let seen = Arc::clone(&callers.seen);
        eventually("callers are busy", async || seen.good() >= so_far + 200).await;
        let new = bench.gateway(server, "").await;
        let (admin, api) = (old.admin(), old.api());
        let drained = tokio::spawn(old.drain());
        // The balancer sees that it is no longer ready, well within the delay.
        eventually("it is not ready", async || !is_ready(admin).await).await;
        assert!(!drained.is_finished(), "it is not ready as soon as it drains, not when it has");
        *target.lock().unwrap() = new.api();
        assert!(drained.await.unwrap(), "all of it was finished");
        assert!(Connection::open(api).await.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused));
        old = new;
    }
    let seen = callers.end().await;
    let (failed, sent) = seen.failed();
    record(&format!("failed requests during {rounds} drains"), failed, sent);
    seen.is_perfect();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_balancer_every_request_that_was_sent_is_answered() {
    let bench = Bench::new().await;
    for _ in 0..3 {
        let gateway = bench.gateway("", "").await;
        let api = gateway.api();
        let gone = Arc::new(AtomicBool::new(false));
        let ready = Arc::clone(&gone);
        // Who is told that an answer is the last does not come back here.
        let callers = Callers::start(8, None, move || (!ready.load(Ordering::Relaxed)).then_some(api));
        let mut idle = Connection::open(api).await.unwrap();
        assert_eq!(idle.exchange(&get("/openapi.json")).await.unwrap().status, 200);
        let seen = Arc::clone(&callers.seen);
        eventually("callers are busy", async || seen.good() >= 200).await;
        gone.store(true, Ordering::Relaxed);
        assert!(gateway.drain().await);
        idle.ended().await;
        callers.end().await.is_perfect();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_in_the_queue_of_the_kernel_is_answered_too() {
    let bench = Bench::new().await;
    let gateway = bench.gateway("max_connections = 1", "").await;
    let mut first = Connection::open(gateway.api()).await.unwrap();
    assert_eq!(first.exchange(&get("/openapi.json")).await.unwrap().status, 200);
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut conn = Connection::open(gateway.api()).await.unwrap();
        conn.write(&patch(ID, "", r#"{"context":"c"}"#)).await.unwrap();
        waiting.push(conn);
    }
    assert_eq!(gateway.vitals().stats().api.accepted, 1);
    let drained = tokio::spawn(gateway.drain());
    for mut conn in waiting {
        let answer = conn.reply().await.unwrap();
        assert_eq!((answer.status, answer.is_last()), (200, true));
    }
    assert!(drained.await.unwrap());
    first.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_leaves_it_answers_and_says_that_it_leaves() {
    let bench = Bench::new().await;
    let gateway = bench.gateway("drain_delay = \"1s\"", "").await;
    let (api, admin, vitals) = (gateway.api(), gateway.admin(), gateway.vitals());
    let mut kept = Connection::open(api).await.unwrap();
    assert!(!kept.exchange(&get("/openapi.json")).await.unwrap().is_last());
    let stream = tokio::net::TcpStream::connect(api).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let http2 = tokio::spawn(connection);
    bench.fault(r#"{"vendor":"kakiyo","mode":"delay","delay_ms":2000}"#).await;

    let drained = tokio::spawn(gateway.drain());
    eventually("it drains", async || vitals.stats().draining).await;
    assert!(!is_ready(admin).await);
    let live = Connection::open(admin).await.unwrap().exchange(&get("/livez")).await.unwrap();
    assert_eq!(live.status, 200);
    // A connection that was idle is answered once more, a new one too.
    let answer = kept.exchange(&get("/openapi.json")).await.unwrap();
    assert_eq!((answer.status, answer.is_last()), (200, true));
    kept.ended().await;
    let answer = Connection::open(api).await.unwrap().exchange(&get("/openapi.json")).await.unwrap();
    assert_eq!((answer.status, answer.is_last()), (200, true));
    // What runs when the delay is over is finished, over HTTP/2 as well.
    let request = http::Request::patch(format!("http://gateway/conversations/{ID}"))
        .header("content-type", "application/json")
        .body(Full::new(bytes::Bytes::from_static(br#"{"context":"slow"}"#)))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().get("connection").is_none());
    assert!(!answer.into_body().collect().await.unwrap().to_bytes().is_empty());
    assert!(drained.await.unwrap());
    http2.await.unwrap().unwrap();
    let stats = vitals.stats();
    assert_eq!((stats.api.open, stats.running), (0, 0), "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_program_is_gentle_or_says_that_it_is_not() {
    let bench = Bench::new().await;
    let slow = r#"{"vendor":"kakiyo","mode":"delay","delay_ms":1500}"#;
    let hang = r#"{"vendor":"kakiyo","mode":"hang"}"#;
    let request = patch(ID, "", r#"{"context":"in flight"}"#);
    // What the vendor does, the grace, how many signals, and then: the exit code and the answer's status, if there is one.
    let table = [(slow, "20s", 1, 0, Some(200)), (hang, "700ms", 1, 0, Some(504)), (hang, "20s", 2, 1, None)];
    for (fault, grace, signals, code, answered) in table {
        bench.faults_over().await;
        bench.forget().await;
        bench.fault(fault).await;
        let server = format!("drain_timeout = \"{grace}\"");
        let more = "timeout = \"15s\"";
        let program = program(&bench.replace("program.toml", bench.config(&server, more)), &[]);
        let mut conn = Connection::open(program.api).await.unwrap();
        conn.write(&request).await.unwrap();
        bench.reached("kakiyo", 1).await;
        let begun = Instant::now();
        let admin = program.admin;
        program.signal("TERM");
        if signals == 2 {
            eventually("it is not ready", async || !is_ready(admin).await).await;
            program.signal("TERM");
        }
        let answer = conn.reply().await.ok().map(|answer| answer.status);
        let Ended { status, err: said, .. } = program.ended().await;
        assert_eq!(status.code(), Some(code), "{fault} {grace} {signals}: {said}");
        assert_eq!(answer, answered, "{fault} {grace} {signals}");
        assert_eq!(said.is_empty(), code == 0, "{said}");
        if answered != Some(200) {
            assert!(
                begun.elapsed() < Duration::from_secs(8),
                "it waited for the vendor: {:?}",
                begun.elapsed()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_ready_whatever_its_vendors_are() {
    let bench = Bench::new().await;
    let text = bench.config("", "");
    // Nobody listens there, and the name leads nowhere.
    let text = text.replacen(&bench.sandbox.url("kakiyo").unwrap(), "http://127.0.0.1:1", 1);
    let text = text.replacen(&bench.sandbox.url("agentphone").unwrap(), "https://vendor.invalid", 1);
    let gateway = follow(&bench.replace("parlance.toml", text)).await;
    assert!(is_ready(gateway.admin()).await);
    let mut conn = Connection::open(gateway.api()).await.unwrap();
    let answer = conn.exchange(&patch(ID, "", r#"{"context":"c"}"#)).await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (502, "vendor-unreachable"));
    assert!(is_ready(gateway.admin()).await);
    drop(conn);
    assert!(gateway.drain().await);
}
