//! Everything the simulated vendors received and what they did with it, bounded in entries and in bytes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::http::Head;

/// How far a request was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Taken {
    /// The head, and nothing of the body was looked at.
    #[default]
    Head,
    /// A part of the body, then the connection broke or the body was refused.
    Part,
    /// All of it.
    All,
}

/// How dealing with a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// What was to be sent went to the socket.
    Sent,
    /// The sandbox closed the connection.
    Closed,
    /// The sandbox reset the connection.
    Reset,
    /// The peer went away first.
    PeerGone,
    /// A silence reached its bound.
    TimeOver,
}

/// One request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entry {
    pub(crate) sequence: u64,
    pub(crate) ms: u64,
    pub(crate) vendor: &'static str,
    pub(crate) connection: u64,
    pub(crate) head: Arc<Head>,
    pub(crate) body: Vec<u8>,
    pub(crate) taken: Taken,
    pub(crate) status: Option<u16>,
    pub(crate) fault: Option<&'static str>,
    pub(crate) sent: u64,
    pub(crate) end: Option<End>,
    pub(crate) end_ms: Option<u64>,
    pub(crate) effect: bool,
    /// The body of the vendor's own answer; empty where a fault answered, and cut at [`MAX_ANSWER`].
    pub(crate) answer: Vec<u8>,
    pub(crate) note: Option<String>,
}

/// How many bytes of an answer are kept.
pub(crate) const MAX_ANSWER: usize = 64 << 10;

/// One connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) vendor: &'static str,
    pub(crate) opened_ms: u64,
    pub(crate) closed_ms: Option<u64>,
    pub(crate) requests: u64,
    pub(crate) server_name: Option<String>,
    pub(crate) fault: Option<&'static str>,
    pub(crate) note: Option<String>,
}

/// Totals of one vendor; they go on counting when entries are dropped.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) connections: u64,
    pub(crate) requests: u64,
    pub(crate) effects: u64,
}

#[derive(Debug, Default)]
struct Books {
    entries: VecDeque<Entry>,
    connections: VecDeque<Connection>,
    totals: BTreeMap<&'static str, Totals>,
    last_entry: u64,
    last_connection: u64,
    bytes: usize,
    dropped: u64,
}

/// A copy of the books for reading.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) entries: Vec<Entry>,
    pub(crate) connections: Vec<Connection>,
    pub(crate) dropped: u64,
}

/// The ledger.
#[derive(Debug)]
pub(crate) struct Ledger {
    books: Mutex<Books>,
    enabled: AtomicBool,
    started: Instant,
    max_entries: usize,
    max_bytes: usize,
}

impl Ledger {
    pub(crate) fn new(enabled: bool, max_entries: usize, max_bytes: usize) -> Self {
        Self {
            books: Mutex::default(),
            enabled: AtomicBool::new(enabled),
            started: Instant::now(),
            max_entries,
            max_bytes,
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the sandbox started.
    pub(crate) fn ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn enabled(&self) -> bool {
        self.enabled.load(Relaxed)
    }

    pub(crate) fn enable(&self, on: bool) {
        self.enabled.store(on, Relaxed);
    }

    /// Books a connection; its number is never used twice, and 0 while the ledger is off.
    pub(crate) fn connect(&self, vendor: &'static str) -> u64 {
        if !self.enabled() {
            return 0;
        }
        let opened_ms = self.ms();
        let mut books = self.books();
        books.last_connection += 1;
        let id = books.last_connection;
        books.totals_of(vendor).connections += 1;
        books.connections.push_back(Connection { id, vendor, opened_ms, ..Connection::default() });
        if books.connections.len() > self.max_entries {
            books.connections.pop_front();
        }
        id
    }

    /// Changes a connection's record, if it is still kept.
    pub(crate) fn on_connection(&self, id: u64, change: impl FnOnce(&mut Connection)) {
        if id == 0 {
            return;
        }
        let mut books = self.books();
        let at = books.connections.partition_point(|c| c.id < id);
        if let Some(connection) = books.connections.get_mut(at).filter(|c| c.id == id) {
            change(connection);
        }
    }

    /// Books a request as soon as its head is there, so that one that hangs is seen too. 0 while the ledger is off.
    pub(crate) fn open(&self, vendor: &'static str, connection: u64, head: Arc<Head>) -> u64 {
        if !self.enabled() {
            return 0;
        }
        let ms = self.ms();
        let mut books = self.books();
        books.last_entry += 1;
        let sequence = books.last_entry;
        books.totals_of(vendor).requests += 1;
        let at = books.connections.partition_point(|c| c.id < connection);
        if let Some(record) = books.connections.get_mut(at).filter(|c| c.id == connection) {
            record.requests += 1;
        }
        let entry = Entry { sequence, ms, vendor, connection, head, ..Entry::default() };
        books.bytes += entry.weight();
        books.entries.push_back(entry);
        books.trim(self.max_entries, self.max_bytes);
        sequence
    }

    /// Changes a request's record, if it is still kept.
    pub(crate) fn update(&self, sequence: u64, change: impl FnOnce(&mut Entry)) {
        if sequence == 0 {
            return;
        }
        let mut guard = self.books();
        let books = &mut *guard;
        let at = books.entries.partition_point(|e| e.sequence < sequence);
        let Some(entry) = books.entries.get_mut(at).filter(|e| e.sequence == sequence) else { return };
        let (weight, effect, vendor) = (entry.weight(), entry.effect, entry.vendor);
        change(entry);
        let grown = entry.weight().saturating_sub(weight);
        let newly = entry.effect && !effect;
        books.bytes += grown;
        if newly {
            books.totals_of(vendor).effects += 1;
        }
        books.trim(self.max_entries, self.max_bytes);
    }

    /// A copy of what matches.
    pub(crate) fn view(
        &self,
        entry: impl Fn(&Entry) -> bool,
        connection: impl Fn(&Connection) -> bool,
    ) -> View {
        let books = self.books();
        View {
            entries: books.entries.iter().filter(|e| entry(e)).cloned().collect(),
            connections: books.connections.iter().filter(|c| connection(c)).cloned().collect(),
            dropped: books.dropped,
        }
    }

    /// The totals of every vendor met so far.
    pub(crate) fn totals(&self) -> (BTreeMap<&'static str, Totals>, u64) {
        let books = self.books();
        (books.totals.clone(), books.dropped)
    }

    /// Forgets all records and totals. Numbers go on rising, so that `since` stays meaningful.
    pub(crate) fn clear(&self) {
        let mut books = self.books();
        let (last_entry, last_connection) = (books.last_entry, books.last_connection);
        *books = Books { last_entry, last_connection, ..Books::default() };
    }
}

impl Books {
    fn totals_of(&mut self, vendor: &'static str) -> &mut Totals {
        self.totals.entry(vendor).or_default()
    }

    fn trim(&mut self, max_entries: usize, max_bytes: usize) {
        while self.entries.len() > max_entries || (self.bytes > max_bytes && self.entries.len() > 1) {
            let Some(gone) = self.entries.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(gone.weight());
            self.dropped += 1;
        }
    }
}

impl Entry {
    fn weight(&self) -> usize {
        let fields: usize = self.head.headers.iter().map(|(name, value)| name.len() + value.len() + 48).sum();
        256 + self.head.target.len() + fields + self.body.len() + self.answer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entries_go_first_and_are_counted() {
        let ledger = Ledger::new(true, 3, usize::MAX);
        for _ in 0..5 {
            let sequence = ledger.open("v", 1, Arc::default());
            ledger.update(sequence, |e| e.effect = true);
        }
        let view = ledger.view(|_| true, |_| true);
        assert_eq!(view.entries.iter().map(|e| e.sequence).collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(view.dropped, 2);
        assert_eq!(ledger.totals().0["v"].effects, 5);
        ledger.update(1, |e| e.effect = true);
        ledger.clear();
        assert_eq!(ledger.open("v", 1, Arc::default()), 6);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let ledger = Ledger::new(true, 100, 2_000);
        for _ in 0..5 {
            let sequence = ledger.open("v", 1, Arc::default());
            ledger.update(sequence, |e| e.body = vec![0; 700]);
        }
        assert_eq!(ledger.view(|_| true, |_| true).entries.len(), 2);
    }
}
