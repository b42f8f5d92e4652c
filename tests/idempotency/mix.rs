//! Everything at once: callers who repeat themselves and contradict themselves over two gateways, a vendor that fails,
//! and a store and gateways that are killed and stand still. Then [`History::violations`] says what must not be.
//!
//! `PARLANCE_SEED` makes the same choices again; what meets what is the machine's.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{Client, NoReply, PATIENCE, Redis, Reply, is_long, record};
use tokio::task::JoinSet;

use super::history::{Applied, History, Op, Outcome, Time, Update};
use super::processes::Replica;
use super::rig::{CALLERS, Rig, config_within, request};

const CONVERSATIONS: usize = 6;
const GATEWAYS: usize = 2;
const WORKERS: usize = 12;
/// An update takes no longer than `TIMEOUT`, a key is held no longer than `LEASE`.
const TIMEOUT: &str = "1s";
const LEASE: Duration = Duration::from_secs(4);

/// A generator of choices: SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    /// So many times in a hundred.
    fn percent(&mut self, times: usize) -> bool {
        self.below(100) < times
    }

    fn between(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.next() % (most - least))
    }
}

fn seed() -> u64 {
    match std::env::var("PARLANCE_SEED") {
        Ok(text) => text.parse().expect("PARLANCE_SEED is a number"),
        Err(_) => std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into(),
    }
}

/// The parts that all tasks share.
struct World {
    rig: Rig,
    /// The address of each gateway; it changes when the gateway is started again.
    addresses: Mutex<Vec<SocketAddr>>,
    history: Mutex<History>,
    /// The number of keys of each conversation that were used.
    keys: [AtomicUsize; CONVERSATIONS],
    start: Instant,
    over: AtomicBool,
}

impl World {
    fn now(&self) -> Time {
        u64::try_from(self.start.elapsed().as_micros()).unwrap()
    }

    /// Asks for an update, for at most that long, and notes what came of it.
    async fn ask(&self, caller: &Client, gateway: usize, update: Update, patience: Duration) -> Outcome {
        let address = self.addresses.lock().unwrap()[gateway];
        // Two callers with the same keys.
        let (name, of) = (update.key / 2, ["Bearer crm-key", "Bearer erp-key"][update.key % 2]);
        let key = format!("k{name}");
        let headers = [("authorization", of), ("idempotency-key", key.as_str())];
        let path = format!("/conversations/sms:{}", conversation(update.conversation));
        let (body, begun) = (body(update), self.now());
        let request = request(&path, &headers, &body);
        let sent = caller.try_send(address, &request);
        let outcome = match tokio::time::timeout(patience, sent).await {
            Ok(Ok(reply)) => outcome(&reply),
            // Nobody was there.
            Ok(Err(NoReply { sent: false })) => Outcome::Refused,
            Ok(Err(NoReply { sent: true })) | Err(_) => Outcome::Lost,
        };
        let op = Op { update, begun, ended: self.now(), outcome };
        self.history.lock().unwrap().ops.push(op);
        outcome
    }
}

fn conversation(number: usize) -> String {
    format!("conv_mix{number}")
}

fn neighbour(number: usize) -> usize {
    (number + 1) % CONVERSATIONS
}

fn body(Update { key, conversation, variant }: Update) -> String {
    format!(r#"{{"context":{{"update":"{key}-{conversation}-{variant}"}}}}"#)
}

/// The update that a conversation, or a request to the vendor, is of.
fn update(body: &Value) -> Option<Update> {
    let mut numbers = body["metadata"]["update"].as_str()?.split('-').map(|number| number.parse().unwrap());
    let mut next = || numbers.next().unwrap();
    Some(Update { key: next(), conversation: next(), variant: next() })
}

fn outcome(reply: &Reply) -> Outcome {
    let mut hasher = DefaultHasher::new();
    (reply.status, &reply.body).hash(&mut hasher);
    let problem = reply.json();
    let applied = match (reply.status, problem["update_applied"].as_str()) {
        (200, _) | (_, Some("yes")) => Applied::Yes,
        (_, Some("unknown")) => Applied::Unknown,
        (_, Some("no")) => Applied::No,
        _ => panic!("{reply:?}"),
    };
    match reply.code().as_str() {
        "idempotency-key-reused" => Outcome::Refused,
        "idempotency-outcome-unknown" => Outcome::Unknown,
        // The key is free, or another has it.
        _ if problem["retryable"] == true && applied == Applied::No => Outcome::Refused,
        ""
        | "vendor-rejected"
        | "vendor-error"
        | "vendor-unreachable"
        | "vendor-timeout"
        | "vendor-invalid-response" => {
            Outcome::Answered { answer: hasher.finish(), replayed: reply.is_replay(), applied }
        }
        _ => panic!("{reply:?}"),
    }
}

/// The rule for the vendor's next failure in a conversation.
fn fault(chance: &mut Chance, conversation: &str) -> String {
    let delay = chance.between(20, 250).as_millis();
    let what = match chance.below(10) {
        0..4 => format!(r#""mode":"delay","delay_ms":{delay}"#),
        4 => r#""mode":"status","status":429"#.to_owned(),
        5 => format!(r#""mode":"status","status":429,"delay_ms":{delay}"#),
        6 => r#""mode":"status","status":422,"body":"{}""#.to_owned(),
        7 => format!(r#""mode":"reset_after_request","apply":{}"#, chance.percent(50)),
        8 => r#""mode":"truncate","bytes":5"#.to_owned(),
        _ => format!(r#""mode":"hang","apply":{}"#, chance.percent(50)),
    };
    format!(r#"{{{what},"path_contains":"{conversation}"}}"#)
}

/// A caller: new keys and keys that were used a moment ago, by itself or another.
async fn work(world: Arc<World>, mut chance: Chance) {
    let caller = Client::default();
    while !world.over.load(Relaxed) {
        let own = chance.below(CONVERSATIONS);
        let keys = &world.keys[own];
        let used =
            if chance.percent(10) { keys.fetch_add(1, Relaxed) + 1 } else { keys.load(Relaxed).max(1) };
        let number = used - 1 - chance.below(used.min(4));
        // The same names in the hands of two callers.
        let key = 2 * (number * CONVERSATIONS + own) + chance.below(2);
        let variant = usize::from(chance.percent(10));
        // Another conversation under the key is another request as well.
        let elsewhere = if chance.percent(4) { neighbour(own) } else { own };
        let update = Update { key, conversation: elsewhere, variant };
        if chance.percent(6) {
            let rule = fault(&mut chance, &conversation(elsewhere));
            world.rig.fault(&rule).await;
        }
        let patience = if chance.percent(3) { chance.between(1, 60) } else { PATIENCE };
        let gateway = chance.below(GATEWAYS);
        world.ask(&caller, gateway, update, patience).await;
    }
}

/// The processes that can be killed and stopped.
struct Field {
    redis: Redis,
    gateways: [Replica; GATEWAYS],
    config: String,
}

/// Failures of the store and of the gateways.
async fn strike(world: &World, mut chance: Chance, field: &mut Field, end: Instant) {
    let kinds = if is_long() { 5 } else { 4 };
    // Each kind once, then any but the one that takes long.
    let mut next: Vec<usize> = (0..kinds).collect();
    for at in (1..kinds).rev() {
        next.swap(at, chance.below(at + 1));
    }
    let longest_pause = if is_long() { 1_500 } else { 400 };
    while Instant::now() < end || !next.is_empty() {
        tokio::time::sleep(chance.between(100, longest_pause)).await;
        let (kind, at) = (next.pop().unwrap_or_else(|| chance.below(4)), chance.below(GATEWAYS));
        let moment = chance.between(100, 400);
        match kind {
            0 => {
                field.gateways[at].kill();
                field.gateways[at] = tokio::task::block_in_place(|| Replica::start(&field.config));
                world.addresses.lock().unwrap()[at] = field.gateways[at].api;
            }
            1 | 4 => {
                field.gateways[at].freeze();
                tokio::time::sleep(if kind == 4 { LEASE + LEASE / 4 } else { moment }).await;
                field.gateways[at].thaw();
            }
            _ => {
                if kind == 2 {
                    field.redis.kill();
                    tokio::task::block_in_place(|| field.redis.run());
                } else {
                    field.redis.freeze();
                    tokio::time::sleep(moment).await;
                    field.redis.thaw();
                }
            }
        }
        world.rig.faults_over().await;
    }
}

/// Every key without an answer is used until it has one, or nobody knows it.
async fn settle(world: &World) {
    world.rig.faults_over().await;
    let unanswered = {
        let history = world.history.lock().unwrap();
        let is_answer = |op: &&Op| matches!(op.outcome, Outcome::Answered { .. } | Outcome::Unknown);
        let answered: BTreeSet<usize> =
            history.ops.iter().filter(is_answer).map(|op| op.update.key).collect();
        let used: BTreeSet<usize> = history.ops.iter().map(|op| op.update.key).collect();
        &used - &answered
    };
    let (caller, end) = (Client::default(), Instant::now() + PATIENCE);
    for key in unanswered {
        let own = key / 2 % CONVERSATIONS;
        // One of these has the key, or any may.
        let updates = [(own, 0), (own, 1), (neighbour(own), 0), (neighbour(own), 1)]
            .map(|(conversation, variant)| Update { key, conversation, variant });
        for update in updates.iter().cycle() {
            let outcome = world.ask(&caller, key % GATEWAYS, *update, PATIENCE).await;
            if matches!(outcome, Outcome::Answered { .. } | Outcome::Unknown) {
                break;
            }
            assert!(Instant::now() < end, "key {key} is never answered");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Notes the effects at the vendor and the last update of each conversation.
async fn look(world: &World) {
    let mut effects = Vec::new();
    let mut last = BTreeMap::new();
    for number in 0..CONVERSATIONS {
        let id = conversation(number);
        for body in world.rig.effects(Some(&id)).await {
            effects.push(update(&serde_json::from_str(&body).unwrap()).unwrap());
        }
        last.insert(number, update(&world.rig.conversation(&id).await));
    }
    let mut history = world.history.lock().unwrap();
    (history.effects, history.last) = (effects, last);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_history_of_keys_is_against_the_promise() {
    let (seed, start) = (seed(), Instant::now());
    let redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let rig = Rig::start(0, "", "").await;
    for number in 0..CONVERSATIONS {
        rig.put_conversation(&conversation(number)).await;
    }
    let settings =
        format!("{}\nstore_timeout = \"250ms\"\nlease = \"{}s\"", redis.setting(), LEASE.as_secs());
    let config =
        config_within(&rig.sandbox, TIMEOUT, &settings, &format!("{CALLERS}\n[log]\naccess = false"));
    let gateways = [Replica::start(&config), Replica::start(&config)];
    let world = Arc::new(World {
        addresses: Mutex::new(gateways.iter().map(|gateway| gateway.api).collect()),
        history: Mutex::default(),
        keys: Default::default(),
        start,
        over: AtomicBool::new(false),
        rig,
    });
    let mut field = Field { redis, gateways, config };
    let mut workers = JoinSet::new();
    for number in 1..=WORKERS {
        workers.spawn(work(Arc::clone(&world), Chance(seed.wrapping_add(number as u64))));
    }
    let length = Duration::from_secs(if is_long() { 70 } else { 2 });
    strike(&world, Chance(seed), &mut field, start + length).await;
    world.over.store(true, Relaxed);
    while let Some(worker) = workers.join_next().await {
        worker.unwrap_or_else(|error| panic!("PARLANCE_SEED={seed}: {error}"));
    }
    settle(&world).await;
    look(&world).await;
    let history = world.history.lock().unwrap();
    for outcome in [Outcome::Refused, Outcome::Lost] {
        assert!(
            history.ops.iter().any(|op| op.outcome == outcome),
            "PARLANCE_SEED={seed}: none is {outcome:?}"
        );
    }
    for was in [false, true] {
        let is_it = |op: &Op| matches!(op.outcome, Outcome::Answered { replayed, .. } if replayed == was);
        assert!(history.ops.iter().any(is_it), "PARLANCE_SEED={seed}: no replay or no first");
    }
    let violations = history.violations();
    record("violations in histories of keys", violations.len(), history.ops.len());
    assert!(violations.is_empty(), "PARLANCE_SEED={seed}: {} {:#?}", violations.len(), violations.first());
}
