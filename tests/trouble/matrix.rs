//! Every fault of the table at every vendor, with and without a key of the caller, over HTTP/1.1 and HTTP/2.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use parlance_adapters::{ALL, Spec};
use serde_json::Value;
use testkit::{Client, Reply, Request, Sandbox, record};
use tokio::net::TcpListener;

use super::rig::{self, Rig};
use super::secrecy::{is_shown, search_logs, searched};
use super::table::{CASES, Case, Told};

const AT_A_TIME: usize = 8;
/// The upstreams' timeout where it is waited for, the one of `rig` elsewhere, and what a busy machine may add to it.
const NEAR: Duration = Duration::from_secs(1);
const FAR: Duration = Duration::from_secs(5);
const SLACK: Duration = Duration::from_secs(5);
/// More than what sockets take without being read, less than what callers may send.
const LARGE: usize = 200 * 1024;

/// Problems whose request may succeed later.
const RETRYABLE: [&str; 5] =
    ["vendor-unreachable", "vendor-timeout", "vendor-error", "vendor-unavailable", "vendor-rate-limited"];

#[derive(Debug, Clone, Copy)]
struct Job {
    case: &'static Case,
    spec: &'static Spec,
    /// With a caller's key, over HTTP/2.
    keyed: bool,
}

/// The outcome of one case.
#[derive(Debug, Clone, Default)]
struct Outcome {
    fault: Option<String>,
    /// The vendor did it more than once.
    doubled: bool,
    /// `update_applied`, or success, is not what the vendor did or not what it must be.
    misreported: bool,
    leaked: bool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_truth_about_every_fault() {
    let panics = count_panics();
    let mut jobs = VecDeque::new();
    for case in CASES {
        for spec in ALL.iter().map(|adapter| adapter.spec()) {
            if case.only.is_none_or(|only| only == spec.vendor) {
                jobs.extend([false, true].map(|keyed| Job { case, spec, keyed }));
            }
        }
    }
    let all = jobs.len();
    let jobs = Arc::new(Mutex::new(jobs));
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let trap_url = format!("http://{}/", trap.local_addr().unwrap());
    let trapped = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&trapped);
    let trapping = tokio::spawn(async move {
        while trap.accept().await.is_ok() {
            counting.fetch_add(1, Relaxed);
        }
    });
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..AT_A_TIME {
        let (jobs, trap_url) = (Arc::clone(&jobs), trap_url.clone());
        workers.spawn(async move {
            let sandbox = Sandbox::start().await;
            search_logs(&sandbox);
            let mut outcomes = Vec::new();
            loop {
                let job = jobs.lock().unwrap().pop_front();
                let Some(job) = job else { break };
                let mut outcome = run(&sandbox, job, &trap_url).await;
                let caller = if job.keyed { "key, HTTP/2" } else { "no key, HTTP/1.1" };
                let which = format!("{} at {} ({caller})", job.case.id, job.spec.vendor);
                outcome.fault = outcome.fault.map(|why| format!("{which}: {why}"));
                outcomes.push(outcome);
            }
            sandbox.stop().await;
            outcomes
        });
    }
    let outcomes = workers.join_all().await.concat();
    let (lines, leaks) = searched();
    let count = |what: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| what(outcome)).count();
    record("doubled writes", count(|outcome| outcome.doubled), outcomes.len());
    record("wrong update_applied", count(|outcome| outcome.misreported), outcomes.len());
    record("secrets in answers", count(|outcome| outcome.leaked), outcomes.len());
    record("secrets in log lines", leaks, lines);
    let mut wrong: Vec<String> = outcomes.into_iter().filter_map(|outcome| outcome.fault).collect();
    wrong.sort();
    trapping.abort();
    assert!(wrong.is_empty(), "{} of {all} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(trapped.load(Relaxed), 0, "a redirect was followed");
    assert_eq!(panics.load(Relaxed), 0);
    assert!(lines > 0, "nothing was logged");
    assert_eq!(leaks, 0, "a credential is in the log");
}

/// Panics of this process that are not this test's own.
fn count_panics() -> Arc<AtomicUsize> {
    let panics = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&panics);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.location().is_some_and(|place| !place.file().contains("tests/")) {
            counting.fetch_add(1, Relaxed);
        }
        before(info);
    }));
    panics
}

fn body(job: Job) -> String {
    let takes_objects = job.spec.is_mergeable();
    if job.case.large && takes_objects {
        return format!("{{\"context\":{{\"text\":\"{}\"}}}}", "x".repeat(LARGE));
    }
    job.spec.example.patch.to_owned()
}

async fn run(sandbox: &Sandbox, job: Job, trap: &str) -> Outcome {
    let (case, spec) = (job.case, job.spec);
    let key = sandbox.key(spec.vendor);
    sandbox.control("POST", "/reset", Value::Null).await;
    let rule = case.rule.replace("{key}", &key).replace("{trap}", trap);
    let rule = format!("{{\"vendor\":\"{}\",{rule}}}", spec.vendor);
    sandbox.fault(rule).await;

    // A gateway for each case: no connection is left over from the one before.
    let more = if case.waits { "timeout = \"1s\"" } else { "" };
    let settings = rig::upstream("it", spec.vendor, &sandbox.url(spec.vendor).unwrap(), &key, more);
    let rig = Rig::with_client(&settings, Client::new(job.keyed)).await;
    let key_of_caller = [("Idempotency-Key", "the-callers-own-key")];
    let request = Request::patch(&rig::id("it", spec), &body(job));
    let answer = rig.send(&request.headers(if job.keyed { &key_of_caller } else { &[] })).await;
    let ledger = sandbox.control("GET", &format!("/ledger?vendor={}", spec.vendor), Value::Null).await;
    drop(rig);

    let repeats = spec.idempotency_key;
    let told = case.told_repeating.filter(|_| repeats).unwrap_or(case.told);
    let deadline = if case.waits { NEAR } else { FAR };
    let sent = if repeats { case.sent.1 } else { case.sent.0 };
    let effects = effects(&ledger);
    let (status, _, applied) = answer.outcome();
    let applied = if status == 200 { "yes" } else { applied.as_str() };
    let right = if told.status == 200 { "yes" } else { told.applied };
    let leaked = is_shown(&answer, &key);
    // The answer is kept for the key, unless the same key runs again.
    let again =
        told.applied == "no" && RETRYABLE.contains(&told.code) || told.applied == "unknown" && repeats;
    let kept = job.keyed && !again;
    let fault = judge_answer(&answer, told, case.retry_after, spec, kept)
        .and_then(|()| match answer.took {
            took if took > deadline + SLACK => Err(format!("it took {took:?}")),
            _ => Ok(()),
        })
        .and_then(|()| if leaked { Err("the credential is in the answer".to_owned()) } else { Ok(()) })
        .and_then(|()| judge_ledger(&ledger, told, sent))
        .and_then(|()| if effects > 1 { Err(format!("the vendor did it {effects} times")) } else { Ok(()) });
    let misreported = applied != right || !fits(applied, effects);
    Outcome { fault: fault.err(), doubled: effects > 1, misreported, leaked }
}

/// The number of times that the vendor did what was asked.
fn effects(ledger: &Value) -> usize {
    let entries = ledger["entries"].as_array().into_iter().flatten();
    entries.filter(|entry| entry["effect"] == true).count()
}

/// Tells whether the answer is true of what the vendor did.
fn fits(applied: &str, effects: usize) -> bool {
    match applied {
        "no" => effects == 0,
        // 200, and applied though the answer was not understood.
        "" | "yes" => effects >= 1,
        _ => true,
    }
}

fn judge_answer(
    answer: &Reply,
    told: Told,
    retry_after: Option<&str>,
    spec: &Spec,
    kept: bool,
) -> Result<(), String> {
    let body = String::from_utf8_lossy(&answer.body);
    let expected = (told.status, told.code.to_owned(), told.applied.to_owned());
    if answer.outcome() != expected && !(told.status == 200 && answer.status == 200) {
        return Err(format!("{:?} instead of {expected:?}: {body}", answer.outcome()));
    }
    let json = answer.json();
    let kind = answer.header("content-type").unwrap_or_default();
    if told.status == 200 {
        let id = rig::id("it", spec);
        let whole = kind == "application/json" && json["id"] == id && json["vendor"] == spec.vendor;
        return if whole { Ok(()) } else { Err(format!("not a conversation: {kind} {body}")) };
    }
    if kind != "application/problem+json" {
        return Err(format!("its type is {kind}"));
    }
    for member in ["type", "title", "detail", "instance", "request_id", "vendor", "upstream"] {
        if json[member].as_str().is_none_or(str::is_empty) {
            return Err(format!("{member} is missing: {body}"));
        }
    }
    let retryable = RETRYABLE.contains(&told.code) && !kept;
    if json["status"] != told.status || json["retryable"] != retryable {
        return Err(format!("status or retryable is wrong: {body}"));
    }
    if json["detail"].as_str().is_some_and(|detail| detail.contains("a new key is needed")) != kept {
        return Err(format!("it should say that a new key is needed: {kept}: {body}"));
    }
    let proxy_status = answer.header("proxy-status").unwrap_or_default();
    if !proxy_status.starts_with("parlance; ") {
        return Err(format!("Proxy-Status is {proxy_status:?}"));
    }
    if answer.header("retry-after") != retry_after {
        return Err(format!("Retry-After is {:?} instead of {retry_after:?}", answer.header("retry-after")));
    }
    Ok(())
}

/// Compares what the vendor saw and did with the answer.
fn judge_ledger(ledger: &Value, told: Told, sent: usize) -> Result<(), String> {
    let entries = ledger["entries"].as_array().ok_or("no ledger")?;
    if entries.len() != sent {
        return Err(format!("the vendor saw {} requests, not {sent}", entries.len()));
    }
    let effects = effects(ledger);
    if !fits(told.applied, effects) {
        return Err(format!("{effects} effects, though the caller was told {:?}", told.applied));
    }
    let header = |entry: &Value, name: &str| {
        let fields = entry["headers"].as_array().into_iter().flatten();
        fields
            .filter(|field| field[0].as_str().is_some_and(|have| have.eq_ignore_ascii_case(name)))
            .map(|field| field[1].clone())
            .collect::<Vec<_>>()
    };
    let Some(first) = entries.first() else { return Ok(()) };
    for entry in entries {
        let same = header(entry, "idempotency-key") == header(first, "idempotency-key")
            && (entry["read"] != "all" || first["read"] != "all" || entry["body"] == first["body"])
            && entry["target"] == first["target"];
        if !same {
            return Err("an attempt differs from the first".to_owned());
        }
        if entry["method"] != "PATCH" || header(entry, "content-length").len() != 1 {
            return Err(format!("an odd request: {entry}"));
        }
    }
    Ok(())
}
