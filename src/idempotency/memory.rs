//! Records in this process, bounded in number and in bytes. Time is an argument, so that tests can choose it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::answer::StoredResponse;
use super::claim::{ClaimOutcome, Fingerprint, Key, StoreError, Token};
use crate::settings;

/// Limits of the store.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Keys, those in use included.
    pub entries: usize,
    /// Bytes of responses. A single larger response is kept if it is the only one.
    pub bytes: usize,
}

impl From<&settings::Idempotency> for Limits {
    fn from(settings: &settings::Idempotency) -> Self {
        Limits { entries: settings.max_entries, bytes: settings.max_bytes }
    }
}

/// Occupancy of the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Keys, those in use included.
    pub entries: usize,
    /// Keys in use.
    pub held: usize,
    /// Bytes of responses.
    pub bytes: usize,
    /// Responses dropped before their `ttl` had passed.
    pub evicted: u64,
}

/// Records in this process.
#[derive(Debug)]
pub struct Memory(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    records: HashMap<Key, Record>,
    /// Keys in use, in the order of their claims.
    held: BTreeMap<u64, Key>,
    /// Keys with a response, oldest first.
    done: BTreeMap<u64, Key>,
    next: u64,
    bytes: usize,
    evicted: u64,
}

#[derive(Debug)]
struct Record {
    /// Key of this record in `held` or `done`.
    order: u64,
    fingerprint: Fingerprint,
    until: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    Held(Token),
    Done(StoredResponse),
}

impl Memory {
    /// Creates an empty store.
    pub fn new(limits: Limits) -> Self {
        Memory(Mutex::new(Inner {
            limits,
            records: HashMap::new(),
            held: BTreeMap::new(),
            done: BTreeMap::new(),
            next: 0,
            bytes: 0,
            evicted: 0,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No change panics half-way, so a poisoned state is consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the limits.
    pub fn limit(&self, limits: Limits) {
        let mut inner = self.lock();
        inner.limits = limits;
        inner.make_room(0, 0);
    }

    /// Current occupancy.
    pub fn occupancy(&self) -> Occupancy {
        let inner = self.lock();
        Occupancy {
            entries: inner.records.len(),
            held: inner.held.len(),
            bytes: inner.bytes,
            evicted: inner.evicted,
        }
    }

    /// Claims the key if it is free.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`]: all keys up to the limit are in use.
    pub fn claim(
        &self,
        now: Instant,
        key: Key,
        fingerprint: Fingerprint,
        token: Token,
        lease: Duration,
    ) -> Result<ClaimOutcome, StoreError> {
        let mut inner = self.lock();
        inner.remove_expired(now);
        if let Some(record) = inner.records.get(&key).filter(|record| record.until > now) {
            let fingerprint = record.fingerprint;
            return Ok(match &record.state {
                State::Held(_) => ClaimOutcome::Running { fingerprint },
                State::Done(response) => ClaimOutcome::Done { fingerprint, response: response.clone() },
            });
        }
        inner.remove(&key);
        if !inner.make_room(1, 0) {
            return Err(StoreError::Full);
        }
        let order = inner.order();
        inner.held.insert(order, key);
        let state = State::Held(token);
        inner.records.insert(key, Record { order, fingerprint, until: now + lease, state });
        Ok(ClaimOutcome::Claimed)
    }

    /// Stores the response if the key is still held by the claim, or free. Returns false if another claim holds it, or if
    /// there is no room.
    pub fn complete(
        &self,
        now: Instant,
        key: Key,
        fingerprint: Fingerprint,
        token: Token,
        response: StoredResponse,
        ttl: Duration,
    ) -> bool {
        let mut inner = self.lock();
        inner.remove_expired(now);
        match inner.records.get(&key) {
            Some(record) if record.until > now && !record.is_held_by(token) => return false,
            _ => inner.remove(&key),
        }
        let weight = response.weight();
        if !inner.make_room(1, weight) {
            // The lease of this key had ended, and other keys in use fill the store.
            return false;
        }
        let order = inner.order();
        inner.done.insert(order, key);
        inner.bytes += weight;
        let state = State::Done(response);
        inner.records.insert(key, Record { order, fingerprint, until: now + ttl, state });
        true
    }

    /// Releases the key if the claim still holds it.
    pub fn release(&self, key: Key, token: Token) {
        let mut inner = self.lock();
        if inner.records.get(&key).is_some_and(|record| record.is_held_by(token)) {
            inner.remove(&key);
        }
    }
}

impl Record {
    fn is_held_by(&self, token: Token) -> bool {
        matches!(self.state, State::Held(claim) if claim == token)
    }
}

impl Inner {
    fn order(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn remove(&mut self, key: &Key) {
        let Some(record) = self.records.remove(key) else { return };
        match record.state {
            State::Held(_) => {
                self.held.remove(&record.order);
            }
            State::Done(response) => {
                self.done.remove(&record.order);
                self.bytes = self.bytes.saturating_sub(response.weight());
            }
        }
    }

    /// Removes expired records, oldest first. A record that expires out of order, after a change of `ttl` or `lease`, is
    /// removed when its key is claimed or room is needed.
    fn remove_expired(&mut self, now: Instant) {
        for held in [true, false] {
            while let Some(key) = self.oldest(held)
                && self.records.get(&key).is_none_or(|record| record.until <= now)
            {
                self.remove(&key);
            }
        }
    }

    fn oldest(&self, held: bool) -> Option<Key> {
        let list = if held { &self.held } else { &self.done };
        list.first_key_value().map(|(_, key)| *key)
    }

    /// Drops the oldest responses until `entries` and `bytes` more fit. Keys in use stay: returns false if they leave no
    /// room.
    fn make_room(&mut self, entries: usize, bytes: usize) -> bool {
        while self.records.len() + entries > self.limits.entries || self.bytes + bytes > self.limits.bytes {
            let Some(key) = self.oldest(false) else { break };
            self.remove(&key);
            self.evicted += 1;
        }
        self.records.len() + entries <= self.limits.entries
    }
}
