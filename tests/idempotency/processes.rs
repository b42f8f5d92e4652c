//! Real processes over one store: racing, and dying in the middle.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use tempfile::TempDir;
use testkit::{Client, Program, Redis, Reply, Request, eventually};

use super::race;
use super::rig::{BODY, PATH, Rig, config, config_within, request, until};

pub(crate) struct Replica {
    program: Program,
    _directory: TempDir,
}

impl Replica {
    /// Starts one and waits until it listens.
    pub(crate) fn start(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("parlance.toml");
        std::fs::write(&file, config).unwrap();
        let program = Program::serve(env!("CARGO_BIN_EXE_parlance"), &[&file], &[]);
        Replica { program, _directory: directory }
    }

    /// A number from its metrics.
    async fn metric(&self, name: &str) -> u64 {
        let reply = Client::default().send(self.admin, &Request::new("GET", "/metrics")).await;
        let value = reply.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {reply:?}")).parse().unwrap()
    }
}

impl Deref for Replica {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

impl DerefMut for Replica {
    fn deref_mut(&mut self) -> &mut Program {
        &mut self.program
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_race() {
    let redis = Redis::start(&[]);
    let rig = Rig::start(0, "", "").await;
    let settings = format!("{}\nstore_timeout = \"10s\"", redis.setting());
    let config = config(&rig.sandbox, &settings, "[log]\naccess = false\n");
    let processes = [Replica::start(&config), Replica::start(&config)];
    let addresses = processes.iter().map(|process| process.api).collect();
    race::race("two processes", &rig, addresses).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_update_of_a_process_that_was_killed_is_not_done_again() {
    for (upstream, calls) in [("sms", 1), ("again", 2)] {
        let redis = Redis::start(&[]);
        let rig = Rig::start(0, "", "").await;
        let settings = format!("{}\nlease = \"5s\"\nstore_timeout = \"2s\"", redis.setting());
        let config = config(&rig.sandbox, &settings, "");
        let (mut dying, living) = (Replica::start(&config), Replica::start(&config));
        rig.fault(r#"{"mode":"hang","apply":true}"#).await;
        let (first, second) = (Client::default(), Client::default());
        let path = format!("/conversations/{upstream}:conv_def456");
        let request = request(&path, &[("idempotency-key", "k")], BODY);
        let (address, asked) = (dying.api, request.clone());
        let cut_off = tokio::spawn(async move { first.try_send(address, &asked).await.is_err() });
        rig.called(1).await;
        dying.kill();
        assert!(cut_off.await.unwrap());
        let ask = || second.send(living.api, &request);
        assert_eq!(ask().await.code(), "idempotency-in-progress");
        let reply = until(ask, |reply| reply.code() != "idempotency-in-progress").await;
        if calls == 1 {
            // Whether the vendor did it nobody knows: nobody tries, ever.
            for reply in [reply, ask().await, ask().await] {
                reply.is_problem(409, "idempotency-outcome-unknown");
            }
        } else {
            // Where a repetition does no harm, the next request is done.
            assert!(reply.status == 200 && !reply.is_replay(), "{reply:?}");
            assert!(ask().await.is_replay());
        }
        assert_eq!(rig.calls().await.0, calls);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_whose_caller_has_gone_is_finished_before_the_process_ends() {
    let redis = Redis::start(&[]);
    let rig = Rig::start(0, "", "").await;
    let settings = format!("{}\nstore_timeout = \"5s\"", redis.setting());
    let config = config(&rig.sandbox, &settings, "");
    let (leaving, staying) = (Replica::start(&config), Replica::start(&config));
    rig.fault(r#"{"mode":"delay","delay_ms":800}"#).await;
    let request = request(PATH, &[("idempotency-key", "k")], BODY);
    let hasty = Client::default();
    let asked = hasty.send(leaving.api, &request);
    assert!(tokio::time::timeout(Duration::from_millis(200), asked).await.is_err());
    rig.called(1).await;
    leaving.signal("TERM");
    let left = leaving.program.ended().await;
    assert!(left.status.success(), "{left:?}");
    let reply = Client::default().send(staying.api, &request).await;
    assert!(reply.status == 200 && reply.is_replay(), "{reply:?}");
    assert_eq!(rig.calls().await, (1, 1));
}

/// Two processes whose leases are short, and a patience with the store that outlasts them.
async fn short_leases(rig: &Rig, redis: &Redis) -> (Replica, Replica) {
    let settings = format!("{}\nlease = \"4s\"\nstore_timeout = \"60s\"", redis.setting());
    let config = config_within(&rig.sandbox, "3s", &settings, "");
    let (holder, other) = (Replica::start(&config), Replica::start(&config));
    // Both are connected.
    for process in [&holder, &other] {
        until(|| with_key(process.api, "connect"), |reply| reply.status == 200).await;
    }
    assert_eq!(rig.calls().await.0, 1);
    (holder, other)
}

async fn with_key(address: SocketAddr, key: &str) -> Reply {
    Client::default().send(address, &request(PATH, &[("idempotency-key", key)], BODY)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_update_of_a_holder_that_stood_still_past_its_lease_is_not_done_again() {
    let redis = Redis::start(&[]);
    let rig = Rig::start(0, "", "").await;
    let (holder, other) = short_leases(&rig, &redis).await;
    rig.fault(r#"{"mode":"delay","delay_ms":2500}"#).await;
    let (late, unknown) = tokio::join!(with_key(holder.api, "k"), async {
        rig.called(2).await;
        holder.freeze();
        let unknown =
            until(|| with_key(other.api, "k"), |reply| reply.code() != "idempotency-in-progress").await;
        holder.thaw();
        unknown
    });
    unknown.is_problem(409, "idempotency-outcome-unknown");
    // Its answer came while it stood still, and so did the end of its time: either is the truth.
    assert!(!late.is_replay() && matches!(late.status, 200 | 504), "{late:?}");
    for process in [&holder, &other] {
        let reply = with_key(process.api, "k").await;
        assert!(reply.is_replay() && reply.body == late.body, "{reply:?}");
    }
    assert_eq!(rig.calls().await, (2, 2));
    assert_eq!(holder.metric("parlance_idempotency_leases_lost_total").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_stood_still_before_it_called_the_vendor_calls_no_more() {
    let redis = Redis::start(&[]);
    let rig = Rig::start(0, "", "").await;
    let (holder, other) = short_leases(&rig, &redis).await;
    let (before, _) = rig.calls().await;
    for attempt in 1.. {
        let key = format!("stood-still-{attempt}");
        redis.freeze();
        let (late, meanwhile) = tokio::join!(with_key(holder.api, &key), async {
            // The claim is there, its answer is not, when both stand still.
            eventually("the key is claimed", async || redis.has_unread()).await;
            holder.freeze();
            redis.thaw();
            let meanwhile =
                until(|| with_key(other.api, &key), |reply| reply.code() != "idempotency-in-progress").await;
            holder.thaw();
            meanwhile
        });
        // What was unread was not the claim where the other's request was done: right, but not what is looked for here.
        if meanwhile.status == 200 {
            assert_eq!(rig.calls().await.0, before + attempt, "the late holder called");
            assert!(with_key(holder.api, &key).await.is_replay());
            assert!(attempt < 5, "the holder never stood still between its claim and its call");
            continue;
        }
        meanwhile.is_problem(409, "idempotency-outcome-unknown");
        late.is_problem(503, "idempotency-store-unavailable");
        assert_eq!(rig.calls().await.0, before + attempt - 1, "the late holder called");
        // It gave the key back: it knows that it sent nothing.
        let again = with_key(other.api, &key).await;
        assert!(again.status == 200 && !again.is_replay(), "{again:?}");
        return;
    }
}
