//! Memory: bounded by the requests and connections that the gateway may hold, whatever callers and vendors send.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use testkit::{Connection, Program, eventually, is_long};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::bench::{Bench, ID, get, patch, program};

const PLACES: usize = 32;
const MAX_BODY: usize = 256 * 1024;
const MAX_RESPONSE: usize = 1024 * 1024;
/// Each is there as it came and as it goes on, and a part of it in the buffers of its connections.
const COPIES: f64 = 4.0;

/// A vendor whose answers are as long as they may be, and complete when it is told.
struct Heavy {
    url: String,
    asked: Arc<AtomicUsize>,
    go_on: watch::Sender<bool>,
}

impl Heavy {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asked, go_on) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(false));
        let (count, may) = (Arc::clone(&asked), go_on.subscribe());
        let mut answer = br#"{"id":"c","channel":"sms","padding":""#.to_vec();
        answer.resize(MAX_RESPONSE - 2, b'x');
        answer.extend_from_slice(b"\"}");
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(serve(tcp, Arc::clone(&answer), Arc::clone(&count), may.clone()));
            }
        });
        Heavy { url, asked, go_on }
    }
}

async fn serve(
    mut tcp: TcpStream,
    answer: Arc<Vec<u8>>,
    asked: Arc<AtomicUsize>,
    mut may: watch::Receiver<bool>,
) -> Option<()> {
    let mut read = Vec::new();
    loop {
        let whole = loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
                let length =
                    head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                break end + 4 + length.unwrap_or(0);
            }
            tcp.read_buf(&mut read).await.ok().filter(|read| *read > 0)?;
        };
        while read.len() < whole {
            tcp.read_buf(&mut read).await.ok().filter(|read| *read > 0)?;
        }
        read.drain(..whole);
        asked.fetch_add(1, SeqCst);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        let head = format!("{head}content-length: {}\r\n\r\n", answer.len());
        tcp.write_all(head.as_bytes()).await.ok()?;
        // All of it but the end.
        let (most, rest) = answer.split_at(answer.len() - 1);
        tcp.write_all(most).await.ok()?;
        may.wait_for(|may| *may).await.ok()?;
        tcp.write_all(rest).await.ok()?;
    }
}

async fn metrics(program: &Program) -> String {
    let answer = Connection::open(program.admin).await.unwrap().exchange(&get("/metrics")).await.unwrap();
    String::from_utf8(answer.body).unwrap()
}

/// One line of the process's status, in bytes.
fn status(program: &Program, name: &str) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// C17: everything is as large as it may be, on as many requests as there may be, and many more are asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded_by_what_may_be_in_flight() {
    let rounds = if is_long() { 10 } else { 2 };
    let bench = Bench::new().await;
    let heavy = Heavy::new().await;
    let server = format!("max_in_flight = {PLACES}\nmax_body = \"256KiB\"\nbody_timeout = \"1m\"");
    let more = format!(
        "timeout = \"1m\"\nmax_response = \"1MiB\"\n[upstreams.heavy]\nvendor = \"agentphone\"\n\
         base_url = \"{}\"\ncredential = {{ value = \"k\" }}\n",
        heavy.url
    );
    let program = program(&bench.replace("program.toml", bench.config(&server, &more)), &[]);
    let mut conn = Connection::open(program.api).await.unwrap();
    for _ in 0..100 {
        assert_eq!(conn.exchange(&patch(ID, "", r#"{"context":"c"}"#)).await.unwrap().status, 200);
    }
    drop(conn);
    let before = status(&program, "VmRSS");

    let (begin, end) = (r#"{"context":{"a":""#, r#""}}"#);
    let body = format!("{begin}{}{end}", "b".repeat(MAX_BODY - begin.len() - end.len()));
    // A conversation for each: updates of one take turns.
    let large = |place: usize| patch(&format!("heavy:c{place}"), "", &body);
    let (mut served, mut refused) = (0, 0);
    for _ in 0..rounds {
        heavy.go_on.send_replace(false);
        let asked = heavy.asked.load(SeqCst);
        let mut conns = Vec::new();
        for place in 0..PLACES {
            let (mut conn, large) = (Connection::open(program.api).await.unwrap(), large(place));
            conn.write(&large[..large.len() - 1]).await.unwrap();
            conns.push(conn);
        }
        // All places are taken by bodies that do not end; the others are refused, whatever they would send.
        let taken = format!("parlance_requests_in_flight {PLACES}\n");
        eventually("the places are taken", async || metrics(&program).await.contains(&taken)).await;
        for _ in 0..4 * PLACES {
            let mut conn = Connection::open(program.api).await.unwrap();
            // It may be reset while it still sends.
            if let Ok(answer) = conn.exchange(&large(0)).await {
                assert_eq!(answer.code(), "overloaded");
                refused += 1;
            }
        }
        for conn in &mut conns {
            conn.write(b"}").await.unwrap();
        }
        eventually("the vendor is asked", async || heavy.asked.load(SeqCst) == asked + PLACES).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        heavy.go_on.send_replace(true);
        for mut conn in conns {
            let answer = conn.reply().await.unwrap();
            assert_eq!(answer.status, 200, "{:?}", answer.headers);
            assert!(answer.body.len() > MAX_RESPONSE - 1024);
            served += 1;
        }
    }
    let peak = status(&program, "VmHWM");
    let (held, taken) = (PLACES * (MAX_BODY + MAX_RESPONSE), peak.saturating_sub(before));
    let times = taken as f64 / held as f64;
    assert!(times < COPIES, "{} KiB at the peak, {times:.2} times what may be held", taken / 1024);
    assert_eq!((served, refused > 0), (rounds * PLACES, true));
    program.signal("TERM");
    assert_eq!(program.ended().await.status.code(), Some(0));
}

/// Connections that wait for their next request are many, and cost what their buffers hold, not what these may hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_takes_little() {
    const CONNECTIONS: usize = 400;
    const EACH: usize = 16 * 1024;
    let bench = Bench::new().await;
    let program = program(&bench.replace("program.toml", bench.config("idle_timeout = \"5m\"", "")), &[]);
    let request = patch(ID, "", r#"{"context":"c"}"#);
    let mut conn = Connection::open(program.api).await.unwrap();
    for _ in 0..100 {
        assert_eq!(conn.exchange(&request).await.unwrap().status, 200);
    }
    let before = status(&program, "VmRSS");
    let mut conns = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut conn = Connection::open(program.api).await.unwrap();
        assert_eq!(conn.exchange(&request).await.unwrap().status, 200);
        conns.push(conn);
    }
    let each = status(&program, "VmRSS").saturating_sub(before) / CONNECTIONS;
    assert!(each <= EACH, "{each} bytes for each");
    for conn in &mut conns {
        assert_eq!(conn.exchange(&request).await.unwrap().status, 200, "all of them were there");
    }
    program.signal("TERM");
    assert_eq!(program.ended().await.status.code(), Some(0));
}
