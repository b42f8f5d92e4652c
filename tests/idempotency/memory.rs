//! Records in memory: bounds, ends, and a model of the whole with holders that die at every point.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use parlance::gateway::snapshot::Snapshot;
use parlance::idempotency::memory::{Limits, Memory};
use parlance::idempotency::{
    Claim, ClaimOutcome, Fingerprint, FingerprintInput, IdempotentOutcome, Key, KeyedRequest, Lifetimes,
    StoreError, StoredResponse, Token, Worked,
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
    Fingerprint([number; 48])
}

/// The claim of a request with this key and fingerprint; the claim's number is its token.
fn claim(number: u8, with: u8, token: u32) -> Claim {
    let keyed = KeyedRequest {
        key: key(number),
        fingerprint: print(with),
        caller: None,
        conversation: Arc::from("sms:conv_1"),
        repeat_is_safe: false,
        request_id: RequestId::of(&HeaderMap::new()),
    };
    let lifetimes = Lifetimes { ttl: TTL, lease: LEASE, store_timeout: LEASE };
    Claim { keyed, token: Token(u128::from(token).to_be_bytes()), lifetimes, sends_at_once: true }
}

/// The claim of one caller's request.
fn claim_of(caller: &str, number: u8) -> Claim {
    let mut claim = claim(number, 1, number.into());
    claim.keyed.caller = Some(Arc::from(caller));
    claim.keyed.key.0[31] = caller.len().try_into().unwrap();
    claim
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

fn is_done(outcome: &Result<ClaimOutcome, StoreError>, with_body: bool) -> bool {
    matches!(outcome, Ok(ClaimOutcome::Done { whole, .. }) if *whole == with_body)
}

const CLAIMED: Result<ClaimOutcome, StoreError> = Ok(ClaimOutcome::Claimed);

#[test]
fn a_full_share_takes_no_new_key_and_forgets_none() {
    let (memory, now) = (memory(3, 1 << 20), Instant::now());
    for number in 1..=2 {
        let claim = claim(number, 1, 1);
        assert_eq!(memory.claim(now, &claim), CLAIMED);
        assert!(memory.complete(now, &claim, &answer("x"), true));
    }
    let held = claim(3, 1, 1);
    assert_eq!(memory.claim(now, &held), CLAIMED);
    // Answers and keys in use alike.
    let next = claim(4, 1, 1);
    assert_eq!(memory.claim(now, &next), Err(StoreError::Full));
    for number in 1..=2 {
        assert!(is_done(&memory.claim(now, &claim(number, 1, 2)), true));
    }
    memory.release(&claim(3, 1, 99));
    assert_eq!(memory.claim(now, &next), Err(StoreError::Full), "a stranger cannot free a key");
    memory.release(&held);
    assert_eq!(memory.claim(now, &next), CLAIMED);
    // The first two end with their time.
    assert_eq!(memory.claim(now + TTL, &claim(5, 1, 1)), CLAIMED);
    assert_eq!(memory.claim(now + TTL, &claim(1, 2, 1)), CLAIMED);
}

#[test]
fn under_pressure_the_oldest_bodies_go_and_their_keys_stay() {
    let (memory, now) = (memory(1000, 10_000), Instant::now());
    let store = |number: u8, bytes: usize| {
        let claim = claim(number, 1, 1);
        assert_eq!(memory.claim(now, &claim), CLAIMED);
        assert!(memory.complete(now, &claim, &answer(&"x".repeat(bytes)), true));
    };
    let again = |number| memory.claim(now, &claim(number, 1, 2));
    (0..20).for_each(|number| store(number, 1_000));
    let fill = memory.occupancy(now);
    assert!((9_000..=10_000).contains(&fill.bytes) && fill.entries == 20 && fill.evicted == 11, "{fill:?}");
    (0..11).for_each(|number| assert!(is_done(&again(number), false), "{number}"));
    (11..20).for_each(|number| assert!(is_done(&again(number), true), "{number}"));
    // What is larger than the share is kept without its body, at no cost for the others.
    store(100, 50_000);
    assert!(is_done(&again(100), false) && is_done(&again(11), true));
    memory.limit(Limits { entries: 1, bytes: 0 });
    let fill = memory.occupancy(now);
    assert_eq!((fill.entries, fill.bytes), (21, 0), "a smaller limit forgets no key");
    assert_eq!(again(101), Err(StoreError::Full));
    let empty = memory.occupancy(now + TTL);
    assert_eq!((empty.entries, empty.held, empty.bytes), (0, 0, 0));
}

#[test]
fn callers_push_out_nothing_of_each_other() {
    let (memory, now) = (memory(10, 10_000), Instant::now());
    let victim = claim_of("victim", 0);
    assert_eq!(memory.claim(now, &victim), CLAIMED);
    assert!(memory.complete(now, &victim, &answer(&"v".repeat(5_000)), true));
    let mut refused = 0;
    for number in 0..100 {
        let claim = claim_of("low", number);
        match memory.claim(now, &claim) {
            CLAIMED => assert!(memory.complete(now, &claim, &answer(&"x".repeat(9_000)), true)),
            Err(StoreError::Full) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 90);
    assert!(is_done(&memory.claim(now, &victim), true));
    let unused = claim_of("victim", 1);
    assert_eq!(memory.claim(now, &unused), CLAIMED, "the others go on");
}

#[test]
fn what_was_given_less_time_by_another_configuration_ends_before_what_came_first() {
    let (memory, now) = (memory(4, 1 << 20), Instant::now());
    let short = Duration::from_secs(1);
    for (number, ttl) in [(1, TTL), (2, short)] {
        let mut claim = claim(number, 1, 1);
        claim.lifetimes.ttl = ttl;
        assert_eq!(memory.claim(now, &claim), CLAIMED);
        assert!(memory.complete(now, &claim, &answer("x"), true));
    }
    for (number, lease) in [(3, LEASE), (4, short)] {
        let mut claim = claim(number, 1, 1);
        (claim.lifetimes.lease, claim.sends_at_once) = (lease, false);
        assert_eq!(memory.claim(now, &claim), CLAIMED);
    }
    let later = now + Duration::from_secs(2);
    let again = |number| memory.claim(later, &claim(number, 2, 2));
    assert!(is_done(&again(1), true));
    assert!(matches!(again(3), Ok(ClaimOutcome::Running { .. })));
    // In a full share: room is where something ended.
    assert_eq!((again(5), again(6), again(7)), (CLAIMED, CLAIMED, Err(StoreError::Full)));
}

#[test]
fn a_key_that_had_begun_is_used_again_only_where_a_repetition_does_no_harm() {
    let (memory, now) = (memory(10, 1 << 20), Instant::now());
    let over = now + LEASE;
    let waiting = |number, repeat| {
        let mut claim = claim(number, 1, 1);
        (claim.sends_at_once, claim.keyed.repeat_is_safe) = (false, repeat);
        claim
    };
    let next = |number, with, repeat| {
        let mut claim = claim(number, with, 2);
        claim.keyed.repeat_is_safe = repeat;
        claim
    };
    // Not marked: nothing was sent, and nothing ever will be.
    let first = waiting(1, false);
    assert_eq!(memory.claim(now, &first), CLAIMED);
    assert!(!memory.mark(over, &first), "its lease is over");
    assert_eq!(memory.claim(over, &next(1, 1, false)), CLAIMED);
    assert!(!memory.mark(over, &first), "the key is another's");
    // Marked: it may have been sent.
    for (number, repeat) in [(2, false), (3, true)] {
        let first = waiting(number, repeat);
        assert_eq!(memory.claim(now, &first), CLAIMED);
        assert!(memory.mark(now, &first));
        assert!(matches!(memory.claim(now, &next(number, 1, repeat)), Ok(ClaimOutcome::Running { .. })));
        let other = memory.claim(over, &next(number, 2, repeat));
        assert!(matches!(other, Ok(ClaimOutcome::Unknown { fingerprint, .. }) if fingerprint == print(1)));
        let again = memory.claim(over, &next(number, 1, repeat));
        if repeat {
            assert_eq!(again, CLAIMED);
            assert!(!memory.complete(over, &first, &answer("late"), true), "the key is another's");
        } else {
            assert!(matches!(again, Ok(ClaimOutcome::Unknown { .. })));
            let last = over + TTL - Duration::from_millis(1);
            assert!(matches!(memory.claim(last, &next(number, 1, false)), Ok(ClaimOutcome::Unknown { .. })));
            // The answer comes after all.
            assert!(memory.complete(last, &first, &answer("late"), true));
            assert!(is_done(&memory.claim(over + TTL, &next(number, 1, false)), true));
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// A request comes, with a key and a fingerprint.
    Ask(u8, u8),
    /// A holder is about to send.
    Mark(usize),
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
        1 => (0..4usize).prop_map(Step::Mark),
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
    Held { holder: u32, print: u8, until: Instant, begun: bool },
    Unknown { holder: u32, print: u8, until: Instant },
    Done { text: String, print: u8, until: Instant },
}

impl Model {
    /// Its state at a later time.
    fn at(self, now: Instant) -> Option<Model> {
        match self {
            Model::Held { holder, print, until, begun: true } if until <= now => {
                Model::Unknown { holder, print, until: until + TTL }.at(now)
            }
            Model::Held { until, .. } | Model::Unknown { until, .. } | Model::Done { until, .. } => {
                (until > now).then_some(self)
            }
        }
    }

    fn is_of(&self, number: u32) -> bool {
        matches!(self, Model::Held { holder, .. } | Model::Unknown { holder, .. } if *holder == number)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// At every step the store says what the model says; and of holders that marked, no two are of one key without the
    /// time of a record between them.
    #[test]
    fn the_store_is_the_model(steps in steps()) {
        let memory = memory(100, 1 << 20);
        let mut now = Instant::now();
        let mut model: BTreeMap<u8, Model> = BTreeMap::new();
        let mut working: Vec<(u8, Claim, u32)> = Vec::new();
        let mut next = 0;
        for step in steps {
            model = model.into_iter().filter_map(|(key, known)| Some((key, known.at(now)?))).collect();
            match step {
                Step::Ask(asked, with) => {
                    next += 1;
                    let mut claim = claim(asked, with, next);
                    claim.sends_at_once = next % 2 == 0;
                    let found = memory.claim(now, &claim).unwrap();
                    let expected = match model.get(&asked) {
                        None => {
                            let begun = claim.sends_at_once;
                            model.insert(asked, Model::Held { holder: next, print: with, until: now + LEASE, begun });
                            working.push((asked, claim, next));
                            ClaimOutcome::Claimed
                        }
                        Some(Model::Held { print: of, .. }) => ClaimOutcome::Running { fingerprint: print(*of) },
                        Some(Model::Unknown { print: of, holder, .. }) => {
                            let token = Token(u128::from(*holder).to_be_bytes());
                            ClaimOutcome::Unknown { fingerprint: print(*of), token }
                        }
                        Some(Model::Done { print: of, text, .. }) => {
                            ClaimOutcome::Done { fingerprint: print(*of), response: answer(text), whole: true }
                        }
                    };
                    prop_assert_eq!(found, expected);
                }
                Step::Mark(at) if at < working.len() => {
                    let (asked, claim, holder) = &working[at];
                    let known = model.get_mut(asked).filter(|known| known.is_of(*holder));
                    let may = match known {
                        Some(Model::Held { begun, .. }) => { *begun = true; true }
                        _ => false,
                    };
                    prop_assert_eq!(memory.mark(now, claim), may);
                }
                Step::Complete(at) if at < working.len() => {
                    let (asked, claim, holder) = working.swap_remove(at);
                    let text = format!("answer of {holder}");
                    let kept = memory.complete(now, &claim, &answer(&text), true);
                    let may = model.get(&asked).is_none_or(|known| known.is_of(holder));
                    prop_assert_eq!(kept, may);
                    if may {
                        let print = claim.keyed.fingerprint.0[0];
                        model.insert(asked, Model::Done { text, print, until: now + TTL });
                    }
                }
                Step::Release(at) if at < working.len() => {
                    let (asked, claim, holder) = working.swap_remove(at);
                    memory.release(&claim);
                    if model.get(&asked).is_some_and(|known| known.is_of(holder)) {
                        model.remove(&asked);
                    }
                }
                Step::Crash(at) if at < working.len() => {
                    working.swap_remove(at);
                }
                Step::Wait(seconds) => now += Duration::from_secs(seconds.into()),
                Step::Mark(_) | Step::Complete(_) | Step::Release(_) | Step::Crash(_) => {}
            }
        }
        let left: Vec<Model> = model.into_values().filter_map(|known| known.at(now)).collect();
        let held = left.iter().filter(|known| matches!(known, Model::Held { .. })).count();
        let fill = memory.occupancy(now);
        prop_assert_eq!((fill.entries, fill.held), (left.len(), held));
        let gone = memory.occupancy(now + LEASE + TTL + TTL);
        prop_assert_eq!((gone.entries, gone.held, gone.bytes), (0, 0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_share_refuses_the_next_key_until_a_record_ends() {
    let mut rig = Rig::start(1, "max_entries = 1\nttl = \"2s\"", "").await;
    rig.add("max_entries = 1\non_store_failure = \"proceed\"").await;
    assert_eq!(rig.update(0, "a").await.status, 200);
    let full = rig.update(0, "b").await;
    full.is_problem(503, "idempotency-store-unavailable");
    let problem = full.json();
    assert_eq!((&problem["retryable"], &problem["update_applied"]), (&true.into(), &"no".into()));
    assert!(problem["detail"].as_str().unwrap().contains("share"), "{problem}");
    assert!(full.retry_after().is_some());
    assert!(rig.update(0, "a").await.is_replay());
    assert_eq!(rig.send(0, PATH, &[], BODY).await.status, 200);
    assert_eq!(rig.calls().await.0, 2);
    assert_eq!(until(|| rig.update(0, "b"), |reply| reply.status != 503).await.status, 200);
    // Where failures of the store are overlooked, it goes on without a promise.
    assert_eq!(rig.update(1, "a").await.header("idempotency-status"), None);
    assert_eq!(rig.update(1, "b").await.header("idempotency-status"), Some("not-guaranteed"));
    assert!(rig.gateways[0].live().idempotency.stats().full >= 1);
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
        condition: None,
        body: b"{}",
    };
    KeyedRequest::new(&words, Arc::from("sms:conv_1"), false, RequestId::of(&HeaderMap::new()))
}

#[tokio::test(flavor = "multi_thread")]
async fn records_outlive_a_configuration_and_are_counted_on() {
    let rig = Rig::in_memory().await;
    let first = live(&config(&rig.sandbox, "store = \"memory\"", ""));
    let work = |text: &'static str| {
        move |_| async move {
            Worked { result: Ok(answer(text)), answered_by: AnsweredBy::Vendor, waited: Duration::ZERO }
        }
    };
    let second = Duration::from_secs(1);
    assert!(first.idempotency.answer(asked(), second, true, work("one")).await.is_ok());
    let renewed =
        Snapshot::build(read(&config(&rig.sandbox, "ttl = \"1h\"\nmax_entries = 5", "")), Some(&first))
            .unwrap();
    match renewed.idempotency.answer(asked(), second, true, work("two")).await {
        Ok(IdempotentOutcome::Replayed(stored)) => assert_eq!(stored, answer("one")),
        other => panic!("{other:?}"),
    }
    assert_eq!((renewed.idempotency.stats().claims, renewed.idempotency.stats().replays), (1, 1));
    let elsewhere =
        Snapshot::build(read(&config(&rig.sandbox, "store = \"redis://127.0.0.1:1\"", "")), Some(&renewed))
            .unwrap();
    assert!(elsewhere.idempotency.answer(asked(), second, true, work("three")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_defect_in_the_middle_of_an_update_is_an_answer_that_is_kept() {
    let rig = Rig::in_memory().await;
    let live = live(&config(&rig.sandbox, "", ""));
    let second = Duration::from_secs(1);
    let broken = live.idempotency.answer(asked(), second, true, |_| async { panic!("a defect") }).await;
    let again = live.idempotency.answer(asked(), second, true, |_| async { unreachable!() }).await;
    let (Ok(IdempotentOutcome::First { response: first, .. }), Ok(again)) = (broken, again) else {
        panic!("no answers")
    };
    assert_eq!(first.status, 500);
    assert!(matches!(again, IdempotentOutcome::Replayed(stored) if stored == first));
    assert!(tokio::time::timeout(Duration::from_secs(10), live.idempotency.idle()).await.is_ok());
}
