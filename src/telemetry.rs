//! Logs: one JSON object a line on standard output, written by a thread of its own so that a blocked pipe never
//! stops a request.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use parlance_adapters::json::quote;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::facts::Facts;

/// Lines that may wait for standard output; beyond it they are dropped and counted.
const MAX_WAITING: usize = 8192;

/// The way to standard output. A clone writes to the same.
#[derive(Debug, Clone)]
pub struct Lines {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl Lines {
    /// Starts the writing thread.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = sync_channel(MAX_WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_lines(&lines, out, &counter))?;
        Ok(Lines { queue, dropped })
    }

    /// Queues a whole line; never waits.
    pub fn write(&self, line: Vec<u8>) {
        if self.queue.try_send(Message::Line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until what was queued is written, but not for a pipe that nobody reads.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            let _ = written.recv_timeout(Duration::from_secs(1));
        }
    }
}

fn write_lines(lines: &Receiver<Message>, mut out: impl Write, dropped: &AtomicU64) {
    let mut buffer = Vec::with_capacity(64 * 1024);
    while let Ok(first) = lines.recv() {
        let mut flushed = None;
        for message in std::iter::once(first).chain(lines.try_iter()) {
            match message {
                Message::Line(line) => buffer.extend_from_slice(&line),
                Message::Flush(done) => flushed = Some(done),
            }
            if buffer.len() > 48 * 1024 || flushed.is_some() {
                break;
            }
        }
        if out.write_all(&buffer).and_then(|()| out.flush()).is_err() {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
        buffer.clear();
        if let Some(done) = flushed {
            let _ = done.try_send(());
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        LineWriter { lines: self.clone(), line: Vec::with_capacity(256) }
    }
}

/// Collects one event of `tracing` and queues it as one line.
#[derive(Debug)]
pub struct LineWriter {
    lines: Lines,
    line: Vec<u8>,
}

impl Write for LineWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.lines.write(std::mem::take(&mut self.line));
    }
}

/// Sends the events of the whole process to `lines`, as JSON. `filter` as in `info,hyper=warn`.
pub fn init(lines: &Lines, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|e| format!("log.level: {e}"))?;
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_target(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_writer(lines.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).map_err(|e| e.to_string())?;
    // A panic is a line like any other: its place, and not its text, which may hold what a request brought.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a defect of the gateway: it panicked");
    }));
    Ok(())
}

/// One answered request.
#[derive(Debug)]
pub struct Access<'a> {
    /// The request's id.
    pub id: &'a str,
    /// Its method.
    pub method: &'a Method,
    /// The answer's status; 499 where the caller hung up.
    pub status: u16,
    /// From the head of the request to the head of the answer.
    pub took: Duration,
    /// What else is known.
    pub facts: &'a Facts,
}

/// One line for each request, or none.
#[derive(Debug, Clone)]
pub struct AccessLog {
    lines: Option<Lines>,
    requests: bool,
}

impl AccessLog {
    /// Writes to `lines`, or nothing at all.
    pub fn new(lines: Option<Lines>) -> Self {
        AccessLog { lines, requests: true }
    }

    /// Writes none, though `lines` are there for other things.
    pub fn without_requests(lines: Lines) -> Self {
        AccessLog { lines: Some(lines), requests: false }
    }

    /// Lines of any sort that found no room.
    pub fn dropped(&self) -> u64 {
        self.lines.as_ref().map_or(0, Lines::dropped)
    }

    /// Queues the line of a request. It holds no body, no path and no header: ids of conversations are personal data.
    pub fn write(&self, access: &Access<'_>) {
        let Some(lines) = self.lines.as_ref().filter(|_| self.requests) else { return };
        let mut line = Vec::with_capacity(384);
        let text = |line: &mut Vec<u8>, name: &str, value: &str| {
            line.extend_from_slice(name.as_bytes());
            quote(value, line);
        };
        text(&mut line, "{\"timestamp\":", &format!("{:.6}", Timestamp::now()));
        text(&mut line, ",\"level\":\"INFO\",\"target\":\"access\",\"request_id\":", access.id);
        text(&mut line, ",\"method\":", access.method.as_str());
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1000.0;
        let numbers = format!(
            ",\"status\":{},\"duration_ms\":{:.3},\"upstream_ms\":{:.3}",
            access.status,
            milliseconds(access.took),
            milliseconds(access.facts.waited)
        );
        line.extend_from_slice(numbers.as_bytes());
        let facts = access.facts;
        text(&mut line, ",\"origin\":", facts.origin.as_str());
        let optional = [
            (",\"vendor\":", facts.vendor),
            (",\"upstream\":", facts.upstream.as_deref()),
            (",\"caller\":", facts.caller.as_deref()),
            (",\"code\":", facts.code.map(|code| code.as_str())),
            (",\"update_applied\":", facts.applied.map(|applied| applied.as_str())),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                text(&mut line, name, value);
            }
        }
        line.extend_from_slice(b"}\n");
        lines.write(line);
    }
}
