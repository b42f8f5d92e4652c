//! Strangers in the shared store: another holder's claim, another key's record, rubbish. And the way
//! there under TLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use parlance::idempotency::record::{self, ClaimState};
use parlance::idempotency::{
    BeforeSend, Fingerprint, FingerprintInput, IdempotentOutcome, Key, KeyedRequest, StoredResponse, Token,
    Worked,
};
use parlance::types::code::{AnsweredBy, Applied, Code};
use parlance::types::request_id::RequestId;
use testkit::{Redis, eventually, free_port};

use super::rig::{BODY, PATH, Rig, config, live, until};

fn key_of(name: &str) -> Key {
    let hex = name.strip_prefix("parlance:v2:").unwrap();
    let mut key = [0; 32];
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
    }
    Key(key)
}

fn asked(key: &str) -> KeyedRequest {
    let words = FingerprintInput {
        caller: None,
        key,
        path: "/p",
        upstream: "sms",
        merge: false,
        lenient: false,
        minimal: false,
        condition: None,
        body: b"",
    };
    KeyedRequest::new(&words, Arc::from("sms:conv_1"), false, RequestId::of(&HeaderMap::new()))
}

async fn patient(redis: &Redis, gateways: usize, more: &str) -> Rig {
    Rig::start(gateways, &format!("{}\nstore_timeout = \"5s\"\n{more}", redis.setting()), "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_lost_its_lease_overwrites_nothing() {
    let redis = Redis::start(&[]);
    let rig = patient(&redis, 1, "").await;
    rig.fault(r#"{"mode":"delay","delay_ms":500}"#).await;
    let (late, (name, foreign)) = tokio::join!(rig.update(0, "k"), async {
        rig.called(1).await;
        let name = redis.keys().remove(0);
        let held =
            record::claim(&key_of(&name), Token([1; 16]), ClaimState::Held, Fingerprint([2; 48]), 60_000);
        redis.ask::<()>(&[b"SET", name.as_bytes(), &held, b"PX", b"60000"]);
        (name, held)
    });
    // The late holder's caller has its answer; the key is its new holder's still.
    assert_eq!(late.status, 200);
    assert_eq!(redis.ask::<Vec<u8>>(&[b"GET", name.as_bytes()]), foreign);
    assert_eq!(rig.gateways[0].live().idempotency.stats().lost_leases, 1);
    // Nor does a late holder that was refused free the key of another.
    redis.ask::<()>(&[b"DEL", name.as_bytes()]);
    rig.fault(r#"{"mode":"delay","delay_ms":500,"status":429}"#).await;
    let (refused, foreign) = tokio::join!(rig.update(0, "k"), async {
        rig.called(2).await;
        redis.ask::<()>(&[b"SET", name.as_bytes(), &foreign, b"PX", b"60000"]);
        foreign
    });
    assert_eq!(refused.status, 429);
    assert_eq!(redis.ask::<Vec<u8>>(&[b"GET", name.as_bytes()]), foreign);
}

/// Ends the lease of the only key: its remaining time is then that of an answer.
fn end_lease(redis: &Redis, ttl_ms: u32) {
    redis.ask::<()>(&[b"PEXPIRE", redis.keys()[0].as_bytes(), ttl_ms.to_string().as_bytes()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_over_when_the_store_says_so() {
    let redis = Redis::start(&[]);
    let rig = patient(&redis, 2, "lease = \"20s\"\nttl = \"1h\"").await;
    rig.fault(r#"{"mode":"delay","delay_ms":600}"#).await;
    let (first, ()) = tokio::join!(rig.update(0, "k"), async {
        rig.called(1).await;
        let left: i64 = redis.ask(&[b"PTTL", redis.keys()[0].as_bytes()]);
        assert!((3_610_000..=3_620_000).contains(&left), "{left}");
        rig.update(1, "k").await.is_problem(409, "idempotency-in-progress");
        end_lease(&redis, 3_600_000);
        // It was sent: nobody sends it again.
        let unknown = rig.update(1, "k").await;
        unknown.is_problem(409, "idempotency-outcome-unknown");
        let problem = unknown.json();
        assert_eq!((&problem["retryable"], &problem["update_applied"]), (&false.into(), &"unknown".into()));
        assert!(problem["detail"].as_str().unwrap().contains("a new key"), "{problem}");
        let other = rig.send(1, PATH, &[("idempotency-key", "k")], "{\"context\":null}").await;
        other.is_problem(422, "idempotency-key-reused");
    });
    // Its answer comes after all, and is the key's from then on.
    assert!(first.status == 200 && !first.is_replay());
    for gateway in [0, 1] {
        let again = rig.update(gateway, "k").await;
        assert!(again.is_replay() && again.body == first.body, "{again:?}");
    }
    assert_eq!(rig.calls().await, (1, 1));
    assert_eq!(rig.gateways[1].live().idempotency.stats().unknown_outcomes, 1);
    let left: i64 = redis.ask(&[b"PTTL", redis.keys()[0].as_bytes()]);
    assert!((3_590_000..=3_600_000).contains(&left), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_repetition_does_no_harm_a_key_that_had_begun_is_used_again() {
    let redis = Redis::start(&[]);
    let rig = patient(&redis, 2, "lease = \"20s\"\nttl = \"1h\"").await;
    rig.fault(r#"{"mode":"delay","delay_ms":600}"#).await;
    let path = "/conversations/again:conv_def456";
    let (first, second) = tokio::join!(rig.send(0, path, &[("idempotency-key", "k")], BODY), async {
        rig.called(1).await;
        end_lease(&redis, 3_600_000);
        let other = rig.send(1, path, &[("idempotency-key", "k")], "{\"context\":null}").await;
        other.is_problem(422, "idempotency-key-reused");
        rig.send(1, path, &[("idempotency-key", "k")], BODY).await
    });
    for reply in [&first, &second] {
        assert!(reply.status == 200 && !reply.is_replay(), "{reply:?}");
    }
    // The record is the second one's; the late holder wrote over nothing.
    let again = rig.send(0, path, &[("idempotency-key", "k")], BODY).await;
    assert!(again.is_replay() && again.body == second.body);
    assert_eq!(rig.calls().await.0, 2);
}

/// Work that writes its note before it sends, and then counts.
fn noted(sent: &Arc<AtomicUsize>, wait: Duration) -> impl FnOnce(BeforeSend) -> Work {
    let sent = Arc::clone(sent);
    move |before| {
        Box::pin(async move {
            tokio::time::sleep(wait).await;
            let noted = before.mark().await;
            tokio::time::sleep(wait / 2).await;
            let result = noted.map(|()| {
                sent.fetch_add(1, Relaxed);
                StoredResponse {
                    status: StatusCode::OK,
                    headers: HeaderMap::new(),
                    body: Bytes::from_static(b"{}"),
                    code: None,
                    applied: None,
                }
            });
            Worked { result, answered_by: AnsweredBy::Gateway, waited: Duration::ZERO }
        })
    }
}

type Work = std::pin::Pin<Box<dyn Future<Output = Worked> + Send>>;

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_whose_lease_ended_before_its_note_sends_nothing() {
    let redis = Redis::start(&[]);
    let rig = Rig::start(0, "", "").await;
    let settings = format!("{}\nstore_timeout = \"5s\"\nlease = \"20s\"\nttl = \"1h\"", redis.setting());
    let live = live(&config(&rig.sandbox, &settings, ""));
    let (sent, second) = (Arc::default(), Duration::from_secs(1));
    let answer = |wait| live.idempotency.answer(asked("k"), second, false, noted(&sent, wait));
    for free in [false, true] {
        let (late, next) = tokio::join!(answer(Duration::from_millis(600)), async {
            eventually("it is claimed", async || !redis.keys().is_empty()).await;
            let left: i64 = redis.ask(&[b"PTTL", redis.keys()[0].as_bytes()]);
            assert!(left <= 20_000, "{left}");
            assert_eq!(answer(Duration::ZERO).await.unwrap_err().code, Code::IdempotencyInProgress);
            redis.ask::<()>(&[b"DEL", redis.keys()[0].as_bytes()]);
            // Not begun: the next request runs, whatever it is.
            if free { None } else { Some(answer(Duration::ZERO).await) }
        });
        let late = match late {
            Ok(IdempotentOutcome::First { response, .. }) => response,
            other => panic!("{other:?}"),
        };
        assert_eq!((late.code, late.applied), (Some(Code::IdempotencyStoreUnavailable), Some(Applied::No)));
        if let Some(next) = next {
            assert!(matches!(next, Ok(IdempotentOutcome::First { response, .. }) if response.status == 200));
            assert!(matches!(answer(Duration::ZERO).await, Ok(IdempotentOutcome::Replayed(_))));
            redis.ask::<()>(&[b"DEL", redis.keys()[0].as_bytes()]);
        }
    }
    assert_eq!(sent.load(Relaxed), 1);
    assert_eq!(redis.keys(), Vec::<String>::new());
    // A note that is written keeps the end of the lease.
    let (kept, ()) = tokio::join!(answer(Duration::from_millis(600)), async {
        eventually("it is claimed", async || !redis.keys().is_empty()).await;
        redis.ask::<()>(&[b"PEXPIRE", redis.keys()[0].as_bytes(), b"5000"]);
        eventually("it is noted", async || {
            let left: i64 = redis.ask(&[b"PTTL", redis.keys()[0].as_bytes()]);
            assert!(left <= 5_000 || (3_600_000..=3_605_000).contains(&left), "{left}");
            left > 5_000
        })
        .await;
    });
    assert!(matches!(kept, Ok(IdempotentOutcome::First { guaranteed: true, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_that_the_store_does_not_take_stops_the_update_unless_it_may_go_on() {
    let (sent, second) = (Arc::default(), Duration::from_secs(1));
    for (policy, goes_on) in [("refuse", false), ("proceed", true)] {
        let mut redis = Redis::start(&[]);
        let rig = Rig::start(0, "", "").await;
        let settings =
            format!("{}\nstore_timeout = \"2s\"\non_store_failure = \"{policy}\"", redis.setting());
        let live = live(&config(&rig.sandbox, &settings, ""));
        let work = noted(&sent, Duration::from_millis(600));
        let (outcome, ()) = tokio::join!(live.idempotency.answer(asked("k"), second, false, work), async {
            eventually("it is claimed", async || !redis.keys().is_empty()).await;
            redis.kill();
        });
        let Ok(IdempotentOutcome::First { response, guaranteed, .. }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!((response.status == 200, guaranteed), (goes_on, !goes_on));
        assert_eq!(sent.load(Relaxed), usize::from(goes_on));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_and_a_turn_cost_two_round_trips_each_and_a_replay_one() {
    let redis = Redis::start(&[]);
    let rig = patient(&redis, 1, "").await;
    let scripts = || {
        let stats: String = redis.ask(&[b"INFO", b"commandstats"]);
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_eval:calls="));
        calls.map_or(0, |calls| calls.split(',').next().unwrap().parse::<u32>().unwrap())
    };
    for (key, after) in [("a", 4), ("a", 5), ("b", 9)] {
        assert_eq!(rig.update(0, key).await.status, 200);
        // The turn is given back in the background.
        rig.gateways[0].live().idempotency.idle().await;
        assert_eq!(scripts(), after, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_its_time_is_over_a_key_is_new() {
    let redis = Redis::start(&[]);
    let rig = patient(&redis, 2, "ttl = \"500ms\"").await;
    assert_eq!(rig.update(0, "k").await.status, 200);
    let other = || rig.send(1, PATH, &[("idempotency-key", "k")], r#"{"context":{"order_id":"A-2"}}"#);
    let again = until(other, |reply| reply.status != 422).await;
    assert!(again.status == 200 && !again.is_replay(), "{again:?}");
    assert_eq!(rig.calls().await.0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_record_of_this_key_is_refused_and_nothing_is_sent() {
    let redis = Redis::start(&[]);
    // Even where failures of the store are overlooked: something was recorded, only what is not known.
    let rig = patient(&redis, 1, "on_store_failure = \"proceed\"").await;
    assert_eq!(rig.update(0, "a").await.status, 200);
    let name = redis.keys().remove(0);
    let good: Vec<u8> = redis.ask(&[b"GET", name.as_bytes()]);
    let other = {
        assert_eq!(rig.update(0, "b").await.status, 200);
        redis.keys().into_iter().find(|key| *key != name).unwrap()
    };
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let foreign: Vec<u8> = redis.ask(&[b"GET", other.as_bytes()]);
    let newer = [b"parlance/9 done ".as_slice(), &good[16..]].concat();
    let calls = rig.calls().await.0;
    for poison in [&b""[..], b"rubbish", &good[..good.len() - 1], &flipped, &foreign, &newer] {
        redis.ask::<()>(&[b"SET", name.as_bytes(), poison]);
        let reply = rig.update(0, "a").await;
        assert_eq!((reply.status, reply.code().as_str()), (503, "idempotency-store-unavailable"));
    }
    redis.ask::<()>(&[b"DEL", name.as_bytes()]);
    redis.ask::<()>(&[b"RPUSH", name.as_bytes(), b"a list"]);
    assert_eq!(rig.update(0, "a").await.status, 503);
    assert_eq!(rig.calls().await.0, calls, "something was sent");
    assert_eq!(rig.gateways[0].live().idempotency.stats().invalid_records, 7);
    redis.ask::<()>(&[b"DEL", name.as_bytes()]);
    redis.ask::<()>(&[b"SET", name.as_bytes(), &good]);
    assert!(rig.update(0, "a").await.is_replay());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_learns_nothing_of_caller_key_path_and_request() {
    let redis = Redis::start(&[]);
    let rig = patient(&redis, 1, "").await;
    let headers = [("idempotency-key", "order-4711"), ("prefer", "return=minimal")];
    assert_eq!(rig.send(0, PATH, &headers, BODY).await.status, 204);
    let name = redis.keys().remove(0);
    let record: Vec<u8> = redis.ask(&[b"GET", name.as_bytes()]);
    let all = [name.as_bytes(), &record].concat();
    for secret in ["order-4711", "conv_def456", "order_id", "A-1"] {
        assert!(!all.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_tls_the_stores_certificate_is_checked() {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(parameters, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();

    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let ca_file = file("ca.pem", authority.pem());
    let tls_port = free_port();
    let _redis = Redis::start(&[
        "--tls-port",
        &tls_port.to_string(),
        "--tls-cert-file",
        &file("cert.pem", certificate.pem()),
        "--tls-key-file",
        &file("key.pem", key.serialize_pem()),
        "--tls-ca-cert-file",
        &ca_file,
        "--tls-auth-clients",
        "no",
    ]);
    let trusted = format!(
        "store = \"rediss://localhost:{tls_port}/0\"\nstore_timeout = \"5s\"\nca_file = \"{ca_file}\""
    );
    let rig = Rig::start(1, &trusted, "").await;
    assert_eq!(rig.update(0, "k").await.status, 200);
    assert!(rig.update(0, "k").await.is_replay());
    // The system's roots know nothing of this authority.
    let unknown = format!("store = \"rediss://localhost:{tls_port}/0\"\nstore_timeout = \"2s\"");
    let stranger = Rig::start(1, &unknown, "").await;
    assert_eq!(stranger.update(0, "k").await.code(), "idempotency-store-unavailable");
    // Nor is another name taken.
    let misnamed = trusted.replace("localhost", "127.0.0.1");
    let misnamed = Rig::start(1, &misnamed, "").await;
    assert_eq!(misnamed.update(0, "k").await.code(), "idempotency-store-unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_came_too_late_for_its_lease_is_given_back() {
    let redis = Redis::start(&[]);
    let rig = Rig::start(0, "", "").await;
    let settings = format!("{}\nstore_timeout = \"10s\"\nlease = \"5s\"", redis.setting());
    let live = live(&config(&rig.sandbox, &settings, ""));
    let short = Duration::from_millis(1);
    let first = live
        .idempotency
        .answer(asked("a"), short, true, |_| async { panic!("an answer that is kept") })
        .await;
    assert!(first.is_ok(), "connected");
    redis.freeze();
    let work = async { panic!("it was too late for this") };
    let (late, ()) = tokio::join!(
        // Work that takes as long as the lease: nothing is begun that could outlive it.
        live.idempotency.answer(asked("b"), Duration::from_secs(5), true, |_| work),
        async {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            redis.thaw();
        }
    );
    assert_eq!(late.unwrap_err().code, Code::IdempotencyStoreUnavailable);
    let stats = live.idempotency.stats();
    assert_eq!((stats.claims, stats.lost_leases, stats.store_failures), (2, 1, 0));
    assert_eq!(redis.keys().len(), 1, "the key is still taken");
}
