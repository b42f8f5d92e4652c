//! Records in this process. Each caller has a share of the keys and of the bytes, and none reaches into another's. Time is
//! an argument, so that tests can choose it.

mod account;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::answer::StoredResponse;
use super::claim::{Claim, ClaimOutcome, StoreError};
use account::Account;
pub use account::Limits;

/// Interval at which the records of all callers are searched for expired ones.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Occupancy of the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Keys, those in use included.
    pub entries: usize,
    /// Keys in use.
    pub held: usize,
    /// Bytes of responses that are kept with their body.
    pub bytes: usize,
    /// Bodies dropped before their `ttl` had passed.
    pub evicted: u64,
}

/// Records in this process.
#[derive(Debug)]
pub struct Memory(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    /// Records of each caller; `None` if no callers are configured.
    accounts: HashMap<Option<Arc<str>>, Account>,
    swept: Option<Instant>,
    evicted: u64,
}

impl Memory {
    /// Creates an empty store.
    pub fn new(limits: Limits) -> Self {
        Memory(Mutex::new(Inner { limits, accounts: HashMap::new(), swept: None, evicted: 0 }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No change panics half-way, so a poisoned state is consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the limits. Bodies beyond them are dropped; keys stay until they expire.
    pub fn limit(&self, limits: Limits) {
        let inner = &mut *self.lock();
        inner.limits = limits;
        let dropped = inner.accounts.values_mut().map(|account| account.drop_bodies(limits.bytes, 0));
        inner.evicted += dropped.sum::<u64>();
    }

    /// Current occupancy.
    pub fn occupancy(&self, now: Instant) -> Occupancy {
        let inner = &mut *self.lock();
        inner.sweep(now);
        let mut occupancy = Occupancy { evicted: inner.evicted, ..Occupancy::default() };
        for account in inner.accounts.values() {
            let (entries, held, bytes) = account.occupancy();
            occupancy.entries += entries;
            occupancy.held += held;
            occupancy.bytes += bytes;
        }
        occupancy
    }

    /// Claims the key if it is free, or if its outcome is unknown and the request may be repeated.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`]: the caller has as many keys as its share holds.
    pub fn claim(&self, now: Instant, claim: &Claim) -> Result<ClaimOutcome, StoreError> {
        let inner = &mut *self.lock();
        if inner.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_INTERVAL) {
            inner.sweep(now);
        }
        let entries = inner.limits.entries;
        inner.account(&claim.keyed.caller).claim(now, claim, entries)
    }

    /// Notes that the request is about to be sent. Returns false if the claim does not hold the key any more.
    pub fn mark(&self, now: Instant, claim: &Claim) -> bool {
        self.lock().account(&claim.keyed.caller).mark(now, claim, true)
    }

    /// Takes back the note that the request is about to be sent. Returns false if the claim does not hold the key any more.
    pub fn unmark(&self, now: Instant, claim: &Claim) -> bool {
        self.lock().account(&claim.keyed.caller).mark(now, claim, false)
    }

    /// Stores the response, with its body if `whole`, if the claim is the last one of the key, or the key is free. Returns
    /// false if another claim was made, or if there is no room.
    pub fn complete(&self, now: Instant, claim: &Claim, response: &StoredResponse, whole: bool) -> bool {
        let inner = &mut *self.lock();
        let limits = inner.limits;
        let (is_stored, dropped) =
            inner.account(&claim.keyed.caller).complete(now, claim, response, whole, limits);
        inner.evicted += dropped;
        is_stored
    }

    /// Releases the key if the claim still holds it.
    pub fn release(&self, claim: &Claim) {
        self.lock().account(&claim.keyed.caller).release(claim);
    }
}

impl Inner {
    fn account(&mut self, caller: &Option<Arc<str>>) -> &mut Account {
        self.accounts.entry(caller.clone()).or_default()
    }

    /// Removes expired records, and callers without any.
    fn sweep(&mut self, now: Instant) {
        self.swept = Some(now);
        self.accounts.retain(|_, account| {
            account.expire(now);
            !account.is_empty()
        });
    }
}
