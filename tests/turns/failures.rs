//! Holders that die or are late, and a store that fails.

use std::time::{Duration, Instant};

use http::HeaderMap;
use parlance::idempotency::turns::TurnError;
use parlance::idempotency::turns::TurnKind::{Condition, Context, Plain};
use parlance::idempotency::{FingerprintInput, Idempotency, KeyedRequest, StoreError};
use parlance::types::deadline::{Deadline, Shutdown};
use parlance::types::request_id::RequestId;
use testkit::{PATIENCE, Redis, eventually};

use super::rig::{LEASE, process, processes, take, within};

const SHORT: Duration = Duration::from_millis(150);

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_never_releases_blocks_for_its_lease_and_is_told_later() {
    let redis = Redis::start(&[]);
    let processes = processes(&redis, 3);
    let begun = Instant::now();
    let mut late = take(&processes[0], Context, PATIENCE).await.unwrap();
    let valid = late.valid_until().unwrap();
    assert!(valid > begun + LEASE / 2 && valid < begun + LEASE, "{:?}", valid - begun);
    let mut next = take(&processes[1], Context, PATIENCE).await.unwrap();
    let waited = begun.elapsed();
    assert!(waited > LEASE - Duration::from_millis(50) && waited < LEASE + PATIENCE / 10, "{waited:?}");
    assert!(next.valid_until().unwrap() > valid);
    assert_eq!(late.confirm().await.unwrap_err(), TurnError::Lost);
    assert_eq!(late.confirm().await.unwrap_err(), TurnError::Lost);
    assert!(late.valid_until().unwrap() <= Instant::now());
    assert_eq!(processes[0].turns().stats().lost, 1);
    // Its end frees nothing: the turn is another's.
    drop(late);
    processes[0].idle().await;
    next.confirm().await.unwrap();
    assert_eq!(take(&processes[2], Context, SHORT).await.unwrap_err(), TurnError::Busy);
    next.confirm().await.unwrap();
    drop(next);
    assert!(take(&processes[2], Context, PATIENCE).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_holder_is_told_even_if_nobody_came_and_if_the_store_forgot() {
    let redis = Redis::start(&[]);
    let process = process(&redis, "lease = \"1s\"\nstore_timeout = \"10s\"");
    let mut late = take(&process, Condition, PATIENCE).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert!(late.valid_until().unwrap() < Instant::now());
    assert_eq!(late.confirm().await.unwrap_err(), TurnError::Lost);
    drop(late);
    // Also while the store knows the conversation still, because of another turn.
    let mut late = take(&process, Context, PATIENCE).await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let other = take(&process, Plain, PATIENCE).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(late.confirm().await.unwrap_err(), TurnError::Lost);
    drop((late, other));
    let mut forgotten = take(&process, Condition, PATIENCE).await.unwrap();
    redis.ask::<()>(&[b"FLUSHALL"]);
    assert_eq!(forgotten.confirm().await.unwrap_err(), TurnError::Lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_of_the_same_process_does_not_run_under_a_lease_that_was_lost() {
    let redis = Redis::start(&[]);
    let processes = processes(&redis, 2);
    let late = take(&processes[0], Context, PATIENCE).await.unwrap();
    let turns = processes[0].turns().clone();
    let waiting = tokio::spawn(async move { turns.take("sms:conv_1", Context, &within(PATIENCE)).await });
    eventually("it waits", async || processes[0].turns().stats().waiting == 1).await;
    let mut other = take(&processes[1], Context, PATIENCE).await.unwrap();
    drop(late);
    tokio::time::sleep(SHORT).await;
    assert!(!waiting.is_finished(), "another process has the turn");
    other.confirm().await.unwrap();
    drop(other);
    waiting.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_lease_is_extended() {
    let redis = Redis::start(&[]);
    let processes = processes(&redis, 2);
    let mut held = take(&processes[0], Condition, PATIENCE).await.unwrap();
    let begun = Instant::now();
    let other = async {
        let result = take(&processes[1], Plain, LEASE * 2).await;
        assert_eq!(result.unwrap_err(), TurnError::Busy);
    };
    let holder = async {
        while begun.elapsed() < LEASE * 2 {
            let before = held.valid_until();
            tokio::time::sleep(LEASE / 8).await;
            held.confirm().await.unwrap();
            assert!(held.valid_until() > before);
        }
    };
    tokio::join!(other, holder);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_with_the_deadline_and_with_the_process() {
    let redis = Redis::start(&[]);
    let processes: Vec<_> =
        (0..2).map(|_| process(&redis, "lease = \"60s\"\nstore_timeout = \"20s\"")).collect();
    let _held = take(&processes[0], Condition, PATIENCE).await.unwrap();
    let begun = Instant::now();
    assert_eq!(take(&processes[1], Context, SHORT).await.unwrap_err(), TurnError::Busy);
    assert!(begun.elapsed() >= SHORT && begun.elapsed() < SHORT + PATIENCE / 10, "{:?}", begun.elapsed());
    let shutdown = Shutdown::default();
    let leaving = Deadline::after(PATIENCE, &shutdown);
    let turns = processes[1].turns().clone();
    let waiting = tokio::spawn(async move { turns.take("sms:conv_1", Context, &leaving).await });
    eventually("it waits", async || processes[1].turns().stats().waiting == 1).await;
    shutdown.trigger();
    assert_eq!(waiting.await.unwrap().unwrap_err(), TurnError::Shutdown);
    let stats = processes[1].turns().stats();
    assert_eq!((stats.waited, stats.busy, stats.waiting), (2, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_down_is_an_error_and_the_process_still_keeps_its_order() {
    let mut redis = Redis::start(&[]);
    let process = process(&redis, "store_timeout = \"400ms\"");
    let held = take(&process, Context, PATIENCE).await.unwrap();
    redis.kill();
    let mut held = held;
    assert!(matches!(held.confirm().await, Err(TurnError::Store(_))), "nothing is known of it");
    drop(held);
    let begun = Instant::now();
    for _ in 0..20 {
        let error = take(&process, Context, PATIENCE).await.unwrap_err();
        assert!(matches!(error, TurnError::Store(StoreError::Down)), "{error:?}");
    }
    assert!(begun.elapsed() < PATIENCE / 3, "{:?}", begun.elapsed());
    // Where an update may proceed without the store, it still waits in this process.
    let here = async |reads_first, limit, told: &mut bool| {
        let on_wait = async { *told = true };
        process.turns().take_if_possible("sms:conv_1", (Context, reads_first), &within(limit), on_wait).await
    };
    let (mut first, mut second) = (false, false);
    let refused = here(true, PATIENCE, &mut first).await.unwrap_err();
    assert!(matches!(refused, TurnError::Store(_)), "{refused:?}");
    let taken = here(false, PATIENCE, &mut first).await.unwrap();
    assert_eq!(here(false, SHORT, &mut second).await.unwrap_err(), TurnError::Busy);
    assert_eq!((first, second), (false, true));
    drop(taken);
    redis.run();
    let end = Instant::now() + PATIENCE;
    while let Err(error) = take(&process, Context, PATIENCE).await {
        assert!(Instant::now() < end, "{error:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_a_frozen_store_gave_too_late_is_given_back() {
    let redis = Redis::start(&[]);
    let hasty = process(&redis, "lease = \"120s\"\nstore_timeout = \"200ms\"");
    let patient = process(&redis, "lease = \"120s\"\nstore_timeout = \"20s\"");
    for warm in [&hasty, &patient] {
        let end = Instant::now() + PATIENCE;
        while let Err(error) = take(warm, Plain, PATIENCE).await {
            assert!(Instant::now() < end, "{error:?}");
        }
        warm.idle().await;
    }
    redis.freeze();
    let begun = Instant::now();
    assert_eq!(take(&hasty, Condition, PATIENCE).await.unwrap_err(), TurnError::Store(StoreError::Slow));
    assert!(begun.elapsed() < PATIENCE / 6, "{:?}", begun.elapsed());
    // Its caller is gone before the store's patience is over.
    let gone = take(&patient, Condition, PATIENCE);
    assert!(tokio::time::timeout(SHORT, gone).await.is_err());
    redis.thaw();
    for process in [&patient, &hasty] {
        let end = Instant::now() + PATIENCE;
        loop {
            match take(process, Condition, PATIENCE).await {
                Ok(_) => break,
                Err(error) => assert!(Instant::now() < end && error != TurnError::Busy, "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_another_program_is_an_error_of_this_conversation_alone() {
    let redis = Redis::start(&[]);
    let process = process(&redis, "store_timeout = \"10s\"");
    let turn = take(&process, Context, PATIENCE).await.unwrap();
    let key = redis.ask::<Vec<String>>(super::rig::KEYS).remove(0);
    // A field that nobody understands is removed.
    redis.ask::<()>(&[b"HSET", key.as_bytes(), b"hother", b"rubbish", b"n", b"rubbish"]);
    drop(turn);
    process.idle().await;
    drop(take(&process, Condition, PATIENCE).await.unwrap());
    process.idle().await;
    redis.ask::<()>(&[b"SET", key.as_bytes(), b"a string"]);
    let error = take(&process, Context, PATIENCE).await.unwrap_err();
    assert_eq!(error, TurnError::Store(StoreError::Refused("WRONGTYPE".to_owned())));
    let other = process.turns().take("sms:conv_2", Context, &within(PATIENCE)).await;
    assert!(other.is_ok());
}

/// Runs an update with a key; true if it was guaranteed.
async fn update(process: &Idempotency, key: &str) -> bool {
    let input = FingerprintInput {
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
    let keyed = KeyedRequest::new(&input, "sms:conv_1".into(), false, RequestId::of(&HeaderMap::new()));
    // What is kept of a defect is no matter here.
    let work = |_| async { panic!("an answer that is kept") };
    process.answer(keyed, Duration::from_millis(1), true, work).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_server_closed_costs_no_request() {
    let redis = Redis::start(&[]);
    let process = process(&redis, "store_timeout = \"10s\"");
    drop(take(&process, Context, PATIENCE).await.unwrap());
    for round in 0..20 {
        process.idle().await;
        redis.ask::<i64>(&[b"CLIENT", b"KILL", b"TYPE", b"normal", b"SKIPME", b"yes"]);
        // At once, and after the end of the connection was noticed.
        tokio::time::sleep(Duration::from_millis(10 * (round % 3))).await;
        if round % 2 == 0 {
            drop(take(&process, Context, PATIENCE).await.unwrap());
        } else {
            assert!(update(&process, &format!("k{round}")).await, "round {round}");
        }
    }
    assert_eq!(process.stats().store_failures, 0);
}
