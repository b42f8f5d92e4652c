//! Counters of a listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one listener, shared by its connections.
#[derive(Debug, Default)]
pub struct Connections {
    accepted: AtomicU64,
    ended: AtomicU64,
    handshakes_refused: AtomicU64,
    heads_late: AtomicU64,
    cut_off: AtomicU64,
}

/// Snapshot of the counters. All but `open` only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionStats {
    /// Open connections.
    pub open: u64,
    /// Accepted connections.
    pub accepted: u64,
    /// TLS handshakes that failed or timed out.
    pub handshakes_refused: u64,
    /// Connections closed because the head of a request timed out.
    pub heads_late: u64,
    /// Connections dropped because the peer did not react to a graceful close in time.
    pub cut_off: u64,
}

impl Connections {
    /// Reads the counters.
    pub fn stats(&self) -> ConnectionStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // `ended` first: a connection that ends in between cannot make the difference negative.
        let ended = read(&self.ended);
        let accepted = read(&self.accepted);
        ConnectionStats {
            open: accepted.saturating_sub(ended),
            accepted,
            handshakes_refused: read(&self.handshakes_refused),
            heads_late: read(&self.heads_late),
            cut_off: read(&self.cut_off),
        }
    }

    /// Counts a connection as open until the guard is dropped.
    pub(super) fn open(self: &Arc<Self>) -> Open {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    pub(super) fn handshake_refused(&self) {
        self.handshakes_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn head_late(&self) {
        self.heads_late.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn cut_off(&self) {
        self.cut_off.fetch_add(1, Ordering::Relaxed);
    }
}

/// Guard of an open connection.
#[derive(Debug)]
pub(super) struct Open(Arc<Connections>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}
