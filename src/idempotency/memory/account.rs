//! Records of one caller.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::idempotency::answer::StoredResponse;
use crate::idempotency::claim::{Claim, ClaimOutcome, Fingerprint, Key, StoreError, Token};
use crate::idempotency::record;
use crate::settings;

/// Expired records removed at once; the rest is removed at the next occasion.
const REMOVED_AT_ONCE: usize = 1000;

/// Limits of one caller's share.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Keys, those in use included.
    pub entries: usize,
    /// Bytes of responses that are kept with their body.
    pub bytes: usize,
}

impl Limits {
    /// Share of each of so many callers; without callers, all requests have one share.
    pub fn share(settings: &settings::Idempotency, callers: usize) -> Self {
        let callers = callers.max(1);
        Limits { entries: (settings.max_entries / callers).max(1), bytes: settings.max_bytes / callers }
    }
}

/// Records of one caller.
#[derive(Debug, Default)]
pub(super) struct Account {
    records: HashMap<Key, Record>,
    /// Keys in use, by the end of their lease, each with the `ttl` of what becomes of it.
    claims: BTreeMap<(Instant, u64), (Key, Duration)>,
    /// Keys not in use with the time of their end, oldest first, one list for each `ttl`. An entry whose key has a newer
    /// record means nothing.
    ended: BTreeMap<Duration, VecDeque<(Instant, Key)>>,
    /// Keys whose response may have a body, oldest first.
    bodies: VecDeque<Key>,
    /// Size of the responses with a body.
    bytes: usize,
    next: u64,
}

#[derive(Debug)]
struct Record {
    fingerprint: Fingerprint,
    /// End of the lease of a claim, else end of the record.
    until: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    Claimed { token: Token, order: u64, begun: bool },
    Unknown(Token),
    Done { response: Bytes, whole: bool },
}

impl Record {
    fn is_of(&self, claim: &Claim) -> bool {
        match &self.state {
            State::Claimed { token, .. } | State::Unknown(token) => *token == claim.token,
            State::Done { .. } => false,
        }
    }
}

impl Account {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Keys, keys in use, and size of the responses with a body.
    pub(super) fn occupancy(&self) -> (usize, usize, usize) {
        (self.records.len(), self.claims.len(), self.bytes)
    }

    pub(super) fn claim(
        &mut self,
        now: Instant,
        claim: &Claim,
        entries: usize,
    ) -> Result<ClaimOutcome, StoreError> {
        self.expire(now);
        let key = claim.keyed.key;
        if let Some(record) = self.records.get(&key).filter(|record| record.until > now) {
            let fingerprint = record.fingerprint;
            match &record.state {
                State::Claimed { .. } => return Ok(ClaimOutcome::Running { fingerprint }),
                State::Done { response, .. } => {
                    let (response, whole) = record::read_response(response).ok_or(StoreError::Invalid)?;
                    return Ok(ClaimOutcome::Done { fingerprint, response, whole });
                }
                State::Unknown(_) if claim.keyed.repeat_is_safe && claim.keyed.fingerprint == fingerprint => {
                }
                State::Unknown(token) => {
                    return Ok(ClaimOutcome::Unknown { fingerprint, token: *token });
                }
            }
        }
        self.remove(&key);
        if self.records.len() >= entries {
            return Err(StoreError::Full);
        }
        self.next += 1;
        let (order, until) = (self.next, now + claim.lifetimes.lease);
        self.claims.insert((until, order), (key, claim.lifetimes.ttl));
        let state = State::Claimed { token: claim.token, order, begun: claim.sends_at_once };
        self.records.insert(key, Record { fingerprint: claim.keyed.fingerprint, until, state });
        Ok(ClaimOutcome::Claimed)
    }

    pub(super) fn mark(&mut self, now: Instant, claim: &Claim, is_begun: bool) -> bool {
        let record = self.records.get_mut(&claim.keyed.key).filter(|record| record.until > now);
        match record.map(|record| &mut record.state) {
            Some(State::Claimed { token, begun, .. }) if *token == claim.token => {
                *begun = is_begun;
                true
            }
            _ => false,
        }
    }

    /// Stores the response. Returns false if it has no place, and the number of bodies that were dropped for it.
    pub(super) fn complete(
        &mut self,
        now: Instant,
        claim: &Claim,
        response: &StoredResponse,
        whole: bool,
        limits: Limits,
    ) -> (bool, u64) {
        self.expire(now);
        let key = claim.keyed.key;
        match self.records.get(&key) {
            Some(record) if record.until > now && !record.is_of(claim) => return (false, 0),
            _ => self.remove(&key),
        }
        if self.records.len() >= limits.entries {
            // The lease of this key had ended, and other keys fill the share.
            return (false, 0);
        }
        let mut stored = record::response(response, whole);
        let fits = stored.len() <= limits.bytes;
        let mut dropped = 0;
        if whole && fits {
            dropped = self.drop_bodies(limits.bytes, stored.len());
            self.bytes += stored.len();
            self.bodies.push_back(key);
        } else if whole {
            dropped = 1;
            stored = record::response(response, false);
        }
        let state = State::Done { response: stored, whole: whole && fits };
        self.end(
            key,
            Record { fingerprint: claim.keyed.fingerprint, until: now, state },
            claim.lifetimes.ttl,
        );
        (true, dropped)
    }

    pub(super) fn release(&mut self, claim: &Claim) {
        if self.records.get(&claim.keyed.key).is_some_and(|record| record.is_of(claim)) {
            self.remove(&claim.keyed.key);
        }
    }

    /// Drops the oldest bodies until `more` bytes fit into `limit`. Returns their number.
    pub(super) fn drop_bodies(&mut self, limit: usize, more: usize) -> u64 {
        let mut dropped = 0;
        while self.bytes + more > limit
            && let Some(key) = self.bodies.pop_front()
        {
            if let Some(Record { state: State::Done { response, whole: whole @ true }, .. }) =
                self.records.get_mut(&key)
            {
                self.bytes = self.bytes.saturating_sub(response.len());
                if let Some((brief, _)) = record::read_response(response) {
                    *response = record::response(&brief, false);
                }
                *whole = false;
                dropped += 1;
            }
        }
        dropped
    }

    /// Stores a record that is not in use and ends `ttl` after its `until`.
    fn end(&mut self, key: Key, mut record: Record, ttl: Duration) {
        record.until += ttl;
        self.ended.entry(ttl).or_default().push_back((record.until, key));
        self.records.insert(key, record);
    }

    fn remove(&mut self, key: &Key) {
        let Some(record) = self.records.remove(key) else { return };
        match record.state {
            State::Claimed { order, .. } => {
                self.claims.remove(&(record.until, order));
            }
            State::Done { response, whole: true } => {
                self.bytes = self.bytes.saturating_sub(response.len());
            }
            State::Unknown(_) | State::Done { .. } => {}
        }
    }

    /// Removes expired records. Of a claim whose lease is over, the outcome is unknown if it had begun to send.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(first) = self.claims.first_entry()
            && first.key().0 <= now
        {
            let ((until, _), (key, ttl)) = first.remove_entry();
            let Some(Record { fingerprint, state: State::Claimed { token, begun, .. }, .. }) =
                self.records.remove(&key)
            else {
                continue;
            };
            if begun {
                self.end(key, Record { fingerprint, until, state: State::Unknown(token) }, ttl);
            }
        }
        let mut removed = Vec::new();
        for list in self.ended.values_mut() {
            while removed.len() < REMOVED_AT_ONCE
                && let Some((_, key)) = list.pop_front_if(|(until, _)| *until <= now)
            {
                removed.push(key);
            }
        }
        if removed.is_empty() {
            return;
        }
        for key in removed {
            if self.records.get(&key).is_some_and(|record| record.until <= now) {
                self.remove(&key);
            }
        }
        self.ended.retain(|_, list| !list.is_empty());
        while let Some(key) = self.bodies.front()
            && !matches!(self.records.get(key), Some(Record { state: State::Done { whole: true, .. }, .. }))
        {
            self.bodies.pop_front();
        }
    }
}
