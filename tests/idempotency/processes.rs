//! Real processes over one store: racing, and dying in the middle.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use tempfile::TempDir;

use super::race;
use super::redis_server::{Redis, signal, stop};
use super::rig::{BODY, PATH, PATIENCE, Reply, Rig, caller, config, config_within, send, until};

pub(crate) struct Process {
    child: Child,
    pub(crate) api: String,
    pub(crate) admin: String,
    _directory: TempDir,
}

impl Process {
    /// Starts one and waits until it listens.
    pub(crate) fn start(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("parlance.toml");
        std::fs::write(&file, config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_parlance"))
            .args(["serve", "--config"])
            .arg(&file)
            .env_clear()
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut listeners = BTreeMap::new();
        while listeners.len() < 2 {
            let line = lines.next().expect("the process says where it listens").unwrap();
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "listening" {
                let text = |name: &str| line[name].as_str().unwrap().to_owned();
                listeners.insert(text("listener"), text("address"));
            }
        }
        // Nobody reads on: what is logged later must not stop the process.
        std::thread::spawn(move || lines.for_each(drop));
        let [admin, api] = ["admin", "api"].map(|name| listeners.remove(name).unwrap());
        Process { child, api, admin, _directory: directory }
    }

    /// The end, without a farewell.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// It stands still, its connections stay open.
    pub(crate) fn stop(&self) {
        stop(&self.child);
    }

    /// It goes on.
    pub(crate) fn go_on(&self) {
        signal(&self.child, "-CONT");
    }

    /// A number from its metrics.
    async fn metric(&self, name: &str) -> u64 {
        let url = format!("http://{}/metrics", self.admin).parse().unwrap();
        let text = caller().get(url).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&text).into_owned();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A process that stands still dies of this too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_race() {
    let redis = Redis::start(&[]);
    let rig = Rig::start(0, "", "").await;
    let settings = format!("{}\nstore_timeout = \"10s\"", redis.setting());
    let config = config(&rig.sandbox, &settings, "[log]\naccess = false\n");
    let processes = [Process::start(&config), Process::start(&config)];
    let addresses = processes.iter().map(|process| process.api.clone()).collect();
    race::race("two processes", &rig, addresses).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_process_that_was_killed_is_free_when_its_lease_ends() {
    let redis = Redis::start(&[]);
    let rig = Rig::start(0, "", "").await;
    let settings = format!("{}\nlease = \"5s\"\nstore_timeout = \"2s\"", redis.setting());
    let config = config(&rig.sandbox, &settings, "");
    let (mut dying, living) = (Process::start(&config), Process::start(&config));
    rig.fault(r#"{"mode":"hang","apply":true}"#).await;
    let (first, second) = (caller(), caller());
    let headers = [("idempotency-key", "k")];
    let address = dying.api.clone();
    let cut_off = tokio::spawn(async move {
        let request = http::Request::builder()
            .method("PATCH")
            .uri(format!("http://{address}{PATH}"))
            .header("content-type", "application/json")
            .header("idempotency-key", "k")
            .body(http_body_util::Full::new(bytes::Bytes::from(BODY)))
            .unwrap();
        first.request(request).await.is_err()
    });
    rig.called(1).await;
    dying.kill();
    assert!(cut_off.await.unwrap());
    // Whether the vendor did it nobody knows: until the lease ends nobody tries.
    assert_eq!(send(&second, &living.api, PATH, &headers, BODY).await.code(), "idempotency-in-progress");
    assert_eq!(rig.calls().await.0, 1);
    let ask = || send(&second, &living.api, PATH, &headers, BODY);
    let reply = until(ask, |reply| reply.status != 409).await;
    assert!(reply.status == 200 && !reply.is_replay(), "{reply:?}");
    for _ in 0..5 {
        assert!(ask().await.is_replay());
    }
    assert_eq!(rig.calls().await.0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_whose_caller_has_gone_is_finished_before_the_process_ends() {
    let redis = Redis::start(&[]);
    let rig = Rig::start(0, "", "").await;
    let settings = format!("{}\nstore_timeout = \"5s\"", redis.setting());
    let config = config(&rig.sandbox, &settings, "");
    let (mut leaving, staying) = (Process::start(&config), Process::start(&config));
    rig.fault(r#"{"mode":"delay","delay_ms":800}"#).await;
    let headers = [("idempotency-key", "k")];
    let hasty = caller();
    let asked = send(&hasty, &leaving.api, PATH, &headers, BODY);
    assert!(tokio::time::timeout(Duration::from_millis(200), asked).await.is_err());
    rig.called(1).await;
    signal(&leaving.child, "-TERM");
    let left = tokio::task::spawn_blocking(move || leaving.child.wait().unwrap()).await.unwrap();
    assert!(left.success(), "{left}");
    let reply = send(&caller(), &staying.api, PATH, &headers, BODY).await;
    assert!(reply.status == 200 && reply.is_replay(), "{reply:?}");
    assert_eq!(rig.calls().await, (1, 1));
}

/// Two processes whose leases are short, and a patience with the store that outlasts them.
async fn short_leases(rig: &Rig, redis: &Redis) -> (Process, Process) {
    let settings = format!("{}\nlease = \"4s\"\nstore_timeout = \"60s\"", redis.setting());
    let config = config_within(&rig.sandbox, "3s", &settings, "");
    let (holder, other) = (Process::start(&config), Process::start(&config));
    // Both are connected.
    for process in [&holder, &other] {
        until(|| with_key(&process.api, "connect"), |reply| reply.status == 200).await;
    }
    assert_eq!(rig.calls().await.0, 1);
    (holder, other)
}

async fn with_key(address: &str, key: &str) -> Reply {
    send(&caller(), address, PATH, &[("idempotency-key", key)], BODY).await
}

/// The records under all keys.
fn records(redis: &Redis) -> BTreeMap<String, Vec<u8>> {
    redis.keys().into_iter().map(|key| (key.clone(), redis.ask(&[b"GET", key.as_bytes()]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_stood_still_past_its_lease_overwrites_nothing() {
    let redis = Redis::start(&[]);
    let rig = Rig::start(0, "", "").await;
    let (holder, other) = short_leases(&rig, &redis).await;
    rig.fault(r#"{"mode":"delay","delay_ms":2500}"#).await;
    let (late, taken_over) = tokio::join!(with_key(&holder.api, "k"), async {
        rig.called(2).await;
        holder.stop();
        let taken_over = until(|| with_key(&other.api, "k"), |reply| reply.status != 409).await;
        let stored = records(&redis);
        holder.go_on();
        (taken_over, stored)
    });
    let (taken_over, stored) = taken_over;
    assert!(taken_over.status == 200 && !taken_over.is_replay(), "{taken_over:?}");
    // Its answer came while it stood still, and so did the end of its time: either is the truth.
    assert!(!late.is_replay() && matches!(late.status.as_u16(), 200 | 504), "{late:?}");
    assert_eq!(records(&redis), stored, "the late holder wrote over the record");
    for process in [&holder, &other] {
        let reply = with_key(&process.api, "k").await;
        assert!(reply.is_replay() && reply.body == taken_over.body, "{reply:?}");
    }
    assert_eq!(rig.calls().await, (3, 3));
    // The very same answer is found there as if it had been written.
    let lost = u64::from(late.body != taken_over.body);
    assert_eq!(holder.metric("parlance_idempotency_leases_lost_total").await, lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_stood_still_before_it_called_the_vendor_calls_no_more() {
    let redis = Redis::start(&[]);
    let rig = Rig::start(0, "", "").await;
    let (holder, other) = short_leases(&rig, &redis).await;
    let (before, _) = rig.calls().await;
    for attempt in 1.. {
        let key = format!("stood-still-{attempt}");
        redis.stop();
        let (late, ()) = tokio::join!(with_key(&holder.api, &key), async {
            // The claim is there, its answer is not, when both stand still.
            let end = Instant::now() + PATIENCE;
            while !redis.has_unread() {
                assert!(Instant::now() < end, "the key is not claimed");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            holder.stop();
            redis.go_on();
            let taken_over = until(|| with_key(&other.api, &key), |reply| reply.status != 409).await;
            assert!(taken_over.status == 200 && !taken_over.is_replay(), "{taken_over:?}");
            holder.go_on();
        });
        assert_eq!(rig.calls().await.0, before + attempt, "the late holder called");
        for process in [&holder, &other] {
            assert!(with_key(&process.api, &key).await.is_replay());
        }
        if !late.is_replay() {
            assert_eq!(late.code(), "idempotency-store-unavailable", "{late:?}");
            return;
        }
        // What was unread was not the claim: that came after all was over, and found the answer. Right, but not what is
        // looked for here.
        assert!(attempt < 5, "the holder never stood still between its claim and its call");
    }
}
