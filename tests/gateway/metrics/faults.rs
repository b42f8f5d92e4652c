//! Each sort of trouble moves the metric that is there for it.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use testkit::Request;
use testkit::blocking::{Gateway, eventually};

use super::exposition::Exposition;
use super::{BODY, ID, scrape};
use crate::setup::{usual, with};

const SERVED: &str = "http_server_request_duration_seconds_count";
const SENT: &str = "http_client_request_duration_seconds_count";

/// A metric, the labels that matter, and by how much it moves.
type Move<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

fn moved(before: &Exposition, after: &Exposition, moves: &[Move<'_>]) -> Vec<String> {
    let wrong = |(name, labels, by): &Move<'_>| {
        let found = after.value(name, labels) - before.value(name, labels);
        (found != *by).then(|| format!("{name} {labels:?}: {found} instead of {by}"))
    };
    moves.iter().filter_map(wrong).collect()
}

/// Does something and says what must have moved by then.
#[track_caller]
fn moves(rig: &Gateway, act: impl FnOnce(&Gateway), moves: &[Move<'_>]) {
    let before = scrape(rig);
    act(rig);
    let wrong = moved(&before, &scrape(rig), moves);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[track_caller]
fn ask(rig: &Gateway, request: &Request, status: u16) {
    let answer = rig.send(request);
    assert_eq!(answer.status, status, "{}", answer.text());
}

fn status(code: u16) -> Value {
    json!({ "vendor": "kakiyo", "mode": "status", "status": code })
}

#[test]
fn what_a_vendor_does_wrong() {
    let rig = with("[defaults]\ntimeout = \"2s\"\n");
    let answers: [(u16, &str, u16, &str); 9] = [
        (400, "400", 422, "vendor-rejected"),
        (401, "401", 502, "vendor-unauthenticated"),
        (402, "402", 402, "vendor-payment-required"),
        (403, "403", 403, "vendor-forbidden"),
        (404, "404", 404, "conversation-not-found"),
        (429, "429", 429, "vendor-rate-limited"),
        (500, "500", 502, "vendor-error"),
        (503, "503", 503, "vendor-unavailable"),
        // Not one that HTTP knows.
        (520, "5xx", 502, "vendor-error"),
    ];
    for (code, shown, answer, error) in answers {
        rig.fault(status(code));
        let sent = [("upstream", "sales"), ("vendor", "kakiyo"), ("http_response_status_code", shown)];
        let served = [
            ("upstream", "sales"),
            ("http_route", "/conversations/{id}"),
            ("http_response_status_code", &answer.to_string()),
            ("error_type", error),
            ("origin", "vendor"),
        ];
        let act = |rig: &Gateway| ask(rig, &Request::patch(ID, BODY), answer);
        moves(&rig, act, &[(SENT, &sent, 1.0), (SENT, &[], 1.0), (SERVED, &served, 1.0), (SERVED, &[], 1.0)]);
    }
    let modes: [(Value, u16, &str, &str, &str); 6] = [
        (json!({ "mode": "hang" }), 504, "vendor-timeout", "http_response_timeout", ""),
        (json!({ "mode": "reset_after_request" }), 502, "vendor-unreachable", "connection_terminated", ""),
        (json!({ "mode": "garbage" }), 502, "vendor-invalid-response", "http_protocol_error", ""),
        (
            json!({ "mode": "truncate", "bytes": 9 }),
            502,
            "vendor-invalid-response",
            "http_response_incomplete",
            "200",
        ),
        (json!({ "mode": "stall" }), 504, "vendor-timeout", "http_response_timeout", "200"),
        (
            json!({ "mode": "oversize", "bytes": 9_000_000 }),
            502,
            "vendor-response-too-large",
            "http_response_body_size",
            "200",
        ),
    ];
    for (mut fault, answer, error, sent_error, sent_status) in modes {
        fault["vendor"] = json!("kakiyo");
        rig.fault(&fault);
        let sent =
            [("upstream", "sales"), ("error_type", sent_error), ("http_response_status_code", sent_status)];
        let served = [("upstream", "sales"), ("error_type", error), ("origin", "vendor")];
        let act = |rig: &Gateway| ask(rig, &Request::patch(ID, BODY), answer);
        moves(&rig, act, &[(SENT, &sent, 1.0), (SERVED, &served, 1.0)]);
    }
    rig.finish();
}

#[test]
fn what_is_tried_again() {
    let rig = usual();
    let retries = "parlance_upstream_retries_total";
    let later = json!([["Retry-After", "1"]]);
    rig.fault(json!({ "vendor": "kakiyo", "mode": "status", "status": 429, "headers": later }));
    let act = |rig: &Gateway| ask(rig, &Request::patch(ID, BODY), 200);
    moves(
        &rig,
        act,
        &[
            (retries, &[("upstream", "sales"), ("reason", "asked")], 1.0),
            (retries, &[], 1.0),
            (SENT, &[("upstream", "sales")], 2.0),
            (SERVED, &[], 1.0),
        ],
    );
    rig.fault(json!({ "vendor": "cuadra", "mode": "reset_after_request" }));
    let planning = format!("planning:{}", rig.conversation("cuadra"));
    let act = |rig: &Gateway| ask(rig, &Request::patch(&planning, r#"{"context":{"a":1}}"#), 200);
    moves(
        &rig,
        act,
        &[(retries, &[("upstream", "planning"), ("reason", "unknown")], 1.0), (retries, &[], 1.0)],
    );
    assert!(scrape(&rig).value("parlance_upstream_retry_budget", &[("upstream", "sales")]) >= 9.0);
    rig.finish();
}

#[test]
fn an_upstream_that_cannot_be_reached() {
    // Nobody listens on that port.
    let rig = with("[upstreams.sales]\nbase_url = \"http://127.0.0.1:1\"\n");
    let act = |rig: &Gateway| ask(rig, &Request::patch(ID, BODY), 502);
    moves(
        &rig,
        act,
        &[
            ("parlance_upstream_connections_failed_total", &[("upstream", "sales")], 3.0),
            ("parlance_upstream_retries_total", &[("upstream", "sales"), ("reason", "unsent")], 2.0),
            (SENT, &[("upstream", "sales"), ("error_type", "connection_refused")], 3.0),
            (
                SERVED,
                &[("upstream", "sales"), ("error_type", "vendor-unreachable"), ("origin", "vendor")],
                1.0,
            ),
        ],
    );
    // So many further attempts at a time are more than the budget has.
    let before = scrape(&rig);
    thread::scope(|scope| {
        for number in 0..24 {
            // A conversation for each: updates of one take turns.
            let request = Request::patch(&format!("{ID}{number}"), BODY);
            let rig = &rig;
            scope.spawn(move || ask(rig, &request, 502));
        }
    });
    let wrong = moved(&before, &scrape(&rig), &[("parlance_upstream_retries_over_budget_total", &[], 0.0)]);
    assert!(!wrong.is_empty(), "the budget was never used up");
    rig.finish();
}

#[test]
fn a_circuit_that_opens() {
    let rig = with("[defaults]\ncircuit = { failures = 2, open_for = \"60s\", open_for_max = \"60s\" }\n");
    let sales = &[("upstream", "sales")];
    let act = |rig: &Gateway| {
        rig.fault(json!({ "vendor": "kakiyo", "mode": "status", "status": 500, "count": 2 }));
        ask(rig, &Request::patch(ID, BODY), 502);
        ask(rig, &Request::patch(ID, BODY), 502);
    };
    let state = "parlance_circuit_state";
    moves(
        &rig,
        act,
        &[
            ("parlance_circuit_opened_total", sales, 1.0),
            ("parlance_circuit_opened_total", &[], 1.0),
            (state, sales, 2.0),
            (state, &[], 2.0),
        ],
    );
    // The gateway's own word, though the code is the one that a vendor's 503 has.
    let held = [("upstream", "sales"), ("error_type", "vendor-unavailable"), ("origin", "gateway")];
    let act = |rig: &Gateway| ask(rig, &Request::patch(ID, BODY), 503);
    moves(
        &rig,
        act,
        &[("parlance_circuit_refused_total", sales, 1.0), (SERVED, &held, 1.0), (SENT, &[], 0.0)],
    );
    // Behind a key, it is the same.
    let act = |rig: &Gateway| ask(rig, &Request::patch(ID, BODY).header("Idempotency-Key", "k"), 503);
    moves(
        &rig,
        act,
        &[
            (SERVED, &held, 1.0),
            ("parlance_idempotency_total", &[("result", "first")], 1.0),
            ("parlance_idempotency_released_total", &[], 1.0),
        ],
    );
    rig.finish();
}

#[test]
fn limits_that_are_reached() {
    let hash: String = Sha256::digest("the-callers-key").iter().map(|byte| format!("{byte:02x}")).collect();
    let rig = with(&format!(
        "[upstreams.sales]\nrate_limit = \"1/3600s\"\n[upstreams.sms]\nmax_in_flight = 1\n\
         [[callers]]\nname = \"crm\"\nkey_sha256 = \"{hash}\"\nrate_limit = \"4/3600s\"\n"
    ));
    let known =
        |id: &str, body: &str| Request::patch(id, body).header("Authorization", "Bearer the-callers-key");
    let limited = "parlance_rate_limited_total";
    let act = |rig: &Gateway| {
        ask(rig, &known(ID, BODY), 200);
        ask(rig, &known(ID, BODY), 429);
    };
    moves(
        &rig,
        act,
        &[
            (limited, &[("scope", "upstream"), ("upstream", "sales")], 1.0),
            (limited, &[], 1.0),
            (SERVED, &[("error_type", "vendor-rate-limited"), ("origin", "gateway")], 1.0),
            (SENT, &[], 1.0),
        ],
    );
    rig.fault(json!({ "vendor": "agentphone", "mode": "delay", "delay_ms": 3000 }));
    let sms = known("sms:conv_def456", r#"{"context":{"a":1}}"#);
    let mut slow = rig.connect();
    slow.write(&sms.encode());
    eventually("it has reached the vendor", || rig.sent("agentphone").len() == 1);
    let busy = scrape(&rig);
    assert_eq!(busy.value("parlance_upstream_in_flight", &[("upstream", "sms")]), 1.0);
    assert_eq!(busy.value("parlance_requests_in_flight", &[]), 1.0);
    assert!(busy.value("parlance_connections_open", &[("listener", "api")]) >= 1.0);
    let full = [("upstream", "sms"), ("error_type", "overloaded"), ("origin", "gateway")];
    let act = |rig: &Gateway| ask(rig, &sms, 503);
    moves(&rig, act, &[("parlance_upstream_shed_total", &[("upstream", "sms")], 1.0), (SERVED, &full, 1.0)]);
    assert_eq!(slow.reply().status, 200);
    let idle = scrape(&rig);
    assert_eq!(idle.value("parlance_upstream_in_flight", &[]), 0.0);
    assert_eq!(idle.value("parlance_requests_in_flight", &[]), 0.0);
    // Four were sent.
    let act = |rig: &Gateway| ask(rig, &sms, 429);
    moves(
        &rig,
        act,
        &[
            (limited, &[("scope", "caller"), ("caller", "crm")], 1.0),
            (SERVED, &[("error_type", "caller-rate-limited"), ("origin", "gateway")], 1.0),
        ],
    );
    let act = |rig: &Gateway| ask(rig, &Request::patch(ID, BODY), 401);
    moves(&rig, act, &[(SERVED, &[("error_type", "caller-unauthenticated")], 1.0), (limited, &[], 0.0)]);
    rig.finish();
}

#[test]
fn more_than_the_gateway_takes() {
    let rig = with("[server]\nmax_in_flight = 1\nheader_timeout = \"300ms\"\n");
    rig.fault(json!({ "vendor": "kakiyo", "mode": "delay", "delay_ms": 1500 }));
    let mut slow = rig.connect();
    slow.write(&Request::patch(ID, BODY).encode());
    eventually("it has reached the vendor", || rig.sent("kakiyo").len() == 1);
    let shed = [("error_type", "overloaded"), ("origin", "gateway"), ("upstream", "")];
    let act = |rig: &Gateway| ask(rig, &Request::patch(ID, BODY), 503);
    moves(&rig, act, &[("parlance_requests_shed_total", &[], 1.0), (SERVED, &shed, 1.0)]);
    assert_eq!(slow.reply().status, 200);

    let late = [("listener", "api"), ("reason", "slow_head")];
    let mut halting = rig.connect();
    halting.write(b"PATCH /conversations/x HTTP/1.1\r\nHost:");
    eventually("the head that never ends is counted", || {
        scrape(&rig).value("parlance_connections_failed_total", &late) == 1.0
    });
    rig.finish();
}

#[test]
fn bodies_that_are_refused() {
    let rig = usual();
    let refusals = "parlance_refusals_total";
    let act = |rig: &Gateway| {
        ask(rig, &Request::patch(ID, r#"{"context":"c","bogus":1,"other":2,"title":"t","status":"x"}"#), 422);
        // With a key as well, once.
        ask(rig, &Request::patch(ID, "{}").header("Idempotency-Key", "k"), 422);
    };
    moves(
        &rig,
        act,
        &[
            (refusals, &[("upstream", "sales"), ("code", "unknown-field")], 1.0),
            (refusals, &[("upstream", "sales"), ("code", "unsupported-field")], 1.0),
            (refusals, &[("upstream", "sales"), ("code", "read-only-field")], 1.0),
            (refusals, &[("upstream", "sales"), ("code", "empty-patch")], 1.0),
            (refusals, &[], 4.0),
            (SERVED, &[("upstream", "sales"), ("error_type", "invalid-patch"), ("origin", "gateway")], 2.0),
            (SENT, &[], 0.0),
        ],
    );
    rig.finish();
}

#[test]
fn keys_and_their_records() {
    let rig = usual();
    let keyed = |body: &str| Request::patch(ID, body).header("Idempotency-Key", "k");
    let keys = "parlance_idempotency_total";
    let vendor = [("upstream", "sales"), ("http_response_status_code", "200"), ("origin", "vendor")];
    let gateway = [("upstream", "sales"), ("http_response_status_code", "200"), ("origin", "gateway")];
    moves(
        &rig,
        |rig| ask(rig, &keyed(BODY), 200),
        &[
            (keys, &[("result", "first")], 1.0),
            (keys, &[], 1.0),
            (SERVED, &vendor, 1.0),
            ("parlance_idempotency_records", &[], 1.0),
        ],
    );
    assert!(scrape(&rig).value("parlance_idempotency_memory_bytes", &[]) > 0.0);
    moves(
        &rig,
        |rig| ask(rig, &keyed(BODY), 200),
        &[
            (keys, &[("result", "replayed")], 1.0),
            (keys, &[], 1.0),
            (SERVED, &gateway, 1.0),
            (SENT, &[], 0.0),
        ],
    );
    moves(
        &rig,
        |rig| ask(rig, &keyed(r#"{"context":"other"}"#), 422),
        &[(keys, &[("result", "reused")], 1.0), (SERVED, &[("error_type", "idempotency-key-reused")], 1.0)],
    );
    rig.fault(json!({ "vendor": "kakiyo", "mode": "delay", "delay_ms": 1500 }));
    let request = Request::patch(ID, BODY).header("Idempotency-Key", "slow");
    let mut slow = rig.connect();
    slow.write(&request.encode());
    eventually("it is being done", || scrape(&rig).value("parlance_idempotency_in_flight", &[]) == 1.0);
    moves(&rig, |rig| ask(rig, &request, 409), &[(keys, &[("result", "in_progress")], 1.0)]);
    assert_eq!(slow.reply().status, 200);
    assert_eq!(scrape(&rig).value("parlance_idempotency_store_up", &[]), 1.0);
    rig.finish();
}

#[test]
fn a_store_that_cannot_be_reached() {
    for (word, status, not_guaranteed) in [("refuse", 503, 0.0), ("proceed", 200, 1.0)] {
        let rig =
            with(&format!("[idempotency]\nstore = \"redis://127.0.0.1:1\"\non_store_failure = \"{word}\"\n"));
        // Not judged: what a store's failure is answered with is not what this is about.
        let act = |rig: &Gateway| {
            let answer = rig.connect().exchange(&Request::patch(ID, BODY).header("Idempotency-Key", "k"));
            assert_eq!(answer.status, status, "{}", answer.text());
        };
        moves(
            &rig,
            act,
            &[
                ("parlance_idempotency_store_failures_total", &[], 1.0),
                ("parlance_idempotency_total", &[("result", "not_guaranteed")], not_guaranteed),
                ("parlance_idempotency_total", &[], not_guaranteed),
            ],
        );
        assert_eq!(scrape(&rig).value("parlance_idempotency_store_up", &[]), 0.0);
        rig.finish();
    }
}

#[test]
fn a_gateway_that_drains() {
    let rig = with("[server]\ndrain_delay = \"1s\"\n");
    assert_eq!(scrape(&rig).value("parlance_draining", &[]), 0.0);
    rig.signal("TERM");
    eventually("it says so", || scrape(&rig).value("parlance_draining", &[]) == 1.0);
    rig.ended();
}

#[test]
fn a_log_that_nobody_reads() {
    // In this process, where standard output can be one that never takes anything.
    struct Stuck;
    impl std::io::Write for Stuck {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            loop {
                thread::sleep(Duration::from_secs(3600));
            }
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("parlance.toml");
    let text = "[server]\nlisten = \"127.0.0.1:0\"\ndrain_delay = \"0s\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
                [upstreams.sales]\nvendor = \"kakiyo\"\ncredential = { value = \"k\" }\n";
    std::fs::write(&file, text).unwrap();
    let settings = parlance::settings::load(&[file], &std::collections::BTreeMap::new()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let lines = parlance::telemetry::log::LogQueue::start(Stuck).unwrap();
        let live = parlance::gateway::snapshot::Snapshot::build(settings, None).unwrap();
        let log = parlance::telemetry::access::AccessLog::without_requests(lines.clone());
        let gateway = parlance::runtime::Gateway::start(live, log).await.unwrap();
        // More than wait in the queue and in the buffer behind it.
        for _ in 0..10_000 {
            lines.write(vec![b' '; 1024]);
        }
        let text = parlance::admin::metrics::Metrics::new(gateway.vitals()).text().unwrap();
        let dropped = Exposition::parse(&text).value("parlance_log_lines_dropped_total", &[]);
        assert!(dropped > 0.0 && dropped == lines.dropped() as f64, "{dropped}");
        gateway.drain().await;
    });
}
