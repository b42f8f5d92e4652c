//! Updates whose turn did not come, or whose holder or store died: each is told the truth.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{Client, PATIENCE, Program, Redis, Reply, Request, contract, eventually};
use tokio::task::JoinSet;

use super::load::{World, merge, shared};

const TIMEOUT: Duration = Duration::from_millis(1_500);
const LEASE: Duration = Duration::from_secs(3);
/// The longest time for an update with that lease.
const LONG: Duration = Duration::from_millis(2_800);

const BODY: &str = r#"{"context":{"a":1}}"#;

/// Two programs over a store, with a conversation.
async fn two(timeout: Duration, idempotency: &str) -> (World, [Program; 2]) {
    let world = World::new(timeout, idempotency, "").await;
    world.put("agentphone", "conv_1").await;
    let programs = [world.start(), world.start()];
    // Both are connected to their store.
    for program in &programs {
        let request = Request::patch("sms:conv_1", r#"{"title":"t"}"#).header("Idempotency-Key", "first");
        eventually("the store is connected", async || {
            Client::default().send(program.api, &request).await.status == 200
        })
        .await;
    }
    world.sandbox.forget().await;
    (world, programs)
}

fn refused(reply: &Reply, request: &Request, status: u16, code: &str, retryable: bool) {
    contract::judge(request, reply);
    reply.is_problem(status, code);
    let problem = reply.json();
    assert_eq!(
        (&problem["update_applied"], &problem["retryable"]),
        (&"no".into(), &retryable.into()),
        "{problem}"
    );
    if retryable {
        assert!(reply.retry_after().is_some(), "{reply:?}");
    }
}

/// More callers than the vendor can serve one after the other: those whose turn does not come are told so at their
/// deadline and not before, and may ask again, with the same key too.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_in_vain_is_told_at_the_deadline() {
    let redis = Redis::start(&[]);
    let memory = World::new(TIMEOUT, "", "").await;
    memory.put("agentphone", "conv_1").await;
    let alone = vec![memory.start()];
    let (store, programs) = two(TIMEOUT, &shared(&redis, LEASE)).await;
    for (world, programs) in [(memory, alone), (store, Vec::from(programs))] {
        let slow = json!({ "vendor": "agentphone", "mode": "delay", "delay_ms": 90, "count": 1_000_000 });
        world.sandbox.fault(slow).await;
        let mut callers = JoinSet::new();
        for number in 0..40 {
            let body = format!(r#"{{"context":{{"m{number}":1}}}}"#);
            let mut request = merge("sms:conv_1", &body);
            match number % 4 {
                0 => request = request.header("Idempotency-Key", &format!("busy-{number}")),
                1 => request = request.header("If-Match", "*"),
                _ => {}
            }
            let api = programs[number % programs.len()].api;
            callers.spawn(async move { (number, Client::default().send(api, &request).await, request) });
        }
        let (mut done, mut busy) = (Vec::new(), Vec::new());
        for (number, reply, request) in callers.join_all().await {
            match reply.code().as_str() {
                "" => done.push(format!("m{number}")),
                // Its turn came so late that there was no time left to read, or to write.
                "vendor-timeout" => assert_ne!(reply.outcome().2, "yes", "{reply:?}"),
                _ => {
                    refused(&reply, &request, 503, "conversation-busy", true);
                    assert!(reply.took >= TIMEOUT - Duration::from_millis(20), "{reply:?}");
                    busy.push((number, request));
                }
            }
        }
        assert!(done.len() >= 3 && busy.len() >= 10, "{} done, {} busy", done.len(), busy.len());
        let context = world.context("agentphone", "conv_1").await;
        assert!(done.iter().all(|member| context.get(member).is_some()), "{done:?}: {context}");
        assert!(
            busy.iter().all(|(number, _)| context.get(format!("m{number}")).is_none()),
            "{busy:?}: {context}"
        );
        world.sandbox.faults_over().await;
        for (number, request) in busy {
            let again = Client::default().send(programs[0].api, &request).await;
            assert!(again.status == 200 && !again.is_replay(), "{number}: {again:?}");
        }
    }
}

/// A holder that is killed while it reads: its key runs again when its lease is over. One that is killed while it writes:
/// nobody knows, and nobody does it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_holder_died_runs_again_only_if_nothing_was_sent() {
    let redis = Redis::start(&[]);
    for (method, reached) in [("GET", 1), ("PATCH", 2)] {
        let (world, [mut dying, living]) = two(TIMEOUT, &shared(&redis, LEASE)).await;
        world.hold(method, "conv_1", TIMEOUT / 2).await;
        let request = merge("sms:conv_1", BODY).header("Idempotency-Key", method);
        let client = Client::default();
        let (cut_off, ()) = tokio::join!(client.try_send(dying.api, &request), async {
            world.sandbox.reached("agentphone", reached).await;
            dying.kill();
        });
        assert!(cut_off.is_err());
        let begun = Instant::now();
        let ask = async |request: &Request| Client::default().send(living.api, request).await;
        refused(&ask(&request).await, &request, 409, "idempotency-in-progress", true);
        // Another key does not wait for longer than the lease either.
        let other = merge("sms:conv_1", r#"{"context":{"b":1}}"#);
        let mut last = None;
        eventually("the lease ends", async || {
            let reply = ask(&other).await;
            if reply.status != 200 {
                refused(&reply, &other, 503, "conversation-busy", true);
            }
            last = Some(reply);
            last.as_ref().is_some_and(|reply| reply.status == 200)
        })
        .await;
        let waited = begun.elapsed();
        assert!(waited < LEASE + Duration::from_secs(2), "{waited:?}");
        let again = loop {
            let again = ask(&request).await;
            if again.code() != "idempotency-in-progress" {
                break again;
            }
            assert!(begun.elapsed() < PATIENCE, "{again:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        if method == "GET" {
            assert!(again.status == 200 && !again.is_replay(), "{again:?}");
            assert_eq!(world.context("agentphone", "conv_1").await, json!({ "a": 1, "b": 1 }));
        } else {
            contract::judge(&request, &again);
            again.is_problem(409, "idempotency-outcome-unknown");
            let problem = again.json();
            assert_eq!(
                (&problem["update_applied"], &problem["retryable"]),
                (&"unknown".into(), &false.into())
            );
        }
        let wrote = |member: &str| {
            let member = format!("\"{member}\"");
            move |sent: &&testkit::Sent| sent.method == "PATCH" && sent.body.contains(&member)
        };
        let sent = world.sandbox.sent("agentphone").await;
        // In the second case the later merge finds nothing: the vendor forgets what a dead caller asked for late.
        let expected = if method == "GET" { 1 } else { sent.iter().filter(wrote("a")).count().min(2) };
        assert_eq!(sent.iter().filter(wrote("a")).count(), expected, "{sent:?}");
    }
}

/// A holder that stands still while it reads, for longer than its lease: it sends nothing, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_stood_still_says_that_nothing_was_sent() {
    let redis = Redis::start(&[]);
    // Its time is over too, or only its lease.
    for timeout in [TIMEOUT, LONG] {
        let (world, [holder, other]) = two(timeout, &shared(&redis, LEASE)).await;
        world.hold("GET", "conv_1", TIMEOUT / 3).await;
        let (late, next) = (merge("sms:conv_1", BODY), merge("sms:conv_1", r#"{"context":{"b":1}}"#));
        let client = Client::default();
        let (answer, ()) = tokio::join!(client.send(holder.api, &late), async {
            world.sandbox.reached("agentphone", 1).await;
            holder.freeze();
            eventually("the lease ends", async || {
                let reply = Client::default().send(other.api, &next).await;
                if reply.status != 200 {
                    refused(&reply, &next, 503, "conversation-busy", true);
                }
                reply.status == 200
            })
            .await;
            holder.thaw();
        });
        contract::judge(&late, &answer);
        assert!(matches!(answer.status, 503 | 504), "{answer:?}");
        assert_eq!(answer.outcome().2, "no", "{answer:?}");
        assert_eq!(world.context("agentphone", "conv_1").await, json!({ "b": 1 }));
        let again = Client::default().send(holder.api, &late).await;
        assert_eq!(again.json()["context"], json!({ "a": 1, "b": 1 }), "{again:?}");
    }
}

/// Without its store a program refuses what reads first, or does it in the order of its own callers, as it is told to.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_it_does_as_it_is_told() {
    for policy in ["refuse", "proceed"] {
        let mut redis = Redis::start(&[]);
        let (world, [program, _other]) =
            two(LONG, &format!("{}\non_store_failure = \"{policy}\"", shared(&redis, LEASE))).await;
        redis.kill();
        let slow = json!({ "vendor": "agentphone", "mode": "delay", "delay_ms": 10, "count": 1_000_000 });
        world.sandbox.fault(slow).await;
        let mut callers = JoinSet::new();
        for number in 0..24 {
            let merged = merge("sms:conv_1", &format!(r#"{{"context":{{"m{number}":1}}}}"#));
            let request = match number % 4 {
                0 => Request::patch("sms:conv_1", r#"{"title":"t"}"#),
                1 => merged.header("If-Match", "*"),
                _ => merged,
            };
            let api = program.api;
            callers.spawn(async move { (number, Client::default().send(api, &request).await, request) });
        }
        for (number, reply, request) in callers.join_all().await {
            if number % 4 == 0 || policy == "proceed" {
                assert_eq!(reply.status, 200, "{policy} {number}: {reply:?}");
            } else {
                refused(&reply, &request, 503, "idempotency-store-unavailable", true);
            }
        }
        // What is replaced as a whole is not read, and goes on.
        let members = world.context("agentphone", "conv_1").await.as_object().unwrap().len();
        assert_eq!(members, if policy == "proceed" { 18 } else { 0 });
        let replaced = Request::patch("sms:conv_1", BODY);
        assert_eq!(Client::default().send(program.api, &replaced).await.status, 200);

        // The store comes back, and with it the leases.
        redis.run();
        let request = merge("sms:conv_1", r#"{"context":{"back":1}}"#);
        eventually("the store is back", async || {
            Client::default().send(program.api, &request).await.status == 200
        })
        .await;
    }
}

/// A store that fails while an update reads for so long that it asks again before it writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_during_a_read_is_no_reason_to_send_or_to_refuse_against_the_settings() {
    for policy in ["refuse", "proceed"] {
        let mut redis = Redis::start(&[]);
        let (world, [program, _other]) =
            two(LONG, &format!("{}\non_store_failure = \"{policy}\"", shared(&redis, LEASE))).await;
        world.hold("GET", "conv_1", Duration::from_millis(1_300)).await;
        let request = merge("sms:conv_1", BODY);
        let client = Client::default();
        let (reply, ()) = tokio::join!(client.send(program.api, &request), async {
            world.sandbox.reached("agentphone", 1).await;
            redis.kill();
        });
        match policy {
            "proceed" => assert_eq!(reply.status, 200, "{reply:?}"),
            _ => refused(&reply, &request, 503, "idempotency-store-unavailable", true),
        }
        let sent = world.sandbox.sent("agentphone").await;
        assert_eq!(sent.iter().any(|sent| sent.method == "PATCH"), policy == "proceed", "{sent:?}");
    }
}

/// A store that is late once, while a merge is at work elsewhere: what replaces the context waits for it all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_late_once_is_no_reason_to_go_out_of_turn() {
    let redis = Redis::start(&[]);
    let hasty = shared(&redis, LEASE).replace("store_timeout = \"1500ms\"", "store_timeout = \"200ms\"");
    let (world, [holder, other]) = two(LONG, &hasty).await;
    world.hold("GET", "conv_1", Duration::from_millis(1_300)).await;
    let (merged, replaced) =
        (merge("sms:conv_1", BODY), Request::patch("sms:conv_1", r#"{"context":{"r":1}}"#));
    let clients = [Client::default(), Client::default()];
    let (first, second, ()) = tokio::join!(
        clients[0].send(holder.api, &merged),
        async {
            world.sandbox.reached("agentphone", 1).await;
            redis.freeze();
            clients[1].send(other.api, &replaced).await
        },
        async {
            eventually("the store is asked", async || redis.has_unread()).await;
            tokio::time::sleep(Duration::from_millis(210)).await;
            redis.thaw();
        }
    );
    assert_eq!((first.status, second.status), (200, 200), "{first:?} {second:?}");
    assert_eq!(
        world.context("agentphone", "conv_1").await,
        json!({ "r": 1 }),
        "the merge did not know of it"
    );
}
