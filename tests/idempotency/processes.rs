//! Real processes over one store: racing, and dying in the middle.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::race;
use super::redis_server::Redis;
use super::rig::{BODY, PATH, Rig, caller, config, send, until};

struct Process {
    child: Child,
    address: String,
    _directory: TempDir,
}

impl Process {
    fn start(config: &str) -> Self {
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
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line).ok()?;
            let text = line.to_string();
            let fields = line.get("fields").unwrap_or(&line);
            (text.contains("\"listening\"") && fields["listener"] == "api")
                .then(|| fields["address"].as_str().unwrap().to_owned())
        });
        // Nobody reads on: what is logged later must not stop the process.
        std::thread::spawn(move || lines.for_each(drop));
        Process { child, address: address.expect("the process says where it listens"), _directory: directory }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
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
    let addresses = processes.iter().map(|process| process.address.clone()).collect();
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
    let address = dying.address.clone();
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
    dying.child.kill().unwrap();
    assert!(cut_off.await.unwrap());
    // Whether the vendor did it nobody knows: until the lease ends nobody tries.
    assert_eq!(send(&second, &living.address, PATH, &headers, BODY).await.code(), "idempotency-in-progress");
    assert_eq!(rig.calls().await.0, 1);
    let ask = || send(&second, &living.address, PATH, &headers, BODY);
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
    let asked = send(&hasty, &leaving.address, PATH, &headers, BODY);
    assert!(tokio::time::timeout(Duration::from_millis(200), asked).await.is_err());
    rig.called(1).await;
    let id = leaving.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let left = tokio::task::spawn_blocking(move || leaving.child.wait().unwrap()).await.unwrap();
    assert!(left.success(), "{left}");
    let reply = send(&caller(), &staying.address, PATH, &headers, BODY).await;
    assert!(reply.status == 200 && reply.is_replay(), "{reply:?}");
    assert_eq!(rig.calls().await, (1, 1));
}
