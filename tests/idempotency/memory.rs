//! Records in memory: bounds, ends, and a model of the whole with holders that die at every point.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use parlance::gateway::snapshot::Snapshot;
use parlance::idempotency::memory::{Limits, Memory};
use parlance::idempotency::{
    ClaimOutcome, Fingerprint, FingerprintInput, IdempotentOutcome, Key, KeyedRequest, StoreError,
    StoredResponse, Token, Worked,
};
use parlance::types::code::AnsweredBy;
use parlance::types::request_id::RequestId;
use proptest::prelude::*;

use super::rig::{BODY, PATH, Rig, config, live, read, until};

const LEASE: Duration = Duration::from_secs(30);
const TTL: Duration = Duration::from_secs(300);

fn key(number: u8) -> Key {
    Key([number; 32])
}

fn print(number: u8) -> Fingerprint {
    Fingerprint([number; 32])
}

fn token(number: u32) -> Token {
    Token(u128::from(number).to_be_bytes())
}

fn answer(text: &str) -> StoredResponse {
    StoredResponse {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: Bytes::from(text.to_owned()),
        code: None,
        applied: None,
    }
}

fn memory(entries: usize, bytes: usize) -> Memory {
    Memory::new(Limits { entries, bytes })
}

#[test]
fn the_oldest_answers_go_first_and_keys_in_use_never() {
    let (memory, now) = (memory(3, 1 << 20), Instant::now());
    let claim = |number| memory.claim(now, key(number), print(1), token(number.into()), LEASE);
    let complete =
        |number: u8| memory.complete(now, key(number), print(1), token(number.into()), answer("x"), TTL);
    assert_eq!(claim(0), Ok(ClaimOutcome::Claimed));
    for number in 1..=5 {
        assert_eq!(claim(number), Ok(ClaimOutcome::Claimed));
        assert!(complete(number));
    }
    assert_eq!((memory.occupancy().entries, memory.occupancy().held, memory.occupancy().evicted), (3, 1, 3));
    assert!(matches!(claim(0), Ok(ClaimOutcome::Running { .. })));
    assert!(matches!(claim(5), Ok(ClaimOutcome::Done { .. })));
    // Room is made of answers only.
    assert_eq!((claim(6), claim(7)), (Ok(ClaimOutcome::Claimed), Ok(ClaimOutcome::Claimed)));
    assert_eq!(claim(8), Err(StoreError::Full));
    memory.release(key(6), token(99));
    assert_eq!(claim(8), Err(StoreError::Full), "a stranger cannot free a key");
    memory.release(key(6), token(6));
    assert_eq!(claim(8), Ok(ClaimOutcome::Claimed));
}

#[test]
fn bytes_are_bounded_and_the_newest_answer_is_kept_however_large() {
    let (memory, now) = (memory(1000, 10_000), Instant::now());
    let store = |number: u8, bytes: usize| {
        memory.claim(now, key(number), print(1), token(1), LEASE).unwrap();
        assert!(memory.complete(now, key(number), print(1), token(1), answer(&"x".repeat(bytes)), TTL));
    };
    (0..20).for_each(|number| store(number, 1_000));
    let fill = memory.occupancy();
    assert!(fill.bytes <= 10_000 && fill.entries >= 7, "{fill:?}");
    store(100, 50_000);
    assert_eq!(memory.occupancy().entries, 1);
    store(101, 10);
    assert_eq!(memory.occupancy().entries, 1);
    memory.limit(Limits { entries: 1000, bytes: 0 });
    assert_eq!((memory.occupancy().entries, memory.occupancy().bytes), (0, 0));
}

#[test]
fn what_was_given_less_time_by_another_configuration_ends_before_what_came_first() {
    let (memory, now) = (memory(10, 1 << 20), Instant::now());
    let short = Duration::from_secs(1);
    for (number, ttl) in [(1, TTL), (2, short)] {
        assert_eq!(memory.claim(now, key(number), print(1), token(1), LEASE), Ok(ClaimOutcome::Claimed));
        assert!(memory.complete(now, key(number), print(1), token(1), answer("x"), ttl));
    }
    for (number, lease) in [(3, LEASE), (4, short)] {
        assert_eq!(memory.claim(now, key(number), print(1), token(1), lease), Ok(ClaimOutcome::Claimed));
    }
    let later = now + Duration::from_secs(2);
    let claim = |number| memory.claim(later, key(number), print(2), token(2), LEASE);
    assert!(matches!(claim(1), Ok(ClaimOutcome::Done { .. })));
    assert!(matches!(claim(3), Ok(ClaimOutcome::Running { .. })));
    assert_eq!((claim(2), claim(4)), (Ok(ClaimOutcome::Claimed), Ok(ClaimOutcome::Claimed)));
}

#[derive(Debug, Clone)]
enum Step {
    /// A request comes, with a key and a fingerprint.
    Ask(u8, u8),
    /// A holder is done and records its answer.
    Complete(usize),
    /// A holder was refused and gives the key back.
    Release(usize),
    /// A holder dies, before or after the vendor was called: the store hears nothing of it.
    Crash(usize),
    /// Seconds pass.
    Wait(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3u8, 0..2u8).prop_map(|(key, print)| Step::Ask(key, print)),
        2 => (0..4usize).prop_map(Step::Complete),
        1 => (0..4usize).prop_map(Step::Release),
        1 => (0..4usize).prop_map(Step::Crash),
        2 => (1..200u16).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..80)
}

/// The record that the store should have of a key.
#[derive(Debug, Clone)]
enum Model {
    Held { holder: u32, print: u8, until: Instant },
    Done { text: String, print: u8, until: Instant },
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// At every step the store says what the model says; and a key is executed a second time only after its lease or
    /// its record ran out, or after it was given back.
    #[test]
    fn the_store_is_the_model(steps in steps()) {
        let memory = memory(100, 1 << 20);
        let mut now = Instant::now();
        let mut model: BTreeMap<u8, Model> = BTreeMap::new();
        let mut working: Vec<(u8, u8, u32)> = Vec::new();
        let mut next = 0;
        for step in steps {
            model.retain(|_, known| match known {
                Model::Held { until, .. } | Model::Done { until, .. } => *until > now,
            });
            match step {
                Step::Ask(asked, with) => {
                    next += 1;
                    let found = memory.claim(now, key(asked), print(with), token(next), LEASE).unwrap();
                    let expected = match model.get(&asked) {
                        None => {
                            model.insert(asked, Model::Held { holder: next, print: with, until: now + LEASE });
                            working.push((asked, with, next));
                            ClaimOutcome::Claimed
                        }
                        Some(Model::Held { print: of, .. }) => ClaimOutcome::Running { fingerprint: print(*of) },
                        Some(Model::Done { print: of, text, .. }) => {
                            ClaimOutcome::Done { fingerprint: print(*of), response: answer(text) }
                        }
                    };
                    prop_assert_eq!(found, expected);
                }
                Step::Complete(at) if at < working.len() => {
                    let (asked, with, holder) = working.swap_remove(at);
                    let text = format!("answer of {holder}");
                    let kept = memory.complete(now, key(asked), print(with), token(holder), answer(&text), TTL);
                    let may = match model.get(&asked) {
                        None => true,
                        Some(Model::Held { holder: of, .. }) => *of == holder,
                        Some(Model::Done { .. }) => false,
                    };
                    prop_assert_eq!(kept, may);
                    if may {
                        model.insert(asked, Model::Done { text, print: with, until: now + TTL });
                    }
                }
                Step::Release(at) if at < working.len() => {
                    let (asked, _, holder) = working.swap_remove(at);
                    memory.release(key(asked), token(holder));
                    if matches!(model.get(&asked), Some(Model::Held { holder: of, .. }) if *of == holder) {
                        model.remove(&asked);
                    }
                }
                Step::Crash(at) if at < working.len() => {
                    working.swap_remove(at);
                }
                Step::Wait(seconds) => now += Duration::from_secs(seconds.into()),
                Step::Complete(_) | Step::Release(_) | Step::Crash(_) => {}
            }
        }
        let held = model.values().filter(|known| matches!(known, Model::Held { until, .. } if *until > now)).count();
        prop_assert!(memory.occupancy().held >= held && memory.occupancy().entries <= 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_full_of_keys_in_use_refuses_the_next_one() {
    let rig = Rig::start(1, "max_entries = 1", "").await;
    rig.fault(r#"{"mode":"delay","delay_ms":700}"#).await;
    let (first, ()) = tokio::join!(rig.update(0, "a"), async {
        rig.called(1).await;
        let reply = rig.update(0, "b").await;
        assert_eq!((reply.status, reply.code().as_str()), (503, "idempotency-store-unavailable"));
        assert_eq!(rig.send(0, PATH, &[], BODY).await.status, 200);
    });
    assert_eq!(first.status, 200);
    assert_eq!(rig.update(0, "b").await.status, 200);
    assert_eq!(rig.calls().await.0, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_kept_for_its_time() {
    let rig = Rig::start(1, "ttl = \"300ms\"", "").await;
    assert_eq!(rig.update(0, "k").await.status, 200);
    let again = until(|| rig.update(0, "k"), |reply| !reply.is_replay()).await;
    assert_eq!(again.status, 200);
    assert_eq!(rig.calls().await.0, 2);
}

fn asked() -> KeyedRequest {
    let words = FingerprintInput {
        caller: None,
        key: "k",
        path: "/p",
        upstream: "sms",
        merge: false,
        lenient: false,
        minimal: false,
        body: b"{}",
    };
    KeyedRequest::new(&words, RequestId::of(&HeaderMap::new()))
}

#[tokio::test(flavor = "multi_thread")]
async fn records_outlive_a_configuration_and_are_counted_on() {
    let rig = Rig::in_memory().await;
    let first = live(&config(&rig.sandbox, "store = \"memory\"", ""));
    let work = |text: &'static str| async move {
        Worked { response: answer(text), answered_by: AnsweredBy::Vendor, waited: Duration::ZERO }
    };
    let second = Duration::from_secs(1);
    assert!(first.idempotency.answer(asked(), second, work("one")).await.is_ok());
    let renewed =
        Snapshot::build(read(&config(&rig.sandbox, "ttl = \"1h\"\nmax_entries = 5", "")), Some(&first))
            .unwrap();
    match renewed.idempotency.answer(asked(), second, work("two")).await {
        Ok(IdempotentOutcome::Replayed(stored)) => assert_eq!(stored, answer("one")),
        other => panic!("{other:?}"),
    }
    assert_eq!((renewed.idempotency.stats().claims, renewed.idempotency.stats().replays), (1, 1));
    let elsewhere =
        Snapshot::build(read(&config(&rig.sandbox, "store = \"redis://127.0.0.1:1\"", "")), Some(&renewed))
            .unwrap();
    assert!(elsewhere.idempotency.answer(asked(), second, work("three")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_defect_in_the_middle_of_an_update_is_an_answer_that_is_kept() {
    let rig = Rig::in_memory().await;
    let live = live(&config(&rig.sandbox, "", ""));
    let second = Duration::from_secs(1);
    let broken = live.idempotency.answer(asked(), second, async { panic!("a defect") }).await;
    let again = live.idempotency.answer(asked(), second, async { unreachable!() }).await;
    let (Ok(IdempotentOutcome::First { worked, .. }), Ok(again)) = (broken, again) else {
        panic!("no answers")
    };
    let first = worked.response;
    assert_eq!(first.status, 500);
    assert!(matches!(again, IdempotentOutcome::Replayed(stored) if stored == first));
    assert!(tokio::time::timeout(Duration::from_secs(10), live.idempotency.idle()).await.is_ok());
}
