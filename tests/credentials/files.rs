//! Keys in files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parlance::upstream::credentials::file::{INTERVAL, SETTLE};
use serde_json::json;
use testkit::{eventually, record};

use crate::rig::{Over, PLAIN, Rig, logged, rename_over};

const ROTATIONS: usize = 100;
/// Of so many rotations one is seen by the reading in the background, the others by the vendor's 401.
const OVERLAPPING: usize = 5;
const CALLERS: usize = 6;

fn credential(path: &Path) -> String {
    format!("{{ file = {:?} }}", path.to_str().unwrap())
}

/// Callers without a pause, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<Vec<AtomicU64>>,
    callers: Vec<tokio::task::JoinHandle<Vec<u16>>>,
}

impl Load {
    fn on(gateway: &Over) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done: Arc<Vec<AtomicU64>> = Arc::new((0..CALLERS).map(|_| AtomicU64::new(0)).collect());
        let callers = (0..CALLERS)
            .map(|at| {
                let (stop, done, update) = (Arc::clone(&stop), Arc::clone(&done), gateway.updater());
                tokio::spawn(async move {
                    let mut failed = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let status = update().await.unwrap();
                        if status != 200 {
                            failed.push(status);
                        }
                        done[at].fetch_add(1, Ordering::Relaxed);
                    }
                    failed
                })
            })
            .collect();
        Load { stop, done, callers }
    }

    /// Until every caller has begun a request after this and got its answer.
    async fn round(&self) {
        let before: Vec<u64> = self.done.iter().map(|done| done.load(Ordering::Relaxed)).collect();
        let all =
            || self.done.iter().zip(&before).all(|(done, before)| done.load(Ordering::Relaxed) > before + 1);
        eventually("the callers go on", async || all()).await;
    }

    /// Gives the number of requests, and the statuses of those that failed.
    async fn end(self) -> (u64, Vec<u16>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        for caller in self.callers {
            failed.extend(caller.await.unwrap());
        }
        (self.done.iter().map(|done| done.load(Ordering::Relaxed)).sum(), failed)
    }
}

async fn rotates(what: &str, first: impl Fn(&Path, &str), swap: impl Fn(&Path, &str, usize)) {
    let rig = Rig::new().await;
    rig.control("PUT", "/ledger", json!({"enabled": false})).await;
    let key = |at: usize| format!("rotated-key-{at}-of-the-vendor");
    first(rig.files.path(), &key(0));
    rig.accept(PLAIN, &[&key(0)]).await;
    let gateway = rig.gateway(PLAIN, &credential(&rig.path("key")), "").await;
    let load = Load::on(&gateway);
    load.round().await;
    for at in 1..=ROTATIONS {
        let generation = u64::try_from(at).unwrap() + 1;
        let arrived = || gateway.upstream.credentials.stats().generation == generation;
        rig.accept(PLAIN, &[&key(at - 1), &key(at)]).await;
        swap(rig.files.path(), &key(at), at);
        if at % OVERLAPPING == 0 {
            eventually("the new key is read", async || arrived()).await;
            // Whoever had the old one has its answer before that one ends.
            load.round().await;
        }
        rig.accept(PLAIN, &[&key(at)]).await;
        eventually("the new key is read", async || arrived()).await;
        load.round().await;
    }
    let (requests, failed) = load.end().await;
    let sent = usize::try_from(requests).unwrap();
    record(&format!("failed requests during {ROTATIONS} rotations of {what}"), failed.len(), sent);
    assert!(requests > u64::try_from(ROTATIONS * CALLERS).unwrap());
    assert_eq!(failed, Vec::<u16>::new(), "of {requests} requests");
    let stats = gateway.upstream.credentials.stats();
    assert_eq!((stats.source, stats.renewed, stats.failed, stats.last_error), ("file", 100, 0, None));
    assert!(stats.changed.is_some());
    gateway.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_renamed_over_without_a_failed_request() {
    let write = |dir: &Path, key: &str| std::fs::write(dir.join("key"), key).unwrap();
    rotates("a file", write, |dir, key, _| rename_over(&dir.join("key"), key)).await;
}

/// As the kubelet does it: a new directory, and the link to it is swapped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mounted_secret_is_swapped_without_a_failed_request() {
    let publish = |dir: &Path, key: &str, at: usize| {
        let version = |at: usize| PathBuf::from(format!("..2026_{at}"));
        std::fs::create_dir(dir.join(version(at))).unwrap();
        std::fs::write(dir.join(version(at)).join("key"), key).unwrap();
        std::os::unix::fs::symlink(version(at), dir.join("..data_tmp")).unwrap();
        std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
        if at > 0 {
            std::fs::remove_dir_all(dir.join(version(at - 1))).unwrap();
        }
    };
    let first = |dir: &Path, key: &str| {
        publish(dir, key, 0);
        std::os::unix::fs::symlink("..data/key", dir.join("key")).unwrap();
    };
    rotates("a mounted secret", first, publish).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_key_is_not_used_once_the_new_one_is_there() {
    let rig = Rig::new().await;
    let path = rig.path("key");
    std::fs::write(&path, "the-old-key\n").unwrap();
    // Nothing but the reading in the background can tell.
    rig.accept(PLAIN, &["the-old-key", "the-new-key"]).await;
    let gateway = rig.gateway(PLAIN, &credential(&path), "").await;
    let load = Load::on(&gateway);
    load.round().await;
    rename_over(&path, "the-new-key\n");
    assert!(INTERVAL + SETTLE < Duration::from_secs(1) / 3);
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Requests that were under way by then may still bring the old one.
    load.round().await;
    let before = rig.received(PLAIN, "PATCH").await.len();
    load.round().await;
    load.end().await;
    let received = rig.received(PLAIN, "PATCH").await;
    let keys: Vec<&str> = received.iter().map(|entry| entry.header("authorization").unwrap()).collect();
    assert_eq!(keys[0], "Bearer the-old-key");
    assert!(keys[before..].len() >= CALLERS);
    assert!(keys[before..].iter().all(|key| *key == "Bearer the-new-key"));
    gateway.end().await;
}

#[tokio::test]
async fn a_file_that_is_of_no_use_leaves_the_key_as_it_is() {
    let rig = Rig::new().await;
    let path = rig.path("key");
    std::fs::write(&path, "the-good-key").unwrap();
    rig.accept(PLAIN, &["the-good-key", "the-later-key"]).await;
    let gateway = rig.gateway(PLAIN, &credential(&path), "").await;
    let stats = || gateway.upstream.credentials.stats();
    let bad: [&dyn Fn(); 5] = [
        &|| std::fs::remove_file(&path).unwrap(),
        &|| std::fs::write(&path, "").unwrap(),
        &|| std::fs::write(&path, "blank in-the-unusable-key").unwrap(),
        &|| std::fs::write(&path, [0xff, 0xfe]).unwrap(),
        &|| std::fs::write(&path, "x".repeat(70_000)).unwrap(),
    ];
    for (at, spoil) in (1..).zip(bad) {
        spoil();
        eventually("the fault is seen", async || stats().failed == at).await;
        assert_eq!((stats().generation, stats().last_error), (1, Some("file")));
        assert_eq!(gateway.update().await.status, 200);
    }
    // The same key again is no change.
    std::fs::write(&path, "the-good-key\n").unwrap();
    eventually("the fault is over", async || stats().last_error.is_none()).await;
    assert_eq!((stats().generation, stats().changed), (1, None));
    std::fs::write(&path, "the-later-key").unwrap();
    eventually("the change is seen", async || stats().generation == 2).await;
    assert_eq!(gateway.update().await.status, 200);
    let keys = rig.received(PLAIN, "PATCH").await;
    assert_eq!(keys.last().unwrap().header("authorization"), Some("Bearer the-later-key"));
    let log = logged();
    assert!(log.contains("the credential file cannot be used"), "{log}");
    for secret in ["the-good-key", "the-later-key", "in-the-unusable-key"] {
        assert!(!log.contains(secret));
        assert!(!format!("{:?}", gateway.upstream).contains(secret));
    }
    gateway.end().await;
}

#[tokio::test]
async fn a_401_stands_where_the_file_holds_no_other_key() {
    let rig = Rig::new().await;
    let path = rig.path("key");
    std::fs::write(&path, "the-wrong-key").unwrap();
    let file = rig.gateway(PLAIN, &credential(&path), "").await;
    let fixed = rig.gateway(PLAIN, "{ value = \"the-wrong-key\" }", "").await;
    for (requests, gateway) in [(1, &file), (2, &fixed)] {
        gateway.refused("vendor-unauthenticated").await;
        assert_eq!(rig.received(PLAIN, "PATCH").await.len(), requests);
    }
    // Not even where the next key is as wrong: one repeat, no more.
    rename_over(&path, "another-wrong-key");
    file.refused("vendor-unauthenticated").await;
    assert_eq!(rig.received(PLAIN, "PATCH").await.len(), 4);
    assert_eq!(fixed.upstream.credentials.stats().source, "fixed");
    file.end().await;
    fixed.end().await;
}

#[tokio::test]
async fn an_echoed_key_does_not_reach_the_caller() {
    let rig = Rig::new().await;
    let path = rig.path("key");
    std::fs::write(&path, "the-echoed-key").unwrap();
    rig.accept(PLAIN, &["the-echoed-key"]).await;
    let gateway = rig.gateway(PLAIN, &credential(&path), "").await;
    for status in [200, 401, 422] {
        let body = json!({"id": "conv_def456", "error": {"message": "no the-echoed-key here"}});
        rig.fault(json!({"mode": "status", "status": status, "body": body})).await;
        let answer = gateway.update().await;
        let text = answer.text();
        assert!(text.contains("no *** here") && !text.contains("the-echoed-key"), "{text}");
    }
    gateway.end().await;
}
