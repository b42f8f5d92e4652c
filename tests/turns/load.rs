//! A load of updates that would lose each other's changes, sent to the program as it is shipped. Its judge is the ledger of
//! the simulated vendors: every request of an update carries the update's number as its trace id.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use parlance_sandbox::Options;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{Client, NoReply, PATIENCE, Program, Redis, Reply, Request, Sandbox, contract};
use tokio::task::JoinSet;

/// Vendors whose conversations can be read: upstreams, the vendor, its member for the context, a conversation that it has,
/// and the vendor's member for the id. The first two upstreams lead to the same conversations.
const VENDORS: [(&[&str], &str, &str, &str, &str); 3] = [
    (&["sms", "also"], "agentphone", "metadata", "conv_def456", "id"),
    (&["planning"], "cuadra", "metadata", "a4f0c0a2-4b1d-4e57-8a2a-0c18f9d4b1e2", "id"),
    (&["voice"], "sigmamind", "dynamicVariables", "chat-d17T6uReChpyfFeP", "chatId"),
];

/// Updates of one conversation before its writers go on with another one, so that contexts stay small.
const UPDATES_EACH: usize = 50;
/// Time that a vendor takes for an answer, in milliseconds.
const VENDOR_MS: u64 = 4;

/// Time that an update may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);
/// Lease of a turn.
pub(crate) const LEASE: Duration = Duration::from_millis(2_500);

/// Programs over the simulated vendors.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    /// Time that a program has to end.
    pub(crate) drain: Duration,
    config: PathBuf,
    /// Files are gone when their programs are.
    directory: TempDir,
}

impl World {
    /// Simulated vendors. The programs have these tables and lines of the table `idempotency` in their configuration.
    pub(crate) async fn new(timeout: Duration, idempotency: &str, more: &str) -> Self {
        let options = Options { ledger_entries: 1_000_000, ledger_bytes: 2 << 30, ..Options::default() };
        let sandbox = Sandbox::with(options).await;
        let directory = tempfile::tempdir().unwrap();
        let world =
            World { config: directory.path().join("parlance.toml"), drain: PATIENCE, sandbox, directory };
        world.configure(timeout, idempotency, more);
        world
    }

    /// Replaces the configuration.
    pub(crate) fn configure(&self, timeout: Duration, idempotency: &str, more: &str) {
        let mut text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\ndrain_delay = \"0s\"\ndrain_timeout = \"{}ms\"\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n[log]\naccess = false\n[defaults]\nrate_limit = \"off\"\ntimeout = \"{}ms\"\nconnect_timeout = \"{}ms\"\n\
             [defaults.circuit]\nfailures = 0\nsuccess_rate = 0.0\n[idempotency]\n{idempotency}\n{more}\n",
            self.drain.as_millis(),
            timeout.as_millis(),
            timeout.as_millis(),
        );
        for (upstreams, vendor, ..) in VENDORS {
            for upstream in upstreams {
                text += &self.sandbox.fill(&format!(
                    "[upstreams.{upstream}]\nvendor = \"{vendor}\"\nbase_url = \"${{{vendor}}}\"\n\
                     credential = {{ value = \"${{{vendor}_key}}\" }}\n"
                ));
            }
        }
        let beside = self.directory.path().join("new.toml");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, &self.config).unwrap();
    }

    /// Starts a program.
    pub(crate) fn start(&self) -> Program {
        let serve = || Program::serve(env!("CARGO_BIN_EXE_parlance"), &[&self.config], &[]);
        tokio::task::block_in_place(serve)
    }

    /// The vendor gets a conversation of this id, without a context.
    pub(crate) async fn put(&self, vendor: &str, id: &str) {
        let (_, vendor, member, sample, id_member) = VENDORS[place(vendor)];
        let path = format!("/conversations/{vendor}/{sample}");
        let mut conversation = self.sandbox.control("GET", &path, Value::Null).await;
        conversation[id_member] = id.into();
        conversation[member] = json!({});
        if vendor == "agentphone" {
            // Only groups have a name.
            let of_group = json!({ "isGroup": true, "groupId": "g", "groupName": "t", "participants": [] });
            conversation.as_object_mut().unwrap().extend(of_group.as_object().unwrap().clone());
        }
        self.sandbox.control("PUT", &format!("/conversations/{vendor}/{id}"), conversation).await;
    }

    /// The context that the vendor has stored.
    pub(crate) async fn context(&self, vendor: &str, id: &str) -> Value {
        let path = format!("/conversations/{vendor}/{id}");
        let mut stored = self.sandbox.control("GET", &path, Value::Null).await;
        stored[VENDORS[place(vendor)].2].take()
    }

    /// The next requests of this method about a conversation are done and answered late.
    pub(crate) async fn hold(&self, method: &str, id: &str, time: Duration) {
        let rule = json!({
            "method": method, "path_contains": id, "mode": "delay", "delay_ms": time.as_millis() as u64,
            "apply_late": true,
        });
        self.sandbox.fault(rule).await;
    }
}

fn place(vendor: &str) -> usize {
    VENDORS.iter().position(|(_, name, ..)| *name == vendor).unwrap()
}

/// A merge patch.
pub(crate) fn merge(id: &str, body: &str) -> Request {
    Request::patch(id, body).set("Content-Type", "application/merge-patch+json")
}

/// Settings of a shared store that is patient enough for a busy machine.
pub(crate) fn shared(redis: &Redis, lease: Duration) -> String {
    format!("{}\nlease = \"{}ms\"\nstore_timeout = \"1500ms\"", redis.setting(), lease.as_millis())
}

/// Content of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Adds a member to the context by a merge patch.
    Merge,
    /// Puts another context in the place of the one that is there.
    Replace,
    /// Writes the title.
    Title,
    /// Writes the context as it was read, or as the caller's last update left it, with a counter that is one higher, on the
    /// condition that nothing has changed.
    Count,
}

/// Share of each change in a load.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mix {
    Merges,
    Conditions,
}

impl Mix {
    /// Callers that write to the same conversation. Of several that read it, one is first.
    fn writers(self) -> usize {
        match self {
            Mix::Merges => 6,
            Mix::Conditions => 3,
        }
    }

    /// True for the changes that the load is about.
    fn counts(self, change: Change) -> bool {
        match self {
            Mix::Merges => matches!(change, Change::Merge | Change::Replace),
            Mix::Conditions => change == Change::Count,
        }
    }

    fn any(self, vendor: usize) -> Change {
        let has_title = VENDORS[vendor].1 != "sigmamind";
        match (self, fastrand::u8(0..40)) {
            (_, 0..3) if has_title => Change::Title,
            (Mix::Merges, 5) => Change::Replace,
            (Mix::Conditions, 5..37) => Change::Count,
            _ => Change::Merge,
        }
    }
}

/// An update, as its caller knows it.
#[derive(Debug, Clone)]
struct Update {
    change: Change,
    /// The answer; `None` where the caller hung up, or the connection broke.
    reply: Option<Reply>,
}

/// Callers, in lanes: those of one lane write to the same conversation.
pub(crate) struct Load {
    pub(crate) world: World,
    mix: Mix,
    lanes: Vec<Lane>,
    /// Updates of the kind that is counted that must be answered with success.
    goal: usize,
    done: AtomicUsize,
    next: AtomicUsize,
    updates: Mutex<BTreeMap<usize, Update>>,
    /// The replicas that are there.
    pub(crate) replicas: Mutex<Vec<Option<SocketAddr>>>,
}

struct Lane {
    vendor: usize,
    done: AtomicUsize,
    /// Time of the last success, and the longest time between two.
    progress: Mutex<(Instant, Duration)>,
}

/// Result of a load.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// Updates that the load is about and that were answered with success.
    pub(crate) done: usize,
    /// Updates that were lost, or made others lose theirs.
    pub(crate) lost: BTreeSet<String>,
    /// What else is not as it should be.
    pub(crate) wrong: Vec<String>,
    /// The longest time in which a lane had no success.
    pub(crate) stalled: Duration,
    /// The shortest time after which a caller was told that the conversation is busy.
    pub(crate) busy_after: Option<Duration>,
}

impl Load {
    pub(crate) fn new(world: World, mix: Mix, lanes: usize, goal: usize) -> Arc<Self> {
        let lane = |number: usize| Lane {
            vendor: number % VENDORS.len(),
            done: AtomicUsize::new(0),
            progress: Mutex::new((Instant::now(), Duration::ZERO)),
        };
        Arc::new(Load {
            world,
            mix,
            lanes: (0..lanes).map(lane).collect(),
            goal,
            done: AtomicUsize::new(0),
            next: AtomicUsize::new(1),
            updates: Mutex::default(),
            replicas: Mutex::default(),
        })
    }

    /// Number of updates that were answered with success.
    pub(crate) fn done(&self) -> usize {
        self.done.load(Relaxed)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.done() >= self.goal
    }

    /// Runs the load over so many programs. `strike` does to them what it wants until it is over.
    pub(crate) async fn run(self: &Arc<Self>, programs: usize, strike: impl AsyncFnOnce(&mut Vec<Program>)) {
        let rule = json!({ "mode": "delay", "delay_ms": VENDOR_MS, "count": 100_000_000 });
        self.world.sandbox.fault(rule).await;
        let mut programs: Vec<Program> = (0..programs).map(|_| self.world.start()).collect();
        *self.replicas.lock().unwrap() = programs.iter().map(|program| Some(program.api)).collect();
        let mut conversations = JoinSet::new();
        for lane in 0..self.lanes.len() {
            for round in 0..2 + 4 * self.goal / self.lanes.len() / UPDATES_EACH {
                let load = Arc::clone(self);
                let vendor = VENDORS[self.lanes[lane].vendor].1;
                conversations.spawn(async move {
                    load.world.put(vendor, &name(lane, round)).await;
                });
            }
        }
        conversations.join_all().await;
        let mut writers = JoinSet::new();
        for number in 0..self.lanes.len() * self.mix.writers() {
            writers.spawn(Arc::clone(self).write(number % self.lanes.len(), number / self.lanes.len()));
        }
        for lane in &self.lanes {
            lane.progress.lock().unwrap().0 = Instant::now();
        }
        strike(&mut programs).await;
        writers.join_all().await;
        for program in programs {
            program.signal("TERM");
            let ended = program.ended().await;
            assert_eq!((ended.status.code(), ended.err.as_str()), (Some(0), ""), "{ended:?}");
        }
    }

    async fn write(self: Arc<Self>, lane: usize, writer: usize) {
        // One of the callers speaks HTTP/2.
        let client = Client::new(writer == 0);
        let mut last = None;
        while !self.is_over() {
            let number = self.next.fetch_add(1, Relaxed);
            let Some(address) = self.replica(writer + number) else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            let Lane { vendor, done, .. } = &self.lanes[lane];
            let round = done.load(Relaxed) / UPDATES_EACH;
            let upstreams = VENDORS[*vendor].0;
            let id = format!("{}:{}", upstreams[writer % upstreams.len()], name(lane, round));
            let change = self.mix.any(*vendor);
            let known =
                last.take().filter(|(of, _)| change == Change::Count && *of == id).map(|(_, reply)| reply);
            let Some(request) = self.request(&client, address, &id, (change, known), number).await else {
                continue;
            };
            let patience = match fastrand::u8(0..16) {
                0 => Duration::from_millis(fastrand::u64(0..100)),
                _ => PATIENCE,
            };
            let reply = tokio::time::timeout(patience, client.try_send(address, &request)).await;
            let reply = match reply {
                Ok(Ok(reply)) => Some(reply),
                Ok(Err(NoReply { sent: false })) => continue,
                Ok(Err(_)) => None,
                Err(_) => {
                    assert!(patience < PATIENCE, "no answer to {request:?}");
                    None
                }
            };
            if let Some(reply) = &reply {
                if reply.status != 200 || number.is_multiple_of(64) {
                    contract::judge(&request, reply);
                }
                if reply.status == 200 {
                    self.lanes[lane].done.fetch_add(1, Relaxed);
                    self.done.fetch_add(usize::from(self.mix.counts(change)), Relaxed);
                    let mut progress = self.lanes[lane].progress.lock().unwrap();
                    *progress = (Instant::now(), progress.1.max(progress.0.elapsed()));
                    last = Some((id, reply.clone()));
                }
            }
            self.updates.lock().unwrap().insert(number, Update { change, reply });
        }
    }

    fn replica(&self, number: usize) -> Option<SocketAddr> {
        let replicas = self.replicas.lock().unwrap();
        replicas[number % replicas.len()]
    }

    /// The request of an update; `None` if the conversation that it needs cannot be read.
    async fn request(
        &self,
        client: &Client,
        address: SocketAddr,
        id: &str,
        (change, known): (Change, Option<Reply>),
        number: usize,
    ) -> Option<Request> {
        let member = format!("m{number}");
        let (body, tag) = match change {
            Change::Merge => (json!({ "context": { member: number } }), None),
            Change::Replace => (json!({ "context": { member: number } }), None),
            Change::Title => (json!({ "title": format!("t{number}") }), None),
            Change::Count => {
                let read = Request::new("GET", &format!("/conversations/{id}"));
                let read = match known {
                    Some(reply) => reply,
                    None => client.try_send(address, &read).await.ok().filter(|read| read.status == 200)?,
                };
                let mut context = read.json()["context"].clone();
                context["n"] = (context["n"].as_u64().unwrap_or(0) + 1).into();
                (json!({ "context": context }), Some(read.header("etag").unwrap().to_owned()))
            }
        };
        let mut request = Request::patch(id, &body.to_string())
            .header("traceparent", &format!("00-{number:032x}-00000000000000a1-01"));
        if change == Change::Merge {
            request = request.set("Content-Type", "application/merge-patch+json");
        }
        if let Some(tag) = tag {
            request = request.header("If-Match", &tag);
        }
        Some(request)
    }

    /// Judges all that was done by the vendors' ledger and by what the conversations have become.
    pub(crate) async fn judge(&self) -> Judged {
        let updates = std::mem::take(&mut *self.updates.lock().unwrap());
        let mut judged = Judged::default();
        let mut effects = BTreeSet::new();
        for (lane, at) in self.lanes.iter().enumerate() {
            judged.stalled = judged.stalled.max(at.progress.lock().unwrap().1);
            for round in 0..=at.done.load(Relaxed) / UPDATES_EACH {
                self.replay(at.vendor, &name(lane, round), &updates, &mut effects, &mut judged).await;
            }
        }
        for (number, Update { change, reply }) in &updates {
            // Whoever has no answer knows nothing.
            let Some(reply) = reply else { continue };
            let (is_done, (status, code, applied)) = (effects.contains(number), reply.outcome());
            let told = || format!("{number}, {change:?}: {reply:?}");
            if status == 200 {
                judged.done += usize::from(self.mix.counts(*change));
                if !is_done {
                    judged.lost.insert(told());
                }
                continue;
            }
            let (expected, retryable) = match code.as_str() {
                "precondition-failed" => (*change == Change::Count, false),
                "conversation-busy" | "idempotency-store-unavailable" => (applied == "no", true),
                "vendor-timeout" => (applied != "yes", true),
                _ => (false, false),
            };
            let is_true = !(is_done && applied == "no") && reply.json()["retryable"] == retryable;
            if !expected || !is_true {
                judged.wrong.push(told());
            }
            if code == "conversation-busy" {
                judged.busy_after = Some(judged.busy_after.map_or(reply.took, |least| least.min(reply.took)));
            }
        }
        judged
    }

    /// Follows one conversation through the ledger: no update may have been made from a state that was another's by then.
    async fn replay(
        &self,
        vendor: usize,
        id: &str,
        updates: &BTreeMap<usize, Update>,
        effects: &mut BTreeSet<usize>,
        judged: &mut Judged,
    ) {
        let (_, vendor, member, ..) = VENDORS[vendor];
        let ledger = format!("/ledger?vendor={vendor}&id={id}");
        let ledger = self.world.sandbox.control("GET", &ledger, Value::Null).await;
        assert_eq!(ledger["dropped"], 0, "the ledger is not whole");
        // Changes of the context, and changes of anything.
        let (mut contexts, mut changes) = (0, 0);
        let mut read = BTreeMap::new();
        let (mut members, mut count) = (BTreeSet::new(), 0);
        for entry in ledger["entries"].as_array().unwrap() {
            let headers = entry["headers"].as_array().unwrap();
            let trace = headers.iter().find(|header| header[0] == "traceparent").map(|header| &header[1]);
            let Some(trace) = trace.and_then(|trace| trace.as_str()?.split('-').nth(1)) else { continue };
            let number = usize::from_str_radix(trace, 16).unwrap();
            if entry["method"] == "GET" {
                read.insert(number, (contexts, changes));
            }
            if entry["effect"] != true {
                continue;
            }
            if !effects.insert(number) {
                judged.wrong.push(format!("{number} was done twice"));
            }
            // The callers of those that never ended are not known any more.
            let body: Value = serde_json::from_str(entry["body"].as_str().unwrap()).unwrap();
            let change = updates[&number].change;
            let is_current = match change {
                Change::Merge => read[&number].0 == contexts,
                Change::Count => read[&number].1 == changes,
                Change::Replace | Change::Title => true,
            };
            if !is_current {
                judged
                    .lost
                    .insert(format!("{number}, {change:?} of {id}: others were between its read and it"));
            }
            changes += 1;
            match change {
                Change::Title => continue,
                Change::Replace => {
                    members = BTreeSet::from([format!("m{number}")]);
                    count = 0;
                }
                Change::Merge => drop(members.insert(format!("m{number}"))),
                Change::Count => count += 1,
            }
            contexts += 1;
            assert!(body[member].is_object(), "{body}");
        }
        let stored = self.world.context(vendor, id).await;
        let mut stored: BTreeMap<String, Value> = serde_json::from_value(stored).unwrap();
        let counted = stored.remove("n").map_or(0, |n| n.as_u64().unwrap());
        if counted != count {
            judged.lost.insert(format!("the counter of {id} is {counted}, not {count}"));
        }
        let stored: BTreeSet<String> = stored.into_keys().collect();
        let missing = members.difference(&stored).map(|member| format!("{member} is missing in {id}"));
        judged.lost.extend(missing);
        judged.wrong.extend(stored.difference(&members).map(|member| format!("{member} came back in {id}")));
    }
}

/// The vendor's id of a lane's conversation.
fn name(lane: usize, round: usize) -> String {
    format!("turns-{lane}-{round}")
}
