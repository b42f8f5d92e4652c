//! Many callers, the same keys, several gateways, one store: one call of the vendor for each key.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use testkit::{Client, PATIENCE, Redis, is_long, record};
use tokio::sync::Mutex;

use super::rig::{PATH, Rig, request};

/// Between two requests of a caller that was told to come back.
const LONGEST_PAUSE: Duration = Duration::from_millis(160);

/// The first answer to each key, and the number of its answers that were no replay.
type Answers = BTreeMap<usize, (Vec<u8>, usize)>;

/// Callers and keys.
pub(crate) fn size() -> (usize, usize) {
    if is_long() { (64, 500) } else { (16, 60) }
}

fn body(key: usize) -> String {
    format!(r#"{{"context":{{"n":"{key}"}}}}"#)
}

/// Each caller sends every key to the gateways in turn, until it has an answer; all answers to a key are the same, and
/// the vendor was called once for it. `row` is its name on the scorecard.
pub(crate) async fn race(row: &str, rig: &Rig, addresses: Vec<SocketAddr>) {
    let wrong = answers(addresses).await;
    let (bodies, (_, keys)) = (rig.bodies().await, size());
    record(&format!("vendor calls for {keys} keys, {row}"), bodies.len(), keys);
    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    for body in bodies {
        *calls.entry(body).or_default() += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(calls.len(), keys);
    assert!(calls.values().all(|times| *times == 1), "{calls:?}");
}

/// Gives everything that is wrong with the answers.
async fn answers(addresses: Vec<SocketAddr>) -> Vec<String> {
    let (callers, keys) = size();
    let answers: Arc<Mutex<Answers>> = Arc::default();
    let addresses = Arc::new(addresses);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..callers {
        let (answers, addresses, caller) = (Arc::clone(&answers), Arc::clone(&addresses), Client::default());
        tasks.spawn(async move {
            let mut wrong = Vec::new();
            for key in 0..keys {
                let address = addresses[(number + key) % addresses.len()];
                let (answer, replayed) = persist(&caller, address, key).await;
                let mut answers = answers.lock().await;
                let (first, firsts) = answers.entry(key).or_insert_with(|| (answer.clone(), 0));
                if *first != answer {
                    wrong.push(format!("two answers to key {key}: {first:?} and {answer:?}"));
                }
                *firsts += usize::from(!replayed);
            }
            wrong
        });
    }
    let mut wrong = tasks.join_all().await.concat();
    let answers = answers.lock().await;
    if answers.len() != keys {
        wrong.push(format!("{} keys were answered", answers.len()));
    }
    for (key, (_, firsts)) in answers.iter().filter(|(_, (_, firsts))| *firsts != 1) {
        wrong.push(format!("key {key} was answered first {firsts} times"));
    }
    wrong
}

async fn persist(caller: &Client, address: SocketAddr, key: usize) -> (Vec<u8>, bool) {
    let (name, end) = (format!("key-{key}"), Instant::now() + PATIENCE);
    let mut pause = Duration::from_millis(5);
    while Instant::now() < end {
        let headers = [("idempotency-key", name.as_str())];
        let reply = caller.send(address, &request(PATH, &headers, &body(key))).await;
        match reply.status {
            200 => return (reply.body.clone(), reply.is_replay()),
            409 => assert_eq!(reply.code(), "idempotency-in-progress"),
            _ => panic!("{reply:?}"),
        }
        // Longer each time: where the processors are busy, those who ask again would keep them from the first.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    panic!("no answer to key {key}")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gateway_with_records_in_memory() {
    let rig = Rig::in_memory().await;
    race("one replica", &rig, vec![rig.gateways[0].api()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_with_records_in_a_redis() {
    let redis = Redis::start(&[]);
    let rig = Rig::start(2, &format!("{}\nstore_timeout = \"10s\"", redis.setting()), "").await;
    race("two replicas", &rig, rig.gateways.iter().map(|gateway| gateway.api()).collect()).await;
    assert_eq!(redis.keys().len(), size().1);
}
