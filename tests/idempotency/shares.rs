//! Records in memory are fair: whatever one caller does, another's stay.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use testkit::{Redis, Reply, is_long, record};
use tokio::task::JoinSet;

use super::rig::{CALLERS, PATH, Rig};

const WORKERS: usize = 12;

fn records() -> usize {
    if is_long() { 10_000 } else { 300 }
}

async fn send(rig: &Rig, of: &str, path: &str, key: &str, body: &str) -> Reply {
    let authorization = format!("Bearer {of}");
    let headers =
        [("authorization", authorization.as_str()), ("idempotency-key", key), ("prefer", "handling=lenient")];
    rig.send(0, path, &headers, body).await
}

async fn victim(rig: &Rig, number: usize) -> Reply {
    send(rig, "crm-key", PATH, &format!("k{number}"), &format!(r#"{{"context":{{"n":"{number}"}}}}"#)).await
}

/// Every record of the victim, by many at once.
async fn all_of_the_victim(rig: &Arc<Rig>) -> BTreeMap<usize, Reply> {
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let rig = Arc::clone(rig);
        workers.spawn(async move {
            let mut replies = Vec::new();
            for number in (worker..records()).step_by(WORKERS) {
                replies.push((number, victim(&rig, number).await));
            }
            replies
        });
    }
    workers.join_all().await.into_iter().flatten().collect()
}

/// A conversation whose answers are so large.
async fn put_large(rig: &Rig, id: &str, bytes: usize) {
    rig.put_conversation(id).await;
    let mut large = rig.conversation(id).await;
    large["metadata"] = json!({ "text": "x".repeat(bytes) });
    rig.control("PUT", &format!("/conversations/agentphone/{id}"), large).await;
}

fn assert_body_not_kept(reply: &Reply, id: &str) {
    assert!(reply.status == 200 && reply.is_replay(), "{reply:?}");
    let body: Value = reply.json();
    assert_eq!((&body["id"], &body["warnings"][0]["code"]), (&id.into(), &"body-not-kept".into()), "{body}");
    assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_pushes_out_nothing_of_another() {
    let mut settings = "store = \"memory\"\n".to_owned();
    if !is_long() {
        settings.push_str("max_bytes = \"8MiB\"\n");
    }
    let rig = Arc::new(Rig::start(1, &settings, CALLERS).await);
    let first = all_of_the_victim(&rig).await;
    assert!(first.values().all(|reply| reply.status == 200 && !reply.is_replay()));

    // Answers that are larger than all that is kept, and many that fill the share.
    for (id, bytes, times) in [("conv_8mb", 8_000_000, 8), ("conv_1mb", 900_000, 80)] {
        put_large(&rig, id, bytes).await;
        let path = format!("/conversations/sms:{id}");
        for number in 0..times {
            let reply = send(&rig, "erp-key", &path, &format!("{id}-{number}"), r#"{"title":"t"}"#).await;
            assert!(reply.status == 200 && reply.body.len() > bytes, "{reply:?}");
        }
        // Its own are remembered, the oldest without their bodies.
        let again = send(&rig, "erp-key", &path, &format!("{id}-0"), r#"{"title":"t"}"#).await;
        assert_body_not_kept(&again, &format!("sms:{id}"));
    }
    let last = send(&rig, "erp-key", "/conversations/sms:conv_1mb", "conv_1mb-79", r#"{"title":"t"}"#).await;
    assert!(last.is_replay() && last.body.len() > 900_000);
    // Answers that are large because of what was left out.
    let unknown: String = (0..20_000).map(|number| format!(r#","m{number}":0"#)).collect();
    let wordy = format!(r#"{{"context":{{"a":1}}{unknown}}}"#);
    for number in 0..14 {
        let reply = send(&rig, "erp-key", PATH, &format!("wordy-{number}"), &wordy).await;
        assert_eq!(reply.status, 200);
    }

    let again = all_of_the_victim(&rig).await;
    let pushed_out = first
        .values()
        .zip(again.values())
        .filter(|(first, again)| !again.is_replay() || first.body != again.body);
    let pushed_out = pushed_out.count();
    record("records pushed out by another caller", pushed_out, records());
    assert_eq!(pushed_out, 0);
    let stats = rig.gateways[0].live().idempotency.stats();
    assert!(stats.evicted > 0 && stats.bodies_too_large >= 8, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_has_no_room_left_stops_no_other() {
    let rig = Rig::start(1, "max_entries = 10", CALLERS).await;
    for number in 0..8 {
        let reply = send(&rig, "erp-key", PATH, &format!("k{number}"), r#"{"context":null}"#).await;
        if number < 5 {
            assert_eq!(reply.status, 200);
        } else {
            reply.is_problem(503, "idempotency-store-unavailable");
        }
    }
    assert_eq!(victim(&rig, 0).await.status, 200);
    assert!(victim(&rig, 0).await.is_replay());
    let again = send(&rig, "erp-key", PATH, "k0", r#"{"context":null}"#).await;
    assert!(again.is_replay());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_store_keeps_no_large_bodies_either() {
    let redis = Redis::start(&[]);
    let rig = Rig::start(2, &format!("{}\nstore_timeout = \"5s\"", redis.setting()), "").await;
    put_large(&rig, "conv_2mb", 2_000_000).await;
    let (path, key) = ("/conversations/sms:conv_2mb", [("idempotency-key", "k")]);
    let first = rig.send(0, path, &key, r#"{"title":"t"}"#).await;
    assert!(first.status == 200 && first.body.len() > 2_000_000);
    let record: Vec<u8> = redis.ask(&[b"GET", redis.keys()[0].as_bytes()]);
    assert!(record.len() < 1_000, "{}", record.len());
    assert_body_not_kept(&rig.send(1, path, &key, r#"{"title":"t"}"#).await, "sms:conv_2mb");
    let other = rig.send(1, path, &key, r#"{"title":"u"}"#).await;
    other.is_problem(422, "idempotency-key-reused");
    assert_eq!(rig.calls().await.0, 1);
}
