//! The end of patience: what still runs when `drain_timeout` is over is answered, truthfully, and then it is the end.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use testkit::{Connection, Ended, PATIENCE, Redis, eventually, is_long, record};
use tokio::net::{TcpListener, TcpStream};

use crate::bench::{Bench, ID, follow, get, patch, program, run_for};

/// The time that the gateway waits before the end, and more than its last answers need on any machine.
const LIMIT: Duration = Duration::from_millis(1500);
const SLACK: Duration = Duration::from_secs(6);

/// The vendor's part in the conversation of each case, and the caller's answer at the limit: status, code and
/// `update_applied`.
const CASES: [(&str, &str, u16, &str, &str); 4] = [
    ("hangs", r#"{"mode":"hang"}"#, 504, "vendor-timeout", "unknown"),
    (
        "stalls",
        r#"{"mode":"stall","status":200,"body":{"success":true},"bytes":3}"#,
        504,
        "vendor-timeout",
        "yes",
    ),
    // The gateway waits for the time that the vendor named: a refusal, and a failure that may have been none.
    ("limits", r#"{"mode":"status","status":429,"headers":[["Retry-After","15"]]}"#, 503, "draining", "no"),
    (
        "pauses",
        r#"{"mode":"status","status":503,"headers":[["Retry-After","15"]]}"#,
        504,
        "vendor-timeout",
        "unknown",
    ),
];

const BODY: &str = r#"{"context":"c"}"#;

/// Sends a request and does not wait for its answer.
async fn begin(gateway: &parlance::runtime::Gateway, bytes: &[u8]) -> Connection {
    let mut conn = Connection::open(gateway.api()).await.unwrap();
    conn.write(bytes).await.unwrap();
    conn
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_limit_everything_is_answered_with_what_is_known() {
    let bench = Bench::new().await;
    // It takes connections, and says nothing in the TLS handshake.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let more = format!(
        "timeout = \"20s\"\nconnect_timeout = \"20s\"\n[upstreams.mute]\nvendor = \"kakiyo\"\n\
         base_url = \"https://{}\"\ncredential = {{ value = \"k\" }}\n",
        mute.local_addr().unwrap()
    );
    let server = format!("drain_timeout = \"{}ms\"\nbody_timeout = \"20s\"", LIMIT.as_millis());
    let gateway = bench.gateway(&server, &more).await;
    let vitals = gateway.vitals();

    let mut waiting: Vec<(&str, Connection, (u16, &str, &str))> = Vec::new();
    for (case, rule, status, code, applied) in CASES {
        let mut rule: Value = serde_json::from_str(rule).unwrap();
        rule["vendor"] = json!("kakiyo");
        rule["path_contains"] = json!(case);
        rule["count"] = json!(100);
        bench.fault(&rule.to_string()).await;
        let id = format!("sales:{case}");
        waiting.push((case, begin(&gateway, &patch(&id, "", BODY)).await, (status, code, applied)));
        // Another conversation: updates of one take turns.
        let keyed = patch(&format!("{id}-keyed"), &format!("Idempotency-Key: {case}\r\n"), BODY);
        waiting.push((case, begin(&gateway, &keyed).await, (status, code, applied)));
    }
    // Read, and not yet written.
    bench.fault(r#"{"vendor":"agentphone","method":"GET","mode":"hang"}"#).await;
    let merge = String::from_utf8(patch("sms:conv_def456", "", r#"{"context":{"a":"b"}}"#)).unwrap();
    let merge = merge.replace("application/json", "application/merge-patch+json");
    waiting.push(("merges", begin(&gateway, merge.as_bytes()).await, (504, "vendor-timeout", "no")));
    let unsent = (503, "draining", "no");
    waiting.push(("no handshake", begin(&gateway, &patch("mute:c", "", BODY)).await, unsent));
    let whole = patch(ID, "", BODY);
    waiting.push(("half a body", begin(&gateway, &whole[..whole.len() - 3]).await, unsent));

    let stream = TcpStream::connect(gateway.api()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let http2 = tokio::spawn(connection);
    let mut streams = Vec::new();
    for (case, _, status, code, applied) in CASES {
        let request = http::Request::patch(format!("http://gateway/conversations/sales:{case}-2"))
            .header("content-type", "application/json")
            .body(Full::new(bytes::Bytes::from_static(BODY.as_bytes())))
            .unwrap();
        streams.push((case, tokio::spawn(sender.send_request(request)), (status, code, applied)));
    }
    drop(sender);
    let all = waiting.len() + streams.len();
    bench.reached("kakiyo", 3 * CASES.len()).await;
    bench.reached("agentphone", 1).await;
    eventually("all of them are under way", async || vitals.stats().running == all).await;

    let begun = Instant::now();
    let drained = tokio::spawn(gateway.drain());
    let mut unanswered = Vec::new();
    for (case, mut conn, (status, code, applied)) in waiting {
        let Ok(answer) = conn.reply().await else {
            unanswered.push(case);
            continue;
        };
        assert!(begun.elapsed() >= LIMIT, "{case} was not waited for: {answer:?}");
        assert_eq!(answer.outcome(), (status, code.to_owned(), applied.to_owned()), "{case}: {answer:?}");
        assert!(answer.is_last(), "{case}: {answer:?}");
        assert_eq!(answer.header("retry-after"), (code == "draining").then_some("1"), "{case}: {answer:?}");
        let problem = answer.json();
        let detail = problem["detail"].as_str().unwrap();
        // Kept for its key where something may have been done.
        let kept = detail.contains("a new key is needed");
        assert!(!kept || applied != "no", "{case}: {problem}");
        assert_eq!(problem["retryable"], !kept, "{case}: {problem}");
        assert!(detail.contains("gateway is shutting down"), "{problem}");
        conn.ended().await;
    }
    for (case, answer, expected) in streams {
        let Ok(answer) = tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap() else {
            unanswered.push(case);
            continue;
        };
        let status = answer.status().as_u16();
        let problem: Value =
            serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
        let code = problem["type"].as_str().unwrap().trim_start_matches("urn:parlance:problem:").to_owned();
        let applied = problem["update_applied"].as_str().unwrap();
        assert_eq!((status, code.as_str(), applied), expected, "{case}: {problem}");
    }
    record("requests unanswered at the drain limit", unanswered.len(), all);
    assert!(unanswered.is_empty(), "{unanswered:?}");
    http2.await.unwrap().unwrap();
    assert!(drained.await.unwrap(), "everything was answered");
    assert!(begun.elapsed() < LIMIT + SLACK, "{:?}", begun.elapsed());
    let stats = vitals.stats();
    assert_eq!((stats.api.open, stats.api.cut_off, stats.running), (0, 0, 0), "{stats:?}");
    // An update with a key was answered like one without, and nothing of it runs on.
    assert_eq!(vitals.live().idempotency.stats().running, 0);
    // Nobody was told that nothing was sent while something was.
    let reached = [bench.sent("kakiyo").await, bench.sent("agentphone").await].concat();
    assert_eq!(reached.len(), 3 * CASES.len() + 1, "{reached:?}");
}

/// Whoever does not take the answer is not waited for either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_does_not_hold_it_up() {
    let bench = Bench::new().await;
    let gateway = bench.gateway("drain_timeout = \"500ms\"\nmax_connection_age = \"1h\"", "").await;
    let vitals = gateway.vitals();
    // The document is asked for until answers find no more room in the sockets between.
    let mut conn = Connection::open(gateway.api()).await.unwrap();
    let ask = get("/openapi.json").repeat(1000);
    let asking = tokio::time::timeout(Duration::from_secs(1), async {
        loop {
            conn.write(&ask).await.unwrap();
        }
    });
    assert!(asking.await.is_err(), "it takes and takes");
    let begun = Instant::now();
    assert!(!gateway.drain().await, "not everything could be answered");
    assert!(begun.elapsed() < SLACK, "{:?}", begun.elapsed());
    eventually("the connection is gone", async || vitals.stats().api.open == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_during_a_reload_is_an_end_like_any_other() {
    let rounds = if is_long() { 20 } else { 3 };
    let bench = Bench::new().await;
    bench.fault(r#"{"vendor":"kakiyo","mode":"delay","delay_ms":600,"count":1000}"#).await;
    let text = |number: usize| bench.config(&format!("max_body = \"{number}KiB\""), "");
    for round in 0..rounds {
        let program = program(&bench.replace("program.toml", text(100)), &[]);
        bench.forget().await;
        let mut conn = Connection::open(program.api).await.unwrap();
        conn.write(&patch(ID, "", BODY)).await.unwrap();
        bench.reached("kakiyo", 1).await;
        // Another file and another signal, faster than they are read, some of them wrong; the end comes in the middle.
        for number in 0..20 + round {
            let text = if number % 3 == 0 { "[server".to_owned() } else { text(101 + number) };
            bench.replace("program.toml", text);
            program.signal("HUP");
        }
        program.signal("TERM");
        program.signal("HUP");
        let answer = conn.reply().await.unwrap();
        assert_eq!((answer.status, answer.is_last()), (200, true), "{answer:?}");
        let Ended { status, err: said, .. } = program.ended().await;
        assert_eq!((status.code(), said.as_str()), (Some(0), ""));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_during_the_start_ends_it() {
    let rounds = if is_long() { 60 } else { 12 };
    let bench = Bench::new().await;
    let config = bench.replace("program.toml", bench.config("", ""));
    let (mut gentle, mut before) = (0, 0);
    for round in 0..rounds {
        // From the first moment of the process to well after it is ready.
        let Ended { status, err: said, .. } = run_for(&config, Duration::from_millis(5 * round)).await;
        match status.code() {
            Some(0) => gentle += 1,
            // Before it had taken the signal over: the default is to die of it.
            None => before += 1,
            Some(code) => panic!("{code} after {} ms: {said}", 5 * round),
        }
        assert_eq!(said, "", "after {} ms", 5 * round);
    }
    // On a slow machine all of them may come early.
    assert_eq!(gentle + before, rounds);
    let follows = follow(&config).await;
    assert!(follows.drain().await, "nothing of it is left behind");
}

/// An update with a key that is cut off at the limit has the same answer at another replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_records_say_what_was_said() {
    let bench = Bench::new().await;
    let redis = Redis::start(&[]);
    let more = format!("timeout = \"20s\"\n[idempotency]\n{}\nstore_timeout = \"5s\"\n", redis.setting());
    let config = bench.replace("program.toml", bench.config("drain_timeout = \"500ms\"", &more));
    let (leaving, staying) = (program(&config, &[]), program(&config, &[]));
    bench.fault(r#"{"vendor":"kakiyo","mode":"hang","apply":true}"#).await;
    bench
        .fault(
            r#"{"vendor":"agentphone","mode":"status","status":429,"headers":[["Retry-After","15"]],"count":1}"#,
        )
        .await;
    let sent = patch(ID, "Idempotency-Key: sent\r\n", BODY);
    let unsent = patch("sms:conv_def456", "Idempotency-Key: unsent\r\n", r#"{"context":{"a":"b"}}"#);
    let mut conns = Vec::new();
    for request in [&sent, &unsent] {
        let mut conn = Connection::open(leaving.api).await.unwrap();
        conn.write(request).await.unwrap();
        conns.push(conn);
    }
    // And one whose caller does not wait for the end.
    let gone = patch("sales:another", "Idempotency-Key: gone\r\n", BODY);
    bench.fault(r#"{"vendor":"kakiyo","mode":"hang","apply":true}"#).await;
    bench.reached("kakiyo", 1).await;
    let mut conn = Connection::open(leaving.api).await.unwrap();
    conn.write(&gone).await.unwrap();
    bench.reached("kakiyo", 2).await;
    drop(conn);
    bench.reached("agentphone", 1).await;
    leaving.signal("TERM");
    let [first, second] = [conns.remove(0).reply().await.unwrap(), conns.remove(0).reply().await.unwrap()];
    assert_eq!(first.outcome(), (504, "vendor-timeout".to_owned(), "unknown".to_owned()), "{first:?}");
    assert_eq!(second.outcome(), (503, "draining".to_owned(), "no".to_owned()), "{second:?}");
    let Ended { status, err: said, .. } = leaving.ended().await;
    assert_eq!((status.code(), said.as_str()), (Some(0), ""));

    let mut conn = Connection::open(staying.api).await.unwrap();
    let again = conn.exchange(&sent).await.unwrap();
    assert_eq!((again.header("idempotent-replayed"), &again.body), (Some("true"), &first.body), "{again:?}");
    let again = conn.exchange(&gone).await.unwrap();
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.outcome(), (504, "vendor-timeout".to_owned(), "unknown".to_owned()), "{again:?}");
    // What was not done is done now.
    let again = conn.exchange(&unsent).await.unwrap();
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, None), "{again:?}");
    assert_eq!((bench.sent("kakiyo").await.len(), bench.sent("agentphone").await.len()), (2, 2));
}
