//! Records in this process: bounded in number and in bytes. Time is an argument, so that tests have their own.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::answer::StoredResponse;
use super::claim::{ClaimOutcome, Fingerprint, Key, StoreError, Token};
use crate::settings;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Keys, those in use included.
    pub entries: usize,
    /// Bytes of answers. One answer that is larger alone is kept all the same, by itself.
    pub bytes: usize,
}

impl From<&settings::Idempotency> for Limits {
    fn from(settings: &settings::Idempotency) -> Self {
        Limits { entries: settings.max_entries, bytes: settings.max_bytes }
    }
}

/// How full it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Keys, those in use included.
    pub entries: usize,
    /// Keys in use.
    pub held: usize,
    /// Bytes of answers.
    pub bytes: usize,
    /// Answers that had to go before their time.
    pub evicted: u64,
}

/// Records in this process.
#[derive(Debug)]
pub struct Memory(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    records: HashMap<Key, Record>,
    /// Keys in use, by the order of their claims.
    held: BTreeMap<u64, Key>,
    /// IdempotentOutcome keys, oldest first.
    done: BTreeMap<u64, Key>,
    next: u64,
    bytes: usize,
    evicted: u64,
}

#[derive(Debug)]
struct Record {
    /// The place in `held` or `done`.
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
    /// Without a record.
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

    fn books(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics in the middle of a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps to other limits from now on.
    pub fn limit(&self, limits: Limits) {
        let mut books = self.books();
        books.limits = limits;
        books.make_room(0, 0);
    }

    /// How full it is.
    pub fn fill(&self) -> Occupancy {
        let books = self.books();
        Occupancy {
            entries: books.records.len(),
            held: books.held.len(),
            bytes: books.bytes,
            evicted: books.evicted,
        }
    }

    /// Takes the key if it is free.
    pub fn claim(
        &self,
        now: Instant,
        key: Key,
        fingerprint: Fingerprint,
        token: Token,
        lease: Duration,
    ) -> Result<ClaimOutcome, StoreError> {
        let mut books = self.books();
        books.forget_old(now);
        if let Some(record) = books.records.get(&key).filter(|record| record.until > now) {
            let fingerprint = record.fingerprint;
            return Ok(match &record.state {
                State::Held(_) => ClaimOutcome::Running { fingerprint },
                State::Done(answer) => ClaimOutcome::Done { fingerprint, answer: answer.clone() },
            });
        }
        books.remove(&key);
        if !books.make_room(1, 0) {
            return Err(StoreError::Full);
        }
        let order = books.order();
        books.held.insert(order, key);
        let state = State::Held(token);
        books.records.insert(key, Record { order, fingerprint, until: now + lease, state });
        Ok(ClaimOutcome::Mine)
    }

    /// Writes the answer if the key is still the claim's, or nobody's. False: it is another's now.
    pub fn complete(
        &self,
        now: Instant,
        key: Key,
        fingerprint: Fingerprint,
        token: Token,
        answer: StoredResponse,
        ttl: Duration,
    ) -> bool {
        let mut books = self.books();
        books.forget_old(now);
        match books.records.get(&key) {
            Some(record) if record.until > now && !record.is_held_by(token) => return false,
            _ => books.remove(&key),
        }
        let weight = answer.weight();
        if !books.make_room(1, weight) {
            // Full of keys in use, this one's lease having run out before: the answer cannot be kept.
            return false;
        }
        let order = books.order();
        books.done.insert(order, key);
        books.bytes += weight;
        let state = State::Done(answer);
        books.records.insert(key, Record { order, fingerprint, until: now + ttl, state });
        true
    }

    /// Frees the key if it is still the claim's.
    pub fn release(&self, key: Key, token: Token) {
        let mut books = self.books();
        if books.records.get(&key).is_some_and(|record| record.is_held_by(token)) {
            books.remove(&key);
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
            State::Done(answer) => {
                self.done.remove(&record.order);
                self.bytes = self.bytes.saturating_sub(answer.weight());
            }
        }
    }

    /// Forgets what is over. What came first is over first, unless a setting changed in between: then it is found when
    /// it is keyed for, or when room is made.
    fn forget_old(&mut self, now: Instant) {
        for of_held in [true, false] {
            while let Some(key) = self.oldest(of_held)
                && self.records.get(&key).is_none_or(|record| record.until <= now)
            {
                self.remove(&key);
            }
        }
    }

    fn oldest(&self, of_held: bool) -> Option<Key> {
        let list = if of_held { &self.held } else { &self.done };
        list.first_key_value().map(|(_, key)| *key)
    }

    /// Drops the oldest answers until so much more fits. Never a key in use: false if those leave no room.
    fn make_room(&mut self, entries: usize, bytes: usize) -> bool {
        while self.records.len() + entries > self.limits.entries || self.bytes + bytes > self.limits.bytes {
            let Some(key) = self.oldest(false) else { break };
            self.remove(&key);
            self.evicted += 1;
        }
        self.records.len() + entries <= self.limits.entries
    }
}
