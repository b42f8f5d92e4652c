//! Turns that exclude each other across processes, and their order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use parlance::idempotency::turns::TurnError;
use parlance::idempotency::turns::TurnKind::{self, Condition, Context, Plain};
use testkit::{PATIENCE, Redis, eventually, is_long};
use tokio::sync::Mutex;

use super::rig::{KEYS, process, processes, take, within};

const SHORT: Duration = Duration::from_millis(150);

#[tokio::test(flavor = "multi_thread")]
async fn kinds_exclude_each_other_across_processes() {
    let redis = Redis::start(&[]);
    let processes = processes(&redis, 2);
    for (held, asked, beside) in [
        (Plain, Plain, true),
        (Plain, Context, true),
        (Plain, Condition, false),
        (Context, Plain, true),
        (Context, Context, false),
        (Context, Condition, false),
        (Condition, Plain, false),
        (Condition, Context, false),
        (Condition, Condition, false),
    ] {
        let holder = take(&processes[0], held, PATIENCE).await.unwrap();
        let limit = if beside { PATIENCE } else { SHORT };
        let second = take(&processes[1], asked, limit).await;
        assert_eq!(second.is_ok(), beside, "{asked:?} beside {held:?}: {second:?}");
        let other = processes[1].turns().take("sms:conv_2", asked, &within(PATIENCE)).await;
        assert!(other.is_ok(), "another conversation");
        drop((holder, second, other));
        let after = take(&processes[1], asked, PATIENCE).await;
        assert!(after.is_ok(), "{asked:?} after {held:?}: {after:?}");
    }
    for process in &processes {
        process.idle().await;
    }
    assert!(redis.ask::<Vec<String>>(KEYS).is_empty(), "nothing is left in the store");
}

/// Turns at work, as their holders count them.
#[derive(Debug, Default)]
struct AtWork([AtomicUsize; 3]);

impl AtWork {
    fn enter(&self, kind: TurnKind) {
        self.0[kind as usize].fetch_add(1, SeqCst);
        let [plain, context, condition] = self.0.each_ref().map(|count| count.load(SeqCst));
        assert!(context <= 1 && condition <= 1, "{context} contexts, {condition} conditions");
        assert!(condition == 0 || plain + context == 0, "a condition beside {plain} and {context}");
    }

    fn leave(&self, kind: TurnKind) {
        self.0[kind as usize].fetch_sub(1, SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_processes_contend() {
    let redis = Redis::start(&[]);
    // Longer than any turn here, also on a busy machine.
    let settings = "lease = \"60s\"\nstore_timeout = \"20s\"";
    let processes: Vec<_> = (0..3).map(|_| process(&redis, settings)).collect();
    let work: Arc<[AtWork; 2]> = Arc::default();
    let rounds = if is_long() { 200 } else { 20 };
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..30 {
        let (turns, work) = (processes[number % 3].turns().clone(), Arc::clone(&work));
        tasks.spawn(async move {
            let mut done = 0;
            for round in 0..rounds {
                let (conversation, kind) = ((number / 3 + round) % 2, fastrand::usize(0..6));
                let kind = [Plain, Plain, Context, Context, Context, Condition][kind];
                // Some callers go away early.
                let patience = if fastrand::u8(0..8) == 0 { Duration::from_millis(3) } else { 4 * PATIENCE };
                let (name, deadline) = (conversation.to_string(), within(4 * PATIENCE));
                let taking = turns.take(&name, kind, &deadline);
                let Ok(turn) = tokio::time::timeout(patience, taking).await else { continue };
                let turn = turn.unwrap();
                work[conversation].enter(kind);
                if fastrand::bool() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                work[conversation].leave(kind);
                drop(turn);
                done += 1;
            }
            done
        });
    }
    let done: usize = tasks.join_all().await.into_iter().sum();
    assert!(done > 20 * rounds, "{done} turns");
    for process in &processes {
        process.idle().await;
        assert_eq!((process.turns().stats().lost, process.turns().stats().waiting), (0, 0));
    }
    assert!(redis.ask::<Vec<String>>(KEYS).is_empty(), "nothing is left in the store");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_keeps_a_conversation_to_itself() {
    let redis = Redis::start(&[]);
    let processes: Vec<_> =
        (0..2).map(|_| process(&redis, "lease = \"120s\"\nstore_timeout = \"20s\"")).collect();
    let first = take(&processes[0], Context, PATIENCE).await.unwrap();
    let order: Arc<Mutex<Vec<usize>>> = Arc::default();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..60 {
        let (turns, order) = (processes[number % 2].turns().clone(), Arc::clone(&order));
        tasks.spawn(async move {
            let turn = turns.take("sms:conv_1", Context, &within(PATIENCE)).await.unwrap();
            order.lock().await.push(number % 2);
            tokio::time::sleep(Duration::from_millis(2)).await;
            drop(turn);
        });
    }
    eventually("all wait", async || processes.iter().map(|it| it.turns().stats().waiting).sum::<u64>() == 60)
        .await;
    drop(first);
    tasks.join_all().await;
    let order = order.lock().await;
    assert_eq!(order.len(), 60);
    // A lease serves at most nine turns; at the end one process is alone.
    let tail = order.iter().rev().take_while(|it| **it == order[59]).count();
    let runs_before_the_end = order[..60 - tail].chunk_by(|a, b| a == b).map(<[usize]>::len);
    assert!(runs_before_the_end.clone().all(|run| run <= 9), "{order:?}");
    assert!(runs_before_the_end.count() >= 4, "{order:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_condition_that_waits_all_others_wait() {
    let redis = Redis::start(&[]);
    let processes = processes(&redis, 3);
    let plain = take(&processes[0], Plain, PATIENCE).await.unwrap();
    let turns = processes[1].turns().clone();
    let condition = tokio::spawn(async move { turns.take("sms:conv_1", Condition, &within(PATIENCE)).await });
    eventually("it waits", async || processes[1].turns().stats().waiting == 1).await;
    for kind in [Plain, Context] {
        assert_eq!(take(&processes[2], kind, SHORT).await.unwrap_err(), TurnError::Busy, "{kind:?}");
        assert_eq!(take(&processes[0], kind, SHORT).await.unwrap_err(), TurnError::Busy, "{kind:?}");
    }
    drop(plain);
    let condition = condition.await.unwrap().unwrap();
    assert_eq!(take(&processes[2], Plain, SHORT).await.unwrap_err(), TurnError::Busy);
    drop(condition);
    assert!(take(&processes[2], Plain, PATIENCE).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_that_goes_away_is_forgotten_at_once_and_one_that_died_soon() {
    let redis = Redis::start(&[]);
    let processes = processes(&redis, 2);
    let plain = take(&processes[0], Plain, PATIENCE).await.unwrap();
    assert_eq!(take(&processes[1], Condition, SHORT).await.unwrap_err(), TurnError::Busy);
    processes[1].idle().await;
    let key = redis.ask::<Vec<String>>(KEYS).remove(0);
    let fields = redis.ask::<Vec<String>>(&[b"HKEYS", key.as_bytes()]);
    assert!(!fields.iter().any(|field| field.starts_with('w')), "{fields:?}");
    // One of a process that was killed a moment ago.
    let time: Vec<u64> = redis.ask(&[b"TIME"]);
    let ends = time[0] * 1000 + time[1] / 1000 + 500;
    let waiter = format!("c {ends} 1");
    redis.ask::<()>(&[b"HSET", key.as_bytes(), b"wdead", waiter.as_bytes()]);
    let begun = Instant::now();
    let second = take(&processes[1], Plain, PATIENCE).await.unwrap();
    assert!(begun.elapsed() > Duration::from_millis(300), "the condition was first");
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    drop((plain, second));
}

/// The number of scripts that the store has run.
fn scripts(redis: &Redis) -> u64 {
    let stats: String = redis.ask(&[b"INFO", b"commandstats"]);
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_eval:calls=")?.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_waits_is_no_load_on_the_store() {
    let redis = Redis::start(&[]);
    let processes: Vec<_> =
        (0..2).map(|_| process(&redis, "lease = \"240s\"\nstore_timeout = \"20s\"")).collect();
    let condition = take(&processes[0], Condition, PATIENCE).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let turns = processes[1].turns().clone();
        tasks.spawn(async move { drop(turns.take("sms:conv_1", Plain, &within(PATIENCE)).await.unwrap()) });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = scripts(&redis);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let each_second = (scripts(&redis) - before) / 2;
    assert!((1..1_000).contains(&each_second), "{each_second}");
    drop(condition);
    tasks.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uncontended_turn_is_one_round_trip_and_a_handed_one_none() {
    let redis = Redis::start(&[]);
    let process = &process(&redis, "lease = \"240s\"\nstore_timeout = \"20s\"");
    let turn = take(process, Context, PATIENCE).await.unwrap();
    assert_eq!(scripts(&redis), 1);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let turns = process.turns().clone();
        tasks.spawn(async move {
            drop(turns.take("sms:conv_1", Context, &within(PATIENCE)).await.unwrap());
        });
    }
    eventually("all wait", async || process.turns().stats().waiting == 8).await;
    assert_eq!(scripts(&redis), 1, "who waits in the process does not ask the store");
    drop(turn);
    tasks.join_all().await;
    process.idle().await;
    assert_eq!(scripts(&redis), 2, "one lease for all, and its release");
}
