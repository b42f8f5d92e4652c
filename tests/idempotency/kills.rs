//! Replicas over one store that are killed, and that stand still past their leases, under a load of keys. Every key is then
//! used again at the other replica: it has its one answer, or nobody knows the outcome; no update is done twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use testkit::{Client, PATIENCE, Redis, Reply, is_long, record};
use tokio::task::JoinSet;

use super::processes::Replica;
use super::rig::{Rig, config_within, request, until};

const WORKERS: usize = 24;
const LEASE: Duration = Duration::from_secs(3);

fn keys() -> usize {
    if is_long() { 10_000 } else { 600 }
}

struct Load {
    addresses: Mutex<Vec<SocketAddr>>,
    next: AtomicUsize,
    /// By key: the answer that its first request got, if it got one.
    first: Mutex<BTreeMap<usize, Option<Reply>>>,
}

/// Conversations that are updated in turn, so that few updates wait for another one.
const CONVERSATIONS: usize = 256;

async fn ask(client: &Client, address: SocketAddr, key: usize) -> Option<Reply> {
    let path = format!("/conversations/sms:conv_{}", key % CONVERSATIONS);
    let (name, body) = (format!("k{key}"), format!(r#"{{"context":{{"key":"{key}"}}}}"#));
    client.try_send(address, &request(&path, &[("idempotency-key", &name)], &body)).await.ok()
}

/// Uses every key once, at the replicas in turn.
async fn work(load: Arc<Load>) {
    let client = Client::default();
    loop {
        let key = load.next.fetch_add(1, Relaxed);
        if key >= keys() {
            return;
        }
        let address = load.addresses.lock().unwrap()[key % 2];
        let asked = tokio::time::timeout(PATIENCE, ask(&client, address, key)).await;
        load.first.lock().unwrap().insert(key, asked.ok().flatten());
    }
}

/// Uses every key again at the other replica until the key has an answer for good.
async fn repeat(load: &Arc<Load>) -> BTreeMap<usize, Reply> {
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let load = Arc::clone(load);
        workers.spawn(async move {
            let (client, mut answers) = (Client::default(), Vec::new());
            for key in (worker..keys()).step_by(WORKERS) {
                let address = load.addresses.lock().unwrap()[(key + 1) % 2];
                let again = || async { ask(&client, address, key).await.expect("the replica answers") };
                let is_final = |reply: &Reply| reply.status == 200 || reply.json()["retryable"] == false;
                answers.push((key, until(again, is_final).await));
            }
            answers
        });
    }
    workers.join_all().await.into_iter().flatten().collect()
}

/// Loads two replicas with keys while `strike` hits one of them after the other. Gives how many outcomes nobody knows.
async fn loaded(row: &str, strike: impl AsyncFn(&mut Replica, &str)) -> usize {
    let redis = Redis::start(&[]);
    let rig = Rig::start(0, "", "").await;
    let sample = rig.sandbox.control("GET", "/conversations/agentphone/conv_def456", "").await;
    for number in 0..CONVERSATIONS {
        rig.sandbox.control("PUT", &format!("/conversations/agentphone/conv_{number}"), &sample).await;
    }
    rig.fault(r#"{"mode":"delay","delay_ms":30,"count":1000000}"#).await;
    let settings = format!("{}\nlease = \"{}s\"\nstore_timeout = \"1s\"", redis.setting(), LEASE.as_secs());
    let config = config_within(&rig.sandbox, "1s", &settings, "[log]\naccess = false\n");
    let mut replicas = [Replica::start(&config), Replica::start(&config)];
    let load = Arc::new(Load {
        addresses: Mutex::new(replicas.iter().map(|replica| replica.api).collect()),
        next: AtomicUsize::new(0),
        first: Mutex::default(),
    });
    let mut workers = JoinSet::new();
    (0..WORKERS).for_each(|_| drop(workers.spawn(work(Arc::clone(&load)))));
    let (mut strikes, apart) = (0, keys() / 12);
    while strikes < 10 {
        let next = (strikes + 1) * apart;
        if load.next.load(Relaxed) < next {
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        }
        let victim = strikes % 2;
        strike(&mut replicas[victim], &config).await;
        load.addresses.lock().unwrap()[victim] = replicas[victim].api;
        strikes += 1;
    }
    workers.join_all().await;
    let answers = repeat(&load).await;

    let mut done: BTreeMap<usize, usize> = BTreeMap::new();
    for body in rig.effects(None).await {
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        *done.entry(body["metadata"]["key"].as_str().unwrap().parse().unwrap()).or_default() += 1;
    }
    let doubled: Vec<_> = done.iter().filter(|(_, times)| **times > 1).collect();
    record(row, doubled.len(), keys());
    assert!(doubled.is_empty(), "{doubled:?}");
    assert_eq!(answers.len(), keys());
    let mut unknown = 0;
    for (key, answer) in &answers {
        match answer.code().as_str() {
            "idempotency-outcome-unknown" => unknown += 1,
            // Its update may have been late because the machine was busy.
            "vendor-timeout" => {}
            _ => {
                assert_eq!(answer.status, 200, "{answer:?}");
                assert_eq!(done.get(key), Some(&1), "{key}: {answer:?}");
            }
        }
        let first = load.first.lock().unwrap()[key].clone();
        if let Some(first) = first.filter(|first| first.status == 200) {
            assert!(answer.is_replay() && answer.body == first.body, "{key}: {first:?} then {answer:?}");
        }
    }
    unknown
}

#[tokio::test(flavor = "multi_thread")]
async fn no_update_is_doubled_by_kills() {
    let unknown = loaded("updates doubled by kills under keyed load", async |replica, config| {
        replica.kill();
        *replica = tokio::task::block_in_place(|| Replica::start(config));
    });
    assert!(unknown.await > 0, "no holder died with its update under way");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_update_is_doubled_by_holders_that_stand_still() {
    loaded("updates doubled by holders that stood still under keyed load", async |replica, _| {
        replica.freeze();
        tokio::time::sleep(LEASE + LEASE / 4).await;
        replica.thaw();
    })
    .await;
}
