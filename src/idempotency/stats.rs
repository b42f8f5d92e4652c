//! Counters of idempotency.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::claim::StoreError;
use super::memory::Occupancy;
use super::store::Store;

/// Counters since the start, and the occupancy of the store in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys claimed: keyed requests that were run.
    pub claims: u64,
    /// Stored responses given again.
    pub replays: u64,
    /// Repeated requests that came while the first one was running (409).
    pub conflicts: u64,
    /// Requests whose key belongs to another request (422).
    pub reuses: u64,
    /// Requests whose key's first request has no answer that anybody knows (409).
    pub unknown_outcomes: u64,
    /// Requests with a new key while the caller's share of records was full.
    pub full: u64,
    /// Responses stored without their body because it was too large.
    pub bodies_too_large: u64,
    /// Keys released because nothing was done and the request may be tried again.
    pub releases: u64,
    /// Calls of the store that failed or timed out.
    pub store_failures: u64,
    /// Records that could not be read.
    pub invalid_records: u64,
    /// Requests that were run although the store failed (`on_store_failure = "proceed"`).
    pub not_guaranteed: u64,
    /// Claims whose lease ended before the request was sent or its response stored.
    pub lost_leases: u64,
    /// Responses that could not be stored after all attempts.
    pub lost_records: u64,
    /// Keys in the store in memory, those in use included; 0 with a shared store.
    pub entries: usize,
    /// Keys in use in the store in memory; 0 with a shared store.
    pub held: usize,
    /// Bytes of responses with their body in the store in memory; 0 with a shared store.
    pub bytes: usize,
    /// Bodies of responses dropped from the store in memory before their `ttl` had passed.
    pub evicted: u64,
    /// Keyed updates that run, and responses that wait to be stored.
    pub running: usize,
    /// False if the shared store could not be reached when last needed; always true without one.
    pub connected: bool,
}

/// Monotonic counter.
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
    pub(super) unknown_outcomes: Count,
    pub(super) full: Count,
    pub(super) bodies_too_large: Count,
    pub(super) releases: Count,
    pub(super) store_failures: Count,
    pub(super) invalid_records: Count,
    pub(super) not_guaranteed: Count,
    pub(super) lost_leases: Count,
    pub(super) lost_records: Count,
}

impl Counters {
    pub(super) fn failed(&self, error: &StoreError) {
        self.store_failures.add();
        match error {
            StoreError::Invalid => self.invalid_records.add(),
            StoreError::Full => self.full.add(),
            _ => {}
        }
    }

    pub(super) fn read(&self, store: &Store, running: usize) -> Stats {
        let (occupancy, connected) = match store {
            Store::Memory(memory) => (memory.occupancy(Instant::now()), true),
            Store::Shared(shared) => (Occupancy::default(), shared.is_connected()),
        };
        Stats {
            claims: self.claims.get(),
            replays: self.replays.get(),
            conflicts: self.conflicts.get(),
            reuses: self.reuses.get(),
            unknown_outcomes: self.unknown_outcomes.get(),
            full: self.full.get(),
            bodies_too_large: self.bodies_too_large.get(),
            releases: self.releases.get(),
            store_failures: self.store_failures.get(),
            invalid_records: self.invalid_records.get(),
            not_guaranteed: self.not_guaranteed.get(),
            lost_leases: self.lost_leases.get(),
            lost_records: self.lost_records.get(),
            entries: occupancy.entries,
            held: occupancy.held,
            bytes: occupancy.bytes,
            evicted: occupancy.evicted,
            running,
            connected,
        }
    }
}
