//! Updates that are done twice when a store fails, for each way to set one up. `docs/idempotency.md` states these figures.
//!
//! Many keys are used while the store fails, then every key is used again. An update was doubled where the vendor's
//! ledger shows more than one effect of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use testkit::{Redis, Reply, eventually, is_long, record};
use tokio::task::JoinSet;

use super::relay::Relay;
use super::rig::{PATH, Rig, until};

/// A claim whose answer was lost holds its key for the lease.
const SETTINGS: &str = "lease = \"5s\"\nstore_timeout = \"2s\"";
const CALLERS: usize = 8;

type Keys = BTreeSet<usize>;

fn keys() -> usize {
    if is_long() { 1000 } else { 100 }
}

/// The time that callers take for the second half of the keys, while the replica lags.
fn lag() -> Duration {
    Duration::from_secs(if is_long() { 10 } else { 5 })
}

async fn start(store: &str) -> Arc<Rig> {
    Arc::new(Rig::start(2, &format!("{store}\n{SETTINGS}"), "").await)
}

fn body(key: usize) -> String {
    format!(r#"{{"context":{{"n":"{key}"}}}}"#)
}

async fn ask(rig: &Rig, key: usize, again: bool) -> Reply {
    let gateway = (key + usize::from(again)) % rig.gateways.len();
    rig.send(gateway, PATH, &[("idempotency-key", &format!("k{key}"))], &body(key)).await
}

/// The key may be free later: its claim's answer was lost, or the store is away.
fn is_to_be_repeated(reply: &Reply) -> bool {
    matches!(reply.code().as_str(), "idempotency-in-progress" | "idempotency-store-unavailable")
}

/// Uses keys by many callers at once, who wait for the store where it is away. Gives those that were answered.
async fn use_at_once(rig: &Arc<Rig>, keys: Range<usize>, done: &Arc<AtomicUsize>) -> Keys {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (rig, keys, done) = (Arc::clone(rig), keys.clone(), Arc::clone(done));
        callers.spawn(async move {
            let mut answered = Keys::new();
            for key in keys.skip(caller).step_by(CALLERS) {
                let present = |reply: &Reply| reply.code() != "idempotency-store-unavailable";
                let reply = until(|| ask(&rig, key, false), present).await;
                assert!(reply.status == 200 || is_to_be_repeated(&reply), "{reply:?}");
                if reply.status == 200 {
                    answered.insert(key);
                }
                done.fetch_add(1, Relaxed);
            }
            answered
        });
    }
    callers.join_all().await.into_iter().flatten().collect()
}

/// Uses keys one after the other, within that time. Gives those that were answered.
async fn use_in_turn(rig: &Rig, keys: Range<usize>, within: Duration) -> Keys {
    let mut pace = tokio::time::interval(within / u32::try_from(keys.len()).unwrap());
    let mut answered = Keys::new();
    for key in keys {
        pace.tick().await;
        let reply = ask(rig, key, false).await;
        assert!(reply.status == 200 || is_to_be_repeated(&reply), "{reply:?}");
        if reply.status == 200 {
            answered.insert(key);
        }
    }
    answered
}

/// Uses every key again, by way of the other gateway, until it is answered.
async fn repeat(rig: &Arc<Rig>) {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let rig = Arc::clone(rig);
        callers.spawn(async move {
            for key in (0..keys()).skip(caller).step_by(CALLERS) {
                let reply = until(|| ask(&rig, key, true), |reply| !is_to_be_repeated(reply)).await;
                assert_eq!(reply.status, 200, "{reply:?}");
            }
        });
    }
    callers.join_all().await;
}

/// The number of times that each update was done at the vendor.
async fn effects(rig: &Rig) -> BTreeMap<usize, usize> {
    let mut effects = BTreeMap::new();
    for body in rig.effects(None).await {
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        *effects.entry(body["metadata"]["n"].as_str().unwrap().parse().unwrap()).or_default() += 1;
    }
    effects
}

/// The updates that were done twice, now that every key was answered.
async fn doubled(rig: &Rig, row: &str) -> Keys {
    let effects = effects(rig).await;
    assert_eq!(effects.len(), keys(), "updates were lost");
    assert!(effects.values().all(|times| *times <= 2), "{effects:?}");
    let doubled: Keys = effects.into_iter().filter(|(_, times)| *times == 2).map(|(key, _)| key).collect();
    record(&format!("doubled updates: {row}"), doubled.len(), keys());
    doubled
}

/// Uses keys while the store is killed and started again, each time when so many of them were used.
async fn use_and_kill(rig: &Arc<Rig>, redis: &mut Redis, keys: Range<usize>, kill_at: &[usize]) -> Keys {
    let done = Arc::new(AtomicUsize::new(0));
    let (answered, ()) = tokio::join!(use_at_once(rig, keys, &done), async {
        for used in kill_at {
            while done.load(Relaxed) < *used {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            redis.kill();
            tokio::time::sleep(Duration::from_millis(50)).await;
            redis.run();
        }
    });
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_writes_before_it_answers_is_killed() {
    let mut redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let rig = start(&redis.setting()).await;
    let quarter = keys() / 4;
    let kill_at = [quarter, 2 * quarter, 3 * quarter];
    let answered = use_and_kill(&rig, &mut redis, 0..keys(), &kill_at).await;
    assert!(answered.len() > keys() / 2, "{} keys were answered", answered.len());
    repeat(&rig).await;
    assert_eq!(doubled(&rig, "store killed, fsync always").await, Keys::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_writes_every_second_is_killed() {
    let mut redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "everysec"]);
    let rig = start(&redis.setting()).await;
    let half = keys() / 2;
    use_at_once(&rig, 0..half, &Arc::default()).await;
    // While it is busy with what came before, it answers before it writes: for up to two seconds.
    eventually("all of it is written", async || {
        let info: String = redis.ask(&[b"INFO", b"persistence"]);
        ["aof_buffer_length:0\r\n", "aof_pending_bio_fsync:0\r\n"].iter().all(|done| info.contains(done))
    })
    .await;
    use_and_kill(&rig, &mut redis, half..keys(), &[half / 2]).await;
    repeat(&rig).await;
    let doubled = doubled(&rig, "store killed, fsync every second").await;
    assert!(doubled.range(..half).next().is_none(), "{doubled:?} were doubled, of all from {half} on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_persistence_is_restarted() {
    let mut redis = Redis::start(&[]);
    let rig = start(&redis.setting()).await;
    let answered = use_at_once(&rig, 0..keys(), &Arc::default()).await;
    redis.kill();
    redis.run();
    repeat(&rig).await;
    // All that was ever answered, for as long as the record would have lived.
    assert_eq!(doubled(&rig, "store without persistence restarted").await, answered);
}

/// Waits until the replica has everything.
async fn caught_up(main: &Redis, replica: &Redis) {
    let has = |of: &Redis, name: &str| {
        let info: String = of.ask(&[b"INFO", b"replication"]);
        info.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
    };
    eventually("the replica catches up", async || {
        has(replica, "master_link_status:").as_deref() == Some("up")
            && has(replica, "slave_repl_offset:") == has(main, "master_repl_offset:")
    })
    .await;
}

/// A replica that hears nothing of the second half of the keys is promoted. Gives the keys of that half that were
/// answered, and those that were doubled.
async fn promoted(row: &str, main_has: &[&str]) -> (Keys, Keys) {
    let mut main = Redis::start(&[&["--repl-diskless-sync-delay", "0"], main_has].concat());
    let link = Relay::start(main.port()).await;
    let replica = Redis::start(&["--replicaof", &format!("127.0.0.1 {}", link.port())]);
    caught_up(&main, &replica).await;
    let way = Relay::start(main.port()).await;
    let rig = start(&way.setting()).await;
    let half = keys() / 2;
    assert_eq!(use_at_once(&rig, 0..half, &Arc::default()).await.len(), half);
    caught_up(&main, &replica).await;
    link.stand_still();
    let answered = use_in_turn(&rig, half..keys(), lag()).await;
    let done: Keys = effects(&rig).await.into_keys().filter(|key| *key >= half).collect();
    assert_eq!(done, answered, "an update was done and its caller refused");
    main.kill();
    replica.ask::<()>(&[b"REPLICAOF", b"NO", b"ONE"]);
    way.lead_to(replica.port());
    repeat(&rig).await;
    (answered, doubled(&rig, row).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lags_is_promoted() {
    let (answered, doubled) = promoted("lagging replica promoted", &[]).await;
    assert_eq!(answered.len(), keys() / 2);
    assert_eq!(doubled, answered);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_needs_its_replica_takes_no_more_claims_soon_after_it_lags() {
    let options = ["--min-replicas-to-write", "1", "--min-replicas-max-lag", "1"];
    let (answered, doubled) = promoted("the same, min-replicas-max-lag 1", &options).await;
    assert!(answered.len() < keys() / 2, "nothing was refused");
    // The answer to the last one may have been refused: then it is recorded where the promoted one is.
    let saved: Vec<&usize> = answered.difference(&doubled).collect();
    assert!(
        doubled.is_subset(&answered) && saved.len() <= 1,
        "{answered:?} were answered, {doubled:?} doubled"
    );
}
