//! Replicas that die in the middle of everything, over one store of records: an update with a key is done at most once. Where
//! its holder died with it under way, nobody knows the outcome, and that is the answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use testkit::{Connection, PATIENCE, Redis, Reply, eventually, is_long, record};

use crate::bench::{Bench, patch, program};

const TIMEOUT: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(2);
const CALLERS: usize = 8;
/// The answer where the holder died with the update under way.
const UNKNOWN: &str = "idempotency-outcome-unknown";

/// The knowledge of the keys' callers.
#[derive(Default)]
struct Known {
    /// The replicas that are there.
    replicas: Mutex<[Option<SocketAddr>; 2]>,
    next: AtomicUsize,
    under_way: AtomicUsize,
    /// The answer, by key.
    answers: Mutex<BTreeMap<usize, Reply>>,
    wrong: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Known {
    fn replica(&self, number: usize) -> Option<SocketAddr> {
        self.replicas.lock().unwrap()[number % 2]
    }

    /// Asks with this key, at one replica and the other, until there is an answer for good.
    async fn update(self: Arc<Self>, key: usize) {
        self.under_way.fetch_add(1, Relaxed);
        let request = request(key);
        let (begun, mut replica) = (Instant::now(), key);
        while begun.elapsed() < PATIENCE {
            replica += 1;
            let Some(address) = self.replica(replica) else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            // One that takes no connection was not asked.
            let Ok(mut conn) = Connection::open(address).await else { continue };
            match conn.exchange(&request).await {
                Ok(answer) if answer.status == 200 || answer.code() == UNKNOWN => {
                    self.answers.lock().unwrap().insert(key, answer);
                    break;
                }
                // The holder of the key or of the conversation's turn runs, or died and its lease has not ended; or the store was not connected to yet.
                Ok(answer)
                    if ["idempotency-in-progress", "idempotency-store-unavailable", "conversation-busy"]
                        .contains(&&*answer.code()) =>
                {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Ok(answer) => {
                    self.wrong.lock().unwrap().push(format!("{key}: {answer:?}"));
                    break;
                }
                Err(_) => {}
            }
        }
        self.under_way.fetch_sub(1, Relaxed);
    }
}

/// Conversations that are updated in turn, so that few updates wait for another one.
const CONVERSATIONS: usize = 64;

fn request(key: usize) -> Vec<u8> {
    let body = format!(r#"{{"context":{{"key":"{key}"}}}}"#);
    patch(&format!("sms:conv_{}", key % CONVERSATIONS), &format!("Idempotency-Key: {key}\r\n"), &body)
}

/// C4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_is_not_doubled_by_the_death_of_its_holder() {
    let kills = if is_long() { 20 } else { 5 };
    let bench = Bench::new().await;
    let redis = Redis::start(&[]);
    let more = format!(
        "timeout = \"{}s\"\n[idempotency]\n{}\nlease = \"{}s\"\nstore_timeout = \"1s\"\n",
        TIMEOUT.as_secs(),
        redis.setting(),
        LEASE.as_secs()
    );
    let config = bench.replace("program.toml", bench.config("", &more));
    let sample = bench.control("GET", "/conversations/agentphone/conv_def456", "").await;
    for number in 0..CONVERSATIONS {
        bench.control("PUT", &format!("/conversations/agentphone/conv_{number}"), &sample).await;
    }
    bench.fault(r#"{"vendor":"agentphone","mode":"delay","delay_ms":60,"count":1000000}"#).await;
    let mut replicas = [program(&config, &[]), program(&config, &[])];
    let known = Arc::new(Known::default());
    *known.replicas.lock().unwrap() = [Some(replicas[0].api), Some(replicas[1].api)];

    // Callers begin with another key as soon as they have an answer, or were waiting for some time: those whose holder
    // died do not hold up the others.
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let known = Arc::clone(&known);
            tokio::spawn(async move {
                while !known.over.load(Relaxed) {
                    let key = known.next.fetch_add(1, Relaxed);
                    let asked = tokio::spawn(Arc::clone(&known).update(key));
                    let _ = tokio::time::timeout(Duration::from_millis(500), asked).await;
                }
            })
        })
        .collect();
    for kill in 0..kills {
        let answered = known.answers.lock().unwrap().len();
        let enough = answered + 4 * CALLERS;
        eventually("callers are served", async || known.answers.lock().unwrap().len() >= enough).await;
        let victim = kill % 2;
        replicas[victim].kill();
        known.replicas.lock().unwrap()[victim] = None;
        replicas[victim] = program(&config, &[]);
        known.replicas.lock().unwrap()[victim] = Some(replicas[victim].api);
    }
    known.over.store(true, Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    eventually("all are answered", async || known.under_way.load(Relaxed) == 0).await;
    assert!(known.wrong.lock().unwrap().is_empty(), "{:?}", known.wrong.lock().unwrap());
    let answers = std::mem::take(&mut *known.answers.lock().unwrap());
    assert_eq!(answers.len(), known.next.load(Relaxed), "some were never answered");

    // How often which key's update was done.
    let mut done: BTreeMap<usize, usize> = BTreeMap::new();
    for entry in bench.sent("agentphone").await.iter().filter(|entry| entry.effect) {
        let key = entry.json()["metadata"]["key"].as_str().unwrap().parse().unwrap();
        *done.entry(key).or_default() += 1;
    }
    let doubled: Vec<_> = done.iter().filter(|(_, times)| **times > 1).collect();
    record(&format!("updates doubled by {kills} kills"), doubled.len(), answers.len());
    assert!(doubled.is_empty(), "{doubled:?}");
    assert!(done.keys().all(|key| answers.contains_key(key)), "something was done that was not asked");
    let (known, unknown): (Vec<_>, Vec<_>) = answers.iter().partition(|(_, answer)| answer.status == 200);
    assert!(known.iter().all(|(key, _)| done.contains_key(key)), "something was not done");
    assert!(unknown.iter().any(|(key, _)| done.contains_key(key)), "no holder died with its update done");

    // Every answer is there for good, at both replicas.
    let mut conns = Vec::new();
    for replica in &replicas {
        conns.push(Connection::open(replica.api).await.unwrap());
    }
    for (key, answer) in &answers {
        let replay = conns[key % 2].exchange(&request(*key)).await.unwrap();
        assert_eq!((replay.status, replay.code()), (answer.status, answer.code()), "{key}");
        if answer.status == 200 {
            assert!(replay.is_replay() && replay.body == answer.body, "{key}: {replay:?}");
        }
    }
}
