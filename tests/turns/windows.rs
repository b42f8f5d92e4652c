//! Moments in which a turn could be handed on too early, or not at all: through the program, over HTTP.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{Client, Program, Redis, Reply, Request, Sent, eventually};

use super::load::{World, merge, shared};

const TIMEOUT: Duration = Duration::from_secs(8);
/// Longer than any test here.
const LEASE: Duration = Duration::from_secs(60);
/// Time for which a vendor holds a request back.
const HELD: Duration = Duration::from_millis(500);

/// One program with turns in memory, or two with turns in a store, which goes with the world.
async fn worlds() -> [(World, Vec<Program>, Option<Redis>); 2] {
    let alone = World::new(TIMEOUT, "", "").await;
    let one = alone.start();
    let redis = Redis::start(&[]);
    let several = World::new(TIMEOUT, &shared(&redis, LEASE), "").await;
    let two = vec![several.start(), several.start()];
    [(alone, vec![one], None), (several, two, Some(redis))]
}

/// Answers with success to `updates`, and their order at the vendor: each was read after the one before was done.
async fn in_turn(world: &World, id: &str, updates: usize) {
    let sent: Vec<Sent> = world.sandbox.sent("agentphone").await;
    let sent: Vec<&Sent> = sent.iter().filter(|sent| sent.target.contains(id)).collect();
    assert_eq!(sent.iter().filter(|sent| sent.effect).count(), updates, "{sent:?}");
    let context = world.context("agentphone", id).await;
    assert_eq!(context.as_object().unwrap().len(), updates, "{context}: {sent:?}");
}

fn is_done(reply: &Reply) {
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// A caller that hangs up while its update is written, over each version of HTTP; the next update then waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_hangs_up_during_its_write_hands_nothing_on() {
    for (world, programs, _redis) in worlds().await {
        for (http2, id) in [(false, "conv_1"), (true, "conv_2")] {
            world.put("agentphone", id).await;
            world.hold("PATCH", id, HELD).await;
            let hasty = Client::new(http2);
            let before = world.sandbox.counts("agentphone").await.0;
            let first = merge(&format!("sms:{id}"), r#"{"context":{"a":1}}"#);
            tokio::select! {
                answered = hasty.send(programs[0].api, &first) => panic!("{answered:?}"),
                () = world.sandbox.reached("agentphone", before + 2) => {}
            }
            drop(hasty);
            let begun = Instant::now();
            let last = programs.last().unwrap().api;
            let second = merge(&format!("also:{id}"), r#"{"context":{"b":2}}"#);
            is_done(&Client::new(http2).send(last, &second).await);
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
            in_turn(&world, id, 2).await;
        }
    }
}

/// A caller that hangs up while its update reads or waits: it writes nothing, and nobody waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_hangs_up_before_its_write_leaves_nothing_behind() {
    for (world, programs, _redis) in worlds().await {
        for (http2, id) in [(false, "conv_1"), (true, "conv_2")] {
            world.put("agentphone", id).await;
            world.hold("GET", id, HELD).await;
            let before = world.sandbox.counts("agentphone").await.0;
            let mut hasty = tokio::task::JoinSet::new();
            for (number, program) in programs.iter().cycle().take(4).enumerate() {
                let request = merge(&format!("sms:{id}"), &format!(r#"{{"context":{{"h{number}":1}}}}"#));
                let api = program.api;
                hasty.spawn(async move { Client::new(http2).send(api, &request).await });
            }
            world.sandbox.reached("agentphone", before + 1).await;
            hasty.shutdown().await;
            let request = merge(&format!("sms:{id}"), r#"{"context":{"a":1}}"#);
            is_done(&Client::default().send(programs.last().unwrap().api, &request).await);
            in_turn(&world, id, 1).await;
        }
    }
}

/// A vendor that asks for a pause: the turn is held until the update was done, and confirmed before it is sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_the_vendor_asks_for_holds_the_turn() {
    for (world, programs, _redis) in worlds().await {
        for (method, id) in [("GET", "conv_1"), ("PATCH", "conv_2")] {
            world.put("agentphone", id).await;
            let limited = json!({
                "vendor": "agentphone", "method": method, "path_contains": id, "mode": "status", "status": 429,
                "headers": [["Retry-After", "1"]],
            });
            world.sandbox.fault(limited).await;
            let before = world.sandbox.counts("agentphone").await.0;
            let (first, last) = (programs[0].api, programs.last().unwrap().api);
            let requests = ["a", "b", "c"]
                .map(|member| merge(&format!("sms:{id}"), &format!(r#"{{"context":{{"{member}":1}}}}"#)));
            let clients = [Client::default(), Client::default(), Client::default()];
            let later = async |number: usize, address| {
                world.sandbox.reached("agentphone", before + 1).await;
                clients[number].send(address, &requests[number]).await
            };
            let (one, two, three) =
                tokio::join!(clients[0].send(first, &requests[0]), later(1, last), later(2, first));
            [one, two, three].iter().for_each(is_done);
            in_turn(&world, id, 3).await;
        }
    }
}

/// A token that the vendor refuses in the middle of an update is fetched anew within its turn.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_token_holds_the_turn() {
    let redis = Redis::start(&[]);
    let world = World::new(TIMEOUT, &shared(&redis, LEASE), "").await;
    let upstream = world.sandbox.fill(
        "[upstreams.chats]\nvendor = \"cuadra\"\nbase_url = \"${cuadra}\"\ncredential = { oauth2 = { token_url = \
         \"${token_url}\", client_id = \"${client_id}\", client_secret = { value = \"${client_secret}\" }, \
         scope = \"chat:write chat:read\" } }\n",
    );
    world.configure(TIMEOUT, &shared(&redis, LEASE), &upstream);
    let programs = [world.start(), world.start()];
    let id = "8f14e45f-ceea-467f-a9d5-8f2a1b3c4d5e";
    world.put("cuadra", id).await;
    for method in ["GET", "PATCH"] {
        let refused = json!({
            "vendor": "cuadra", "method": method, "path_contains": id, "mode": "status", "status": 401,
            "body": "{}", "delay_ms": 200,
        });
        world.sandbox.fault(refused).await;
        let mut callers = tokio::task::JoinSet::new();
        for number in 0..6 {
            let body = format!(r#"{{"context":{{"{method}{number}":1}}}}"#);
            let (address, request) = (programs[number % 2].api, merge(&format!("chats:{id}"), &body));
            callers.spawn(async move { Client::default().send(address, &request).await });
        }
        callers.join_all().await.iter().for_each(is_done);
    }
    let context = world.context("cuadra", id).await;
    assert_eq!(context.as_object().unwrap().len(), 12, "{context}");
}

/// A configuration that is replaced while a turn is at work and others wait: the new one's updates wait too.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_hands_nothing_on() {
    let redis = Redis::start(&[]);
    let memory = String::new();
    let store = |seconds| shared(&redis, Duration::from_secs(seconds));
    // The store may be another one afterwards.
    for (number, [old, new]) in
        [[memory.clone(), memory.clone()], [store(60), store(50)], [memory, store(60)]]
            .into_iter()
            .enumerate()
    {
        let world = World::new(TIMEOUT, &old, "").await;
        let program = world.start();
        let id = format!("conv_{number}");
        world.put("agentphone", &id).await;
        world.hold("PATCH", &id, HELD).await;
        let request =
            |member: &str| merge(&format!("sms:{id}"), &format!(r#"{{"context":{{"{member}":1}}}}"#));
        let (a, b, c) = (request("a"), request("b"), request("c"));
        let clients = [Client::default(), Client::default(), Client::default()];
        let (one, two, three) = tokio::join!(
            clients[0].send(program.api, &a),
            async {
                world.sandbox.reached("agentphone", 2).await;
                clients[1].send(program.api, &b).await
            },
            async {
                world.sandbox.reached("agentphone", 2).await;
                world.configure(Duration::from_secs(9), &new, "");
                program.signal("HUP");
                eventually("it is reloaded", async || {
                    let shown = clients[2].send(program.admin, &Request::new("GET", "/config")).await;
                    shown.text().contains("\"9s\"")
                })
                .await;
                clients[2].send(program.api, &c).await
            }
        );
        [one, two, three].iter().for_each(is_done);
        in_turn(&world, &id, 3).await;
    }
}

/// A process that ends while the update of a caller that hung up is under way: others wait for that, and for no lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_finishes_what_it_sent_and_leaves_no_lease() {
    let redis = Redis::start(&[]);
    let world = World::new(TIMEOUT, &shared(&redis, LEASE), "").await;
    let (leaving, staying) = (world.start(), world.start());
    world.put("agentphone", "conv_1").await;
    world.hold("PATCH", "conv_1", HELD).await;
    let hasty = Client::default();
    let first = merge("sms:conv_1", r#"{"context":{"a":1}}"#);
    tokio::select! {
        answered = hasty.send(leaving.api, &first) => panic!("{answered:?}"),
        () = world.sandbox.reached("agentphone", 2) => {}
    }
    drop(hasty);
    // The program sees that its caller is gone.
    tokio::time::sleep(HELD / 5).await;
    leaving.signal("TERM");
    let begun = Instant::now();
    let second = merge("sms:conv_1", r#"{"context":{"b":2}}"#);
    is_done(&Client::default().send(staying.api, &second).await);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let ended = leaving.ended().await;
    assert_eq!((ended.status.code(), ended.err.as_str()), (Some(0), ""), "{ended:?}");
    in_turn(&world, "conv_1", 2).await;
}

/// Updates that wait for their turn when their process ends: within the time that it has they are done, after it they are
/// told that nothing was sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_answers_those_that_wait() {
    let redis = Redis::start(&[]);
    for (drain, done) in [(TIMEOUT, true), (HELD / 2, false)] {
        let mut world = World::new(TIMEOUT, &shared(&redis, LEASE), "").await;
        world.drain = drain;
        world.configure(TIMEOUT, &shared(&redis, LEASE), "");
        let id = format!("conv_{done}");
        let (leaving, staying) = (world.start(), world.start());
        world.put("agentphone", &id).await;
        world.hold("PATCH", &id, HELD).await;
        let requests = [
            merge(&format!("sms:{id}"), r#"{"context":{"a":1}}"#),
            merge(&format!("sms:{id}"), r#"{"context":{"b":1}}"#),
        ];
        let (holder, waiter) = (Client::default(), Client::default());
        let (first, second, ()) = tokio::join!(
            holder.send(leaving.api, &requests[0]),
            async {
                world.sandbox.reached("agentphone", 2).await;
                waiter.send(leaving.api, &requests[1]).await
            },
            async {
                world.sandbox.reached("agentphone", 2).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
                leaving.signal("TERM");
            }
        );
        assert_eq!(leaving.ended().await.status.code(), Some(0));
        if done {
            is_done(&first);
            is_done(&second);
        } else {
            first.is_problem(504, "vendor-timeout");
            second.is_problem(503, "draining");
            assert_eq!(second.outcome().2, "no", "{second:?}");
        }
        let begun = Instant::now();
        let third = merge(&format!("sms:{id}"), r#"{"context":{"c":1}}"#);
        is_done(&Client::default().send(staying.api, &third).await);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        in_turn(&world, &id, if done { 3 } else { 1 }).await;
    }
}
