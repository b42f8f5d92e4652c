//! The shared store fails: requests with a key are refused before anything is sent, others notice nothing, and all is
//! well again soon after.

use std::time::{Duration, Instant};

use super::redis_server::Redis;
use super::rig::{BODY, PATH, PATIENCE, Reply, Rig, until};

/// Patience with the store; generous, the machine may be busy.
const PATIENT: &str = "store_timeout = \"400ms\"";

fn is_refused(reply: &Reply) -> bool {
    reply.status == 503 && reply.code() == "idempotency-store-unavailable"
}

async fn unkeyed(rig: &Rig) -> Reply {
    rig.send(0, PATH, &[], BODY).await
}

/// With the store gone: refused, at once or nearly; unkeyed requests as ever.
async fn assert_refuses(rig: &Rig) {
    let calls = rig.calls().await.0;
    for number in 0..5 {
        let begun = Instant::now();
        let reply = rig.update(0, &format!("refused-{number}")).await;
        assert!(is_refused(&reply), "{reply:?}");
        assert_eq!(reply.header("retry-after"), "1");
        assert!(String::from_utf8_lossy(&reply.body).contains("\"update_applied\":\"no\""));
        assert!(begun.elapsed() < Duration::from_secs(3), "a refusal took {:?}", begun.elapsed());
    }
    assert_eq!(rig.calls().await.0, calls, "something was sent");
    assert_eq!(unkeyed(rig).await.status, 200);
}

/// With the store back.
async fn assert_recovers(rig: &Rig, key: &str) {
    let begun = Instant::now();
    let reply = until(|| rig.update(0, key), |reply| !is_refused(reply)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(begun.elapsed() < Duration::from_secs(8), "recovery took {:?}", begun.elapsed());
    assert!(until(|| rig.update(0, key), |reply| !is_refused(reply)).await.is_replay());
}

#[tokio::test(flavor = "multi_thread")]
async fn down_at_the_start_killed_and_restarted_empty() {
    let mut redis = Redis::start(&[]);
    redis.kill();
    let rig = Rig::start(1, &format!("{}\n{PATIENT}", redis.setting()), "").await;
    assert!(!rig_stats(&rig).connected);
    assert_refuses(&rig).await;
    redis.run();
    assert_recovers(&rig, "a").await;
    assert!(rig_stats(&rig).connected);
    redis.kill();
    assert_refuses(&rig).await;
    redis.run();
    // Empty: what it had forgotten is done again. A store without persistence can promise no more.
    let calls = rig.calls().await.0;
    let reply = until(|| rig.update(0, "a"), |reply| !is_refused(reply)).await;
    assert!(reply.status == 200 && !reply.is_replay());
    assert_eq!(rig.calls().await.0, calls + 1);
}

/// The numbers of a gateway's store, from its own configuration.
fn rig_stats(rig: &Rig) -> parlance::idempotency::Stats {
    rig.gateways[0].live().idempotency.stats()
}

#[tokio::test(flavor = "multi_thread")]
async fn standing_still() {
    let redis = Redis::start(&[]);
    let rig = Rig::start(1, &format!("{}\n{PATIENT}", redis.setting()), "").await;
    assert_eq!(rig.update(0, "a").await.status, 200);
    redis.stop();
    assert_refuses(&rig).await;
    // Long enough for the silent connection to be given up.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_refuses(&rig).await;
    redis.go_on();
    assert_recovers(&rig, "b").await;
    assert!(rig.update(0, "a").await.is_replay());
    // A claim that the store took up only after its caller had been refused was taken back: the key is free.
    for number in 0..5 {
        let reply = rig.update(0, &format!("refused-{number}")).await;
        assert!(reply.status == 200 && !reply.is_replay(), "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_silence_costs_no_connection() {
    let redis = Redis::start(&[]);
    let rig = Rig::start(1, &format!("{}\n{PATIENT}", redis.setting()), "").await;
    assert_eq!(rig.update(0, "a").await.status, 200);
    redis.stop();
    let (reply, ()) = tokio::join!(rig.update(0, "b"), async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        redis.go_on();
    });
    assert!(is_refused(&reply), "{reply:?}");
    assert_recovers(&rig, "b").await;
    let clients: String = redis.ask(&[b"INFO", b"stats"]);
    let made = clients.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
    // The gateway's, that of the question, and those of the waits for the port.
    assert!(made.parse::<u32>().unwrap() <= 4, "{made} connections");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_storm_of_connections_while_the_store_refuses_them() {
    let redis = Redis::start(&["--requirepass", "right"]);
    let setting = format!("store = \"redis://:wrong@127.0.0.1:{}/0\"\n{PATIENT}", redis.port());
    let rig = Rig::start(1, &setting, "").await;
    let begun = Instant::now();
    let mut asked = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        let reply = rig.update(0, &format!("k{asked}")).await;
        assert!(is_refused(&reply), "{reply:?}");
        assert!(!String::from_utf8_lossy(&reply.body).contains("wrong"));
        asked += 1;
    }
    let url = format!("redis://:right@127.0.0.1:{}/0", redis.port());
    let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
    let stats: String = redis::cmd("INFO").arg("stats").query(&mut connection).unwrap();
    let made = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
    let made: u32 = made.parse().unwrap();
    assert!(asked > 30 && made < 20, "{made} connections for {asked} requests");
    assert_eq!(unkeyed(&rig).await.status, 200);
    // The right password helps.
    let setting = format!("store = \"redis://:right@127.0.0.1:{}/0\"\n{PATIENT}", redis.port());
    let rig = Rig::start(1, &setting, "").await;
    assert_recovers(&rig, "k").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full() {
    let redis = Redis::start(&["--maxmemory-policy", "noeviction"]);
    let rig = Rig::start(1, &format!("{}\n{PATIENT}", redis.setting()), "").await;
    assert_eq!(rig.update(0, "a").await.status, 200);
    redis.ask::<()>(&[b"CONFIG", b"SET", b"maxmemory", b"1"]);
    assert_refuses(&rig).await;
    assert!(rig.update(0, "a").await.is_replay(), "what is stored is still answered");
    redis.ask::<()>(&[b"CONFIG", b"SET", b"maxmemory", b"0"]);
    assert_recovers(&rig, "b").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_may_not_be_written_to() {
    let main = Redis::start(&[]);
    let replica = Redis::start(&["--replicaof", &format!("127.0.0.1 {}", main.port())]);
    let rig = Rig::start(1, &format!("{}\n{PATIENT}", replica.setting()), "").await;
    assert_refuses(&rig).await;
    replica.ask::<()>(&[b"REPLICAOF", b"NO", b"ONE"]);
    assert_recovers(&rig, "a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_configuration_says_so_requests_go_on_without_a_promise() {
    let mut redis = Redis::start(&[]);
    redis.kill();
    let settings = format!("{}\n{PATIENT}\non_store_failure = \"proceed\"", redis.setting());
    let rig = Rig::start(1, &settings, "").await;
    for times in 1..=2 {
        let reply = rig.update(0, "k").await;
        assert_eq!((reply.status.as_u16(), reply.header("idempotency-status")), (200, "not-guaranteed"));
        assert_eq!(rig.calls().await.0, times);
    }
    assert_eq!(rig_stats(&rig).not_guaranteed, 2);
    redis.run();
    let reply =
        until(|| rig.update(0, "k"), |reply| reply.header("idempotency-status") != "not-guaranteed").await;
    assert!(reply.status == 200 && !reply.is_replay());
    assert!(rig.update(0, "k").await.is_replay());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_recorded_is_given_and_recorded_later() {
    let redis = Redis::start(&[]);
    let rig = Rig::start(1, &format!("{}\n{PATIENT}", redis.setting()), "").await;
    rig.fault(r#"{"mode":"delay","delay_ms":600}"#).await;
    let (first, ()) = tokio::join!(rig.update(0, "k"), async {
        rig.called(1).await;
        redis.stop();
    });
    assert_eq!(first.status, 200);
    assert!(rig_stats(&rig).store_failures > 0);
    redis.go_on();
    let again = until(|| rig.update(0, "k"), Reply::is_replay).await;
    assert_eq!(again.body, first.body);
    assert_eq!(rig.calls().await.0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_outlives_a_store_that_forgot_its_claim() {
    let mut redis = Redis::start(&[]);
    let rig = Rig::start(1, &format!("{}\n{PATIENT}", redis.setting()), "").await;
    rig.fault(r#"{"mode":"delay","delay_ms":600}"#).await;
    let (first, mut redis) = tokio::join!(rig.update(0, "k"), async {
        rig.called(1).await;
        redis.kill();
        redis
    });
    assert_eq!(first.status, 200);
    redis.run();
    // Not earlier than the record: before it, the key would be free.
    let end = Instant::now() + PATIENCE;
    while redis.keys().is_empty() {
        assert!(Instant::now() < end, "the answer is not recorded");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let again = until(|| rig.update(0, "k"), Reply::is_replay).await;
    assert_eq!(again.body, first.body);
    assert_eq!(rig.calls().await.0, 1);
}
