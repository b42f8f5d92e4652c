//! What a listener counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of one listener; shared by all of its connections.
#[derive(Debug, Default)]
pub struct Connections {
    accepted: AtomicU64,
    ended: AtomicU64,
    handshakes_refused: AtomicU64,
    heads_late: AtomicU64,
    cut_off: AtomicU64,
}

/// The counters of a listener at one moment. All but `open` only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionStats {
    /// Connections that are open.
    pub open: u64,
    /// Connections that were accepted.
    pub accepted: u64,
    /// TLS handshakes that failed or took too long.
    pub handshakes_refused: u64,
    /// Connections that were ended because the head of a request took too long.
    pub heads_late: u64,
    /// Connections that were ended although their peer had not agreed: silent ones, and those that took no answers.
    pub cut_off: u64,
}

impl Connections {
    /// The counters now.
    pub fn stats(&self) -> ConnectionStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // In this order, so that what ends in between does not make the difference negative.
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

    /// Counts a connection, open until the guard is dropped.
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

/// One open connection.
#[derive(Debug)]
pub(super) struct Open(Arc<Connections>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}
