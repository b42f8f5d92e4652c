//! `retryable` is true or it is not said: a caller that sends the same request with the same key while it is told so never
//! meets a stored answer that tells it so again, and succeeds once the vendor is well.

use std::sync::Arc;
use std::time::Duration;

use testkit::{Redis, is_long, record};
use tokio::task::JoinSet;

use super::rig::{Rig, SAFE_ID, SAFE_VENDOR};

const WORKERS: usize = 12;
/// Faults of the vendor: the mode, and `%` for a part that differs.
const FAULTS: [&str; 11] = [
    r#""mode":"status","status":500"#,
    r#""mode":"status","status":503"#,
    r#""mode":"status","status":429"#,
    r#""mode":"status","status":408"#,
    r#""mode":"status","status":404,"body":"{}""#,
    r#""mode":"status","status":422,"body":"{}""#,
    r#""mode":"reset_after_request","apply":true"#,
    r#""mode":"close_after_request","apply":false"#,
    r#""mode":"truncate","bytes":5"#,
    r#""mode":"garbage","apply":true"#,
    r#""mode":"delay","delay_ms":5"#,
];
/// Takes the whole time of an update.
const HANG: &str = r#""mode":"hang","apply":true"#;

fn updates() -> usize {
    if is_long() { 10_000 } else { 500 }
}

/// Sends one update for as long as its answer says that this may help. Gives all that was untrue.
async fn persist(rig: &Rig, gateway: usize, id: &str, path: &str, number: usize) -> Vec<String> {
    let (key, body) = (format!("k{number}"), format!(r#"{{"title":"{number}"}}"#));
    let fault = if number % 500 == 7 { HANG } else { FAULTS[number % FAULTS.len()] };
    let times = 1 + number / FAULTS.len() % 2;
    let rule = format!(r#"{{{fault},"path_contains":"{id}","count":{times}}}"#);
    // The sandbox takes no more than 1000 rules, used ones included.
    while rig.ask("POST", "/faults", &rule).await.status == 400 {
        rig.faults_over().await;
    }
    let mut untrue = Vec::new();
    for attempt in 0.. {
        let reply = rig.send(gateway, path, &[("idempotency-key", &key)], &body).await;
        let problem = reply.json();
        let says_so = problem["retryable"] == true;
        if reply.is_replay() && says_so {
            untrue.push(format!("{number}: a stored answer that says retryable: {reply:?}"));
            break;
        }
        if says_so && attempt > times + 1 {
            untrue.push(format!("{number}: told to try again {attempt} times: {reply:?}"));
            break;
        }
        if !says_so {
            // It would not have helped, and it says what would.
            let again = rig.send(gateway, path, &[("idempotency-key", &key)], &body).await;
            if again.is_replay() && (again.status, &again.body) != (reply.status, &reply.body) {
                untrue.push(format!("{number}: {reply:?} then {again:?}"));
            }
            let detail = problem["detail"].as_str().unwrap_or_default();
            if reply.status != 200 && again.is_replay() != detail.contains("a new key is needed") {
                untrue.push(format!("{number}: {reply:?} then {again:?}"));
            }
            break;
        }
    }
    // What was left of the fault, if the caller gave up first.
    for _ in 0..times {
        rig.send(gateway, path, &[], &body).await;
    }
    untrue
}

#[tokio::test(flavor = "multi_thread")]
async fn who_tries_again_while_told_so_succeeds() {
    let redis = Redis::start(&[]);
    let more = "[log]\naccess = false\n";
    let mut rig = Rig::start(1, &format!("{}\nstore_timeout = \"10s\"", redis.setting()), more).await;
    rig.add("store = \"memory\"").await;
    let rig = Arc::new(rig);
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let rig = Arc::clone(&rig);
        workers.spawn(async move {
            // A conversation of its own, so that its faults are.
            let upstream = ["sms", "again", "planning"][worker % 3];
            let id = if upstream == "planning" {
                let id = format!("{}{worker:02}", &SAFE_ID[..34]);
                let mut chat =
                    rig.control("GET", &format!("/conversations/{SAFE_VENDOR}/{SAFE_ID}"), "").await;
                chat["id"] = id.as_str().into();
                rig.control("PUT", &format!("/conversations/{SAFE_VENDOR}/{id}"), chat).await;
                id
            } else {
                let id = format!("conv_truth{worker:02}");
                rig.put_conversation(&id).await;
                id
            };
            let path = format!("/conversations/{upstream}:{id}");
            let mut untrue = Vec::new();
            for number in (worker..updates()).step_by(WORKERS) {
                untrue.extend(persist(&rig, worker / 3 % 2, &id, &path, number).await);
            }
            untrue
        });
    }
    let untrue = workers.join_all().await.concat();
    record("untrue retryable", untrue.len(), updates());
    assert!(untrue.is_empty(), "{} {:#?}", untrue.len(), untrue.first());
    assert!(
        tokio::time::timeout(Duration::from_secs(10), rig.gateways[0].live().idempotency.idle())
            .await
            .is_ok()
    );
}
