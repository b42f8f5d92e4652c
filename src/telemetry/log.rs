//! Log: one JSON object a line on standard output, written by a thread of its own so that a blocked pipe never blocks a
//! request.
//!
//! Not `tracing-appender`: if its queue is full at exit, its guard prints to standard output, and waits there without a
//! time limit for the lock that the blocked writer holds. It also does not count lines that fail to be written.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::types::build_error::BuildError;

/// Lines that may wait for standard output. Further ones are dropped and counted.
const MAX_QUEUED: usize = 8192;

/// Queue of lines for standard output. Clones share it.
#[derive(Debug, Clone)]
pub struct LogQueue {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl LogQueue {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = sync_channel(MAX_QUEUED);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_lines(&lines, out, &counter))?;
        Ok(LogQueue { queue, dropped })
    }

    /// Queues a line. Never waits.
    pub fn write(&self, line: Vec<u8>) {
        if self.queue.try_send(Message::Line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines dropped because the queue was full, and failed writes.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until the queued lines are written, for at most 1 s.
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

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = LogLine;

    fn make_writer(&'a self) -> LogLine {
        LogLine { queue: self.clone(), line: Vec::with_capacity(256) }
    }
}

/// Writer of one event of `tracing`, which it queues as one line.
#[derive(Debug)]
pub struct LogLine {
    queue: LogQueue,
    line: Vec<u8>,
}

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        self.queue.write(std::mem::take(&mut self.line));
    }
}

/// Sends the events of the process to `queue` as JSON. `filter` has the form `info,hyper=warn`.
///
/// # Errors
/// A filter that does not parse, or a second call in the process.
pub fn init(queue: &LogQueue, filter: &str) -> Result<(), BuildError> {
    let filter = EnvFilter::try_new(filter).map_err(|error| BuildError::new("log.level", error))?;
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_target(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_writer(queue.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).map_err(|error| BuildError::new("log", error))?;
    // The text of a panic is left out, because it may hold data of a request.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a defect of the gateway: it panicked");
    }));
    Ok(())
}
