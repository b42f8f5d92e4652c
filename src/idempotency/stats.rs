//! What happened, in numbers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::claim::StoreError;
use super::store::Store;

/// Numbers since the start, and how full the store of this process is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys taken: requests with a key that were done.
    pub claims: u64,
    /// Stored answers given again.
    pub replays: u64,
    /// Requests whose first one was still running (409).
    pub conflicts: u64,
    /// Keys that came with another request (422).
    pub reuses: u64,
    /// Keys freed because nothing was done and the request may be tried again.
    pub releases: u64,
    /// Calls of the store that failed, late ones included.
    pub store_failures: u64,
    /// Records that could not be read.
    pub invalid_records: u64,
    /// Requests that were done although the store failed (`on_store_failure = "proceed"`).
    pub not_guaranteed: u64,
    /// Claims whose lease had run out before the request was sent or recorded.
    pub lost_leases: u64,
    /// Answers that could never be recorded.
    pub lost_records: u64,
    /// Keys in the memory of this process, those in use included. 0 with a shared store.
    pub entries: usize,
    /// Keys in use in the memory of this process. 0 with a shared store.
    pub held: usize,
    /// Bytes of answers in the memory of this process. 0 with a shared store.
    pub bytes: usize,
    /// Answers that had to leave the memory of this process before their time.
    pub evicted: u64,
    /// Updates with a key that run now, and answers that wait to be recorded.
    pub running: usize,
    /// Whether the shared store could be reached when it was last needed; always true without one.
    pub connected: bool,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) claims: Count,
    pub(super) replays: Count,
    pub(super) conflicts: Count,
    pub(super) reuses: Count,
    pub(super) releases: Count,
    pub(super) store_failures: Count,
    pub(super) invalid_records: Count,
    pub(super) not_guaranteed: Count,
    pub(super) lost_leases: Count,
    pub(super) lost_records: Count,
}

impl Counters {
    pub(super) fn failed(&self, why: &StoreError) {
        self.store_failures.add();
        if *why == StoreError::Invalid {
            self.invalid_records.add();
        }
    }

    pub(super) fn read(&self, store: &Store, running: usize) -> Stats {
        let (fill, connected) = match store {
            Store::Memory(memory) => (memory.fill(), true),
            Store::Shared(shared) => (super::memory::Occupancy::default(), shared.is_connected()),
        };
        Stats {
            claims: self.claims.get(),
            replays: self.replays.get(),
            conflicts: self.conflicts.get(),
            reuses: self.reuses.get(),
            releases: self.releases.get(),
            store_failures: self.store_failures.get(),
            invalid_records: self.invalid_records.get(),
            not_guaranteed: self.not_guaranteed.get(),
            lost_leases: self.lost_leases.get(),
            lost_records: self.lost_records.get(),
            entries: fill.entries,
            held: fill.held,
            bytes: fill.bytes,
            evicted: fill.evicted,
            running,
            connected,
        }
    }
}
