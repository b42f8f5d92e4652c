//! The shared store fails: requests with a key are refused before anything is sent, others notice nothing, and all is
//! well again soon after.

use std::time::{Duration, Instant};

use testkit::{Machine, Redis, Reply, eventually, is_long, record};

use super::relay::Relay;
use super::rig::{BODY, PATH, Rig, until};

/// Patience with the store; generous, the machine may be busy.
const PATIENT: &str = "store_timeout = \"400ms\"";

fn is_refused(reply: &Reply) -> bool {
    reply.status == 503 && reply.code() == "idempotency-store-unavailable"
}

async fn unkeyed(rig: &Rig) -> Reply {
    rig.send(0, PATH, &[], BODY).await
}

/// Two gateways over one store: the first refuses where it fails, the second goes on without a promise.
async fn start(setting: &str) -> Rig {
    let mut rig = Rig::start(1, setting, "").await;
    rig.add(&format!("{setting}\non_store_failure = \"proceed\"")).await;
    rig
}

/// With the store gone: refused, at once or nearly, or done without a promise; unkeyed requests as ever.
async fn assert_fails(rig: &Rig) {
    let calls = rig.calls().await.0;
    for number in 0..5 {
        let begun = Instant::now();
        let reply = rig.update(0, &format!("refused-{number}")).await;
        assert!(is_refused(&reply), "{reply:?}");
        assert_eq!(reply.header("retry-after"), Some("1"));
        assert!(String::from_utf8_lossy(&reply.body).contains("\"update_applied\":\"no\""));
        assert!(begun.elapsed() < Duration::from_secs(3), "a refusal took {:?}", begun.elapsed());
    }
    assert_eq!(rig.calls().await.0, calls, "something was sent");
    for times in 1..=2 {
        let begun = Instant::now();
        let reply = rig.update(1, "unpromised").await;
        assert_eq!((reply.status, reply.header("idempotency-status")), (200, Some("not-guaranteed")));
        assert!(begun.elapsed() < Duration::from_secs(3), "it took {:?}", begun.elapsed());
        assert_eq!(rig.calls().await.0, calls + times);
    }
    assert_eq!(unkeyed(rig).await.status, 200);
}

/// With the store back.
async fn assert_recovers(rig: &Rig, key: &str) {
    let begun = Instant::now();
    let reply = until(|| rig.update(0, key), |reply| !is_refused(reply)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(begun.elapsed() < Duration::from_secs(8), "recovery took {:?}", begun.elapsed());
    let promised = |reply: &Reply| reply.header("idempotency-status").is_none();
    for gateway in 0..rig.gateways.len() {
        let again = until(|| rig.update(gateway, key), |reply| !is_refused(reply) && promised(reply)).await;
        assert!(again.is_replay(), "{again:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn down_at_the_start_killed_and_restarted_empty() {
    let mut redis = Redis::start(&[]);
    redis.kill();
    let rig = start(&format!("{}\n{PATIENT}", redis.setting())).await;
    assert!(!rig_stats(&rig).connected);
    assert_fails(&rig).await;
    redis.run();
    assert_recovers(&rig, "a").await;
    assert!(rig_stats(&rig).connected);
    redis.kill();
    assert_fails(&rig).await;
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
    let rig = start(&format!("{}\n{PATIENT}\nlease = \"5m\"", redis.setting())).await;
    assert_eq!(rig.update(0, "a").await.status, 200);
    redis.freeze();
    assert_fails(&rig).await;
    // Long enough for the silent connection to be given up.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_fails(&rig).await;
    redis.thaw();
    assert_recovers(&rig, "b").await;
    assert!(rig.update(0, "a").await.is_replay());
    // A claim that the store took up only after its caller had been refused is taken back, long before its lease ends.
    for number in 0..5 {
        let key = format!("refused-{number}");
        let reply = until(|| rig.update(0, &key), |reply| reply.status != 409).await;
        assert!(reply.status == 200 && !reply.is_replay(), "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_silence_costs_no_connection() {
    let redis = Redis::start(&[]);
    let rig = Rig::start(1, &format!("{}\n{PATIENT}", redis.setting()), "").await;
    assert_eq!(rig.update(0, "a").await.status, 200);
    redis.freeze();
    let (reply, ()) = tokio::join!(rig.update(0, "b"), async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        redis.thaw();
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
    let rig = start(&setting).await;
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
    assert_fails(&rig).await;
    // The right password helps.
    let setting = format!("store = \"redis://:right@127.0.0.1:{}/0\"\n{PATIENT}", redis.port());
    let rig = start(&setting).await;
    assert_recovers(&rig, "k").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slower_than_callers_are_asked_to_wait() {
    let redis = Redis::start(&[]);
    let way = Relay::start(redis.port()).await;
    let rig = start(&format!("{}\nstore_timeout = \"100ms\"", way.setting())).await;
    assert_recovers(&rig, "a").await;
    way.delay(Duration::from_millis(400));
    assert_fails(&rig).await;
    assert!(is_refused(&rig.update(0, "a").await));
    way.delay(Duration::ZERO);
    assert_recovers(&rig, "b").await;
    // Each claim that came too late was taken back.
    for number in 0..5 {
        let key = format!("refused-{number}");
        let reply = until(|| rig.update(0, &key), |reply| !is_refused(reply)).await;
        assert!(reply.status == 200 && !reply.is_replay(), "{reply:?}");
    }
    // As slow from the start: there is a connection, and it is of no use.
    way.delay(Duration::from_millis(200));
    let late = start(&format!("{}\nstore_timeout = \"100ms\"", way.setting())).await;
    assert_fails(&late).await;
    way.delay(Duration::ZERO);
    assert_recovers(&late, "c").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_after_the_store_is_back_keys_are_taken_again() {
    let mut redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let rig = Rig::start(1, &format!("{}\n{PATIENT}", redis.setting()), "").await;
    let times = if is_long() { 20 } else { 3 };
    let (mut late, mut disturbed) = (Vec::new(), 0);
    for number in 0.. {
        if number == times + disturbed {
            break;
        }
        // Every second time it stands still so long that its connections are given up.
        let killed = number % 2 == 0;
        if killed {
            redis.kill();
        } else {
            redis.freeze();
        }
        let away = Instant::now() + Duration::from_millis(1_600);
        while Instant::now() < away {
            rig.update(0, "while away").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if killed {
            redis.run();
        } else {
            redis.thaw();
        }
        let (back, machine) = (Instant::now(), Machine::watch());
        assert_recovers(&rig, &format!("k{number}")).await;
        let took = back.elapsed();
        if took > Duration::from_secs(1) {
            if machine.was_busy() && disturbed < times {
                disturbed += 1;
            } else {
                late.push(took);
            }
        }
    }
    record("returns of the store, keys taken later than in 1 s", late.len(), times);
    // A busy machine may be late once or twice.
    assert!(late.len() <= 1 + times / 10, "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn full() {
    let redis = Redis::start(&["--maxmemory-policy", "noeviction"]);
    let rig = start(&format!("{}\n{PATIENT}", redis.setting())).await;
    assert_eq!(rig.update(0, "a").await.status, 200);
    redis.ask::<()>(&[b"CONFIG", b"SET", b"maxmemory", b"1"]);
    assert_fails(&rig).await;
    assert!(rig.update(0, "a").await.is_replay(), "what is stored is still answered");
    redis.ask::<()>(&[b"CONFIG", b"SET", b"maxmemory", b"0"]);
    assert_recovers(&rig, "b").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_may_not_be_written_to() {
    let main = Redis::start(&[]);
    let replica = Redis::start(&["--replicaof", &format!("127.0.0.1 {}", main.port())]);
    let rig = start(&format!("{}\n{PATIENT}", replica.setting())).await;
    assert_fails(&rig).await;
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
        assert_eq!((reply.status, reply.header("idempotency-status")), (200, Some("not-guaranteed")));
        assert_eq!(rig.calls().await.0, times);
    }
    assert_eq!(rig_stats(&rig).not_guaranteed, 2);
    redis.run();
    let reply =
        until(|| rig.update(0, "k"), |reply| reply.header("idempotency-status") != Some("not-guaranteed"))
            .await;
    assert!(reply.status == 200 && !reply.is_replay());
    assert!(rig.update(0, "k").await.is_replay());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_recorded_is_given_and_recorded_later() {
    let redis = Redis::start(&[]);
    let rig = start(&format!("{}\n{PATIENT}", redis.setting())).await;
    rig.fault(r#"{"mode":"delay","delay_ms":600}"#).await;
    let (first, ()) = tokio::join!(rig.update(0, "k"), async {
        rig.called(1).await;
        redis.freeze();
    });
    assert_eq!(first.status, 200);
    assert!(rig_stats(&rig).store_failures > 0);
    redis.thaw();
    let again = until(|| rig.update(0, "k"), Reply::is_replay).await;
    assert_eq!(again.body, first.body);
    assert_eq!(rig.calls().await.0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_given_before_the_store_has_it() {
    let redis = Redis::start(&[]);
    let rig = Rig::start(1, &format!("{}\nstore_timeout = \"60s\"", redis.setting()), "").await;
    rig.fault(r#"{"mode":"delay","delay_ms":1000}"#).await;
    let mut first = std::pin::pin!(rig.update(0, "k"));
    let early = tokio::time::timeout(Duration::from_millis(2_500), async {
        tokio::select! {
            reply = &mut first => reply,
            never = async { rig.called(1).await; redis.freeze(); std::future::pending().await } => never,
        }
    });
    assert!(early.await.is_err(), "the store had not been asked, or its answer was not waited for");
    redis.thaw();
    assert_eq!(first.await.status, 200);
    let record: Vec<u8> = redis.ask(&[b"GET", redis.keys()[0].as_bytes()]);
    assert!(record.starts_with(b"parlance/2 done "));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_outlives_a_store_that_forgot_its_claim() {
    let mut redis = Redis::start(&[]);
    let rig = start(&format!("{}\n{PATIENT}", redis.setting())).await;
    rig.fault(r#"{"mode":"delay","delay_ms":600}"#).await;
    let (first, mut redis) = tokio::join!(rig.update(0, "k"), async {
        rig.called(1).await;
        redis.kill();
        redis
    });
    assert_eq!(first.status, 200);
    redis.run();
    // Not earlier than the record: before it, the key would be free.
    eventually("the answer is recorded", async || !redis.keys().is_empty()).await;
    let again = until(|| rig.update(0, "k"), Reply::is_replay).await;
    assert_eq!(again.body, first.body);
    assert_eq!(rig.calls().await.0, 1);
}
