//! The wall clock jumps, as it does when a machine wakes up or its time is set: nothing that waits may wait for it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use testkit::{Connection, Ended, Program, Reply, is_long, record};

use crate::bench::{Bench, ID, get, patch, program};
use crate::load::Callers;

/// The library that gives a program another wall clock.
fn faketime() -> PathBuf {
    let places = std::fs::read_dir("/usr/lib").unwrap().map(|place| place.unwrap().path());
    let mut found =
        places.map(|place| place.join("faketime/libfaketimeMT.so.1")).filter(|file| file.exists());
    found.next().expect("libfaketime is not installed: apt-get install libfaketime")
}

/// By how many seconds the program's clock differs from ours, as its last line of the log says.
fn offset(program: &Program) -> Option<i64> {
    let line = program.log().pop()?;
    let then: jiff::Timestamp = line["timestamp"].as_str()?.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Some(then.as_second() - i64::try_from(now).unwrap())
}

/// Callers of what keeps time.
struct Watch {
    program: Program,
}

impl Watch {
    async fn ask(&self, id: &str, headers: &str, body: &str) -> Reply {
        let mut conn = Connection::open(self.program.api).await.unwrap();
        conn.exchange(&patch(id, headers, body)).await.unwrap()
    }

    /// The value of a series.
    async fn metric(&self, series: &str) -> f64 {
        let mut conn = Connection::open(self.program.admin).await.unwrap();
        let text = String::from_utf8(conn.exchange(&get("/metrics")).await.unwrap().body).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.unwrap_or_else(|| panic!("no {series} in {text}")).trim().parse().unwrap()
    }
}

/// C18.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wall_clock_may_jump() {
    let long = if is_long() { 5 } else { 1 };
    let bench = Bench::new().await;
    let credentials = bench.sandbox.credentials();
    let client = &credentials["cuadra"].clients[0];
    let more = format!(
        "timeout = \"8s\"\n[upstreams.planning]\nvendor = \"cuadra\"\nbase_url = \"{}\"\n\
         credential = {{ oauth2 = {{ token_url = \"{}\", client_id = \"{}\", client_secret = {{ value = \"{}\" }} }} }}\n\
         [upstreams.rare]\nvendor = \"agentphone\"\nbase_url = \"{}\"\nrate_limit = \"3/3600s\"\n\
         credential = {{ value = \"{}\" }}\n",
        bench.sandbox.url("cuadra").unwrap(),
        bench.sandbox.token_url(),
        client.client_id,
        client.client_secret,
        bench.sandbox.url("agentphone").unwrap(),
        credentials["agentphone"].keys[0],
    );
    let conversation = |vendor: &str| bench.sandbox.samples()[vendor].conversations[0].to_owned();
    let planning = format!("planning:{}", conversation("cuadra"));
    let rare = format!("rare:{}", conversation("agentphone"));
    let config = bench.replace("program.toml", bench.config("", &more));
    let clock = bench.replace("clock", "+0");
    let (library, file) = (faketime().display().to_string(), clock.display().to_string());
    let environment = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", file.as_str()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let watch = Watch { program: program(&config, &environment) };
    let api = watch.program.api;

    let context = r#"{"context":{"a":"b"}}"#;
    for status in [200, 200, 200, 429] {
        assert_eq!(watch.ask(&rare, "", context).await.status, status);
    }
    let first = watch.ask(ID, "Idempotency-Key: k\r\n", r#"{"context":"c"}"#).await;
    assert_eq!((first.status, watch.ask(&planning, "", context).await.status), (200, 200));

    let callers = Callers::start(4, None, move || Some(api));
    let (mut asked, mut failed) = (0, Vec::new());
    let (hour, day) = (3600, 86_400);
    let back = (1..=20).map(|step| 3 * day - 7 * step);
    for seconds in [hour, -hour, 3 * day].into_iter().chain(back).chain([0]) {
        // One that is waiting for its vendor when the clock jumps.
        bench.fault(r#"{"vendor":"agentphone","mode":"delay","delay_ms":120}"#).await;
        let mut slow = Connection::open(api).await.unwrap();
        slow.write(&patch(&format!("sms:{}", conversation("agentphone")), "", context)).await.unwrap();
        bench.replace("clock", format!("{seconds:+}"));
        let in_steps = ![hour, -hour, 3 * day, 0].contains(&seconds);
        tokio::time::sleep(if in_steps {
            Duration::from_millis(20)
        } else {
            Duration::from_millis(400) * long
        })
        .await;
        let mut expect = |what: String, answer: Reply, status: u16| {
            asked += 1;
            if answer.status != status {
                failed.push(format!("{seconds:+} {what}: {answer:?}"));
            }
        };
        expect("slow".into(), slow.reply().await.unwrap(), 200);
        // A token is as old as it is, whatever the clock says, and so is a place in the limit.
        expect("token".into(), watch.ask(&planning, "", context).await, 200);
        expect("limit".into(), watch.ask(&rare, "", context).await, 429);
        let replay = watch.ask(ID, "Idempotency-Key: k\r\n", r#"{"context":"c"}"#).await;
        assert_eq!(replay.header("idempotent-replayed"), Some("true"), "{seconds:+} {replay:?}");
        assert_eq!(replay.body, first.body);
        // It did jump.
        let off = offset(&watch.program).unwrap();
        assert!((off - seconds).abs() < 60, "{off} instead of {seconds}");
    }
    let seen = callers.end().await;
    let (bad, sent) = seen.failed();
    record("failed requests while the wall clock jumps", bad + failed.len(), sent + asked);
    assert!(failed.is_empty(), "{failed:?}");
    seen.is_perfect();
    assert!(seen.good() > 100, "{}", seen.good());

    for upstream in ["sales", "sms", "planning", "rare"] {
        let series = format!("parlance_circuit_opened_total{{upstream=\"{upstream}\"}}");
        assert_eq!(watch.metric(&series).await, 0.0, "{upstream}");
    }
    let tokens = bench.sent("cuadra").await.iter().filter(|entry| entry.target == "/v1/oauth2/token").count();
    assert_eq!(tokens, 1, "the token was fetched again");
    // Every request has an id of its own, and no line of the log tells of a defect.
    let lines = watch.program.log();
    let ids: Vec<&str> = lines.iter().filter_map(|line| line["request_id"].as_str()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    let loud: Vec<&Value> =
        lines.iter().filter(|line| line["level"] == "ERROR" || line["level"] == "WARN").collect();
    assert!(loud.is_empty(), "{loud:?}");
    watch.program.signal("TERM");
    let Ended { status, err: said, .. } = watch.program.ended().await;
    assert_eq!((status.code(), said.as_str()), (Some(0), ""));
}
