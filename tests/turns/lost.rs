//! Updates through the program, over HTTP: none that was answered with success is lost to another one.

use std::sync::Arc;
use std::time::Duration;

use testkit::{Program, Redis, eventually, is_long, record};
use tokio::sync::Mutex;

use super::load::{Judged, LEASE, Load, Mix, TIMEOUT, World, shared};

/// The machine has enough to do with one load at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Callers that write to the same conversation, so many times.
const LANES: usize = 9;

/// Time that a busy machine may add to any other.
const SLACK: Duration = Duration::from_secs(2);

fn updates() -> usize {
    if is_long() { 10_500 } else { 800 }
}

/// Kills, or times to stand still.
fn strikes() -> usize {
    if is_long() { 16 } else { 3 }
}

/// Runs a load to its end, and judges it.
async fn loaded(
    programs: usize,
    mix: Mix,
    goal: usize,
    idempotency: String,
    strike: impl AsyncFnOnce(&Load, &mut Vec<Program>),
) -> Judged {
    let _alone = ALONE.lock().await;
    let load = Load::new(World::new(TIMEOUT, &idempotency, "").await, mix, LANES, goal);
    let stricken = Arc::clone(&load);
    load.run(programs, async |programs| strike(&stricken, programs).await).await;
    let judged = load.judge().await;
    assert!(judged.wrong.is_empty(), "{:?}, lost: {:?}", judged.wrong, judged.lost);
    judged
}

/// Runs a load in which nothing happens. Whoever is told that a conversation is busy has waited for all of its time.
async fn undisturbed(programs: usize, mix: Mix, goal: usize, idempotency: String) -> Judged {
    let judged = loaded(programs, mix, goal, idempotency, async |_, _| ()).await;
    let in_vain = TIMEOUT - Duration::from_millis(20);
    assert!(judged.busy_after.is_none_or(|least| least >= in_vain), "{:?}", judged.busy_after);
    judged
}

fn in_memory() -> String {
    "store = \"memory\"".to_owned()
}

#[track_caller]
fn score(row: &str, judged: &[Judged]) {
    let lost: Vec<&String> = judged.iter().flat_map(|judged| &judged.lost).collect();
    record(row, lost.len(), judged.iter().map(|judged| judged.done).sum());
    assert!(lost.is_empty(), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_through_one_process() {
    let judged = undisturbed(1, Mix::Merges, updates(), in_memory()).await;
    score("merges lost, one process", &[judged]);
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_through_two_processes() {
    let redis = Redis::start(&[]);
    let judged = undisturbed(2, Mix::Merges, updates(), shared(&redis, LEASE)).await;
    score("merges lost, two processes", &[judged]);
}

#[tokio::test(flavor = "multi_thread")]
async fn conditional_updates() {
    let redis = Redis::start(&[]);
    let one = undisturbed(1, Mix::Conditions, updates() / 2, in_memory()).await;
    let two = undisturbed(2, Mix::Conditions, updates() / 2, shared(&redis, LEASE)).await;
    score("conditional updates lost", &[one, two]);
}

/// Waits until the next strike is due, each after the same share of the updates and after a pause.
async fn due(load: &Load, strike: usize) {
    tokio::time::sleep(Duration::from_millis(400 + fastrand::u64(0..100))).await;
    let enough = (strike + 1) * updates() / (strikes() + 1);
    eventually("updates are done", async || load.done() >= enough).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_while_replicas_are_killed() {
    let redis = Redis::start(&[]);
    let judged = loaded(2, Mix::Merges, updates(), shared(&redis, LEASE), async |load, programs| {
        for kill in 0..strikes() {
            due(load, kill).await;
            let victim = kill % 2;
            programs[victim].kill();
            load.replicas.lock().unwrap()[victim] = None;
            programs[victim] = load.world.start();
            load.replicas.lock().unwrap()[victim] = Some(programs[victim].api);
            // Who waited for a lease of it goes on before the next one.
            tokio::time::sleep(LEASE).await;
        }
    });
    let judged = judged.await;
    assert!(judged.stalled < LEASE + SLACK, "nobody was served for {:?}", judged.stalled);
    score("merges lost with kills", &[judged]);
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_while_replicas_stand_still() {
    let redis = Redis::start(&[]);
    let judged = loaded(2, Mix::Merges, updates(), shared(&redis, LEASE), async |load, programs| {
        for stop in 0..strikes() {
            due(load, stop).await;
            programs[stop % 2].freeze();
            tokio::time::sleep(LEASE + LEASE / 4).await;
            programs[stop % 2].thaw();
        }
    });
    score("merges lost with stopped holders", &[judged.await]);
}
