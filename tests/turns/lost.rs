//! Updates through the program, over HTTP: none that was answered with success is lost to another one.

use std::time::{Duration, Instant};

use testkit::{Program, Redis, eventually, is_long, record};
use tokio::sync::Mutex;

use super::load::{Judged, LEASE, Load, Mix, TIMEOUT, World, shared};

/// The machine has enough to do with one load at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

fn updates() -> usize {
    std::env::var("UPDATES").ok().map(|n| n.parse().unwrap()).unwrap_or(if is_long() { 10_500 } else { 900 })
}

/// Kills, or times to stand still.
fn strikes() -> usize {
    std::env::var("STRIKES").ok().map(|n| n.parse().unwrap()).unwrap_or(if is_long() { 16 } else { 3 })
}

/// Runs a load to its end.
async fn loaded(
    programs: usize,
    mix: Mix,
    goal: usize,
    idempotency: String,
    strike: impl AsyncFnOnce(&Load, &mut Vec<Program>),
) -> Judged {
    let _alone = ALONE.lock().await;
    let begun = Instant::now();
    let load = Load::new(World::new(TIMEOUT, &idempotency, "").await, mix, 9, goal);
    let striking = std::sync::Arc::clone(&load);
    load.run(programs, async |programs| strike(&striking, programs).await).await;
    let took = begun.elapsed();
    let judged = load.judge().await;
    eprintln!(
        "XXX {took:?} {:?}: {} {} unheard {} stalled {:?} busy {} {:?}",
        begun.elapsed(),
        judged.contexts,
        judged.conditions,
        judged.unheard,
        judged.stalled,
        judged.busy_after.len(),
        judged.problems
    );
    assert!(judged.wrong.is_empty(), "{:?} {:?}", judged.wrong, judged.lost);
    judged
}

async fn nothing(_: &Load, _: &mut Vec<Program>) {}

#[tokio::test(flavor = "multi_thread")]
async fn merges_through_one_process() {
    let judged = loaded(1, Mix::Merges, updates(), "store = \"memory\"".into(), nothing).await;
    record("merges lost, one process", judged.lost.len(), judged.contexts);
    assert!(judged.lost.is_empty(), "{:?}", judged.lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_through_two_processes() {
    let redis = Redis::start(&[]);
    let judged = loaded(2, Mix::Merges, updates(), shared(&redis, LEASE), nothing).await;
    record("merges lost, two processes", judged.lost.len(), judged.contexts);
    assert!(judged.lost.is_empty(), "{:?}", judged.lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn conditional_updates() {
    let redis = Redis::start(&[]);
    let one = loaded(1, Mix::Conditions, updates(), "store = \"memory\"".into(), nothing).await;
    let two = loaded(2, Mix::Conditions, updates(), shared(&redis, LEASE), nothing).await;
    let lost = one.lost.len() + two.lost.len();
    record("conditional updates lost", lost, one.conditions + two.conditions);
    assert!(lost == 0, "{:?} {:?}", one.lost, two.lost);
}

/// Waits until so many strikes of all are due, each after the same share of the updates and after a pause.
async fn due(load: &Load, strike: usize, strikes: usize) {
    tokio::time::sleep(Duration::from_millis(400 + fastrand::u64(0..100))).await;
    eventually("updates are done", async || load.done() * (strikes + 1) >= (strike + 1) * updates()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_while_replicas_are_killed() {
    let redis = Redis::start(&[]);
    let judged = loaded(2, Mix::Merges, updates(), shared(&redis, LEASE), async |load, programs| {
        for kill in 0..strikes() {
            due(load, kill, strikes()).await;
            let victim = kill % 2;
            programs[victim].kill();
            load.replicas.lock().unwrap()[victim] = None;
            programs[victim] = load.world.start();
            load.replicas.lock().unwrap()[victim] = Some(programs[victim].api);
            // Those that waited for a lease of it go on before the next one.
            tokio::time::sleep(LEASE).await;
        }
    });
    let judged = judged.await;
    record("merges lost with kills", judged.lost.len(), judged.contexts);
    assert!(judged.lost.is_empty(), "{:?}", judged.lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_while_replicas_stand_still() {
    let redis = Redis::start(&[]);
    let judged = loaded(2, Mix::Merges, updates(), shared(&redis, LEASE), async |load, programs| {
        for stop in 0..strikes() {
            due(load, stop, strikes()).await;
            programs[stop % 2].freeze();
            tokio::time::sleep(LEASE + LEASE / 4).await;
            programs[stop % 2].thaw();
        }
    });
    let judged = judged.await;
    record("merges lost with stopped holders", judged.lost.len(), judged.contexts);
    assert!(judged.lost.is_empty(), "{:?}", judged.lost);
}
