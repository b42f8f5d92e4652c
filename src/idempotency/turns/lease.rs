//! Leases of turns in Valkey or Redis. Each change is one script, and so atomic among replicas.
//!
//! A conversation in use has one hash, which expires with its last lease. Its fields, for each token of a request:
//!
//! ```text
//! h{token}  "kind ends number"   a holder; its number is its fencing value
//! w{token}  "kind ends number"   a waiter; those with a smaller number are first
//! n         the last number, from the store's clock in microseconds; it only grows
//! ```
//!
//! `kind` is one letter, `ends` the end in milliseconds by the store's clock.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, Value, cmd};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use super::kind::TurnKind;
use crate::idempotency::claim::{Lifetimes, StoreError};
use crate::idempotency::link::StoreConnection;
use crate::idempotency::running::{Running, Ticket};

/// Lifetime of a waiter's field. Waiters ask more often than this, and so renew it.
const WAITER_LIFETIME: Duration = Duration::from_millis(500);
/// Local turns that may follow each other under one lease before the store is asked again for other replicas' sake.
const MAX_HAND_OVERS: u32 = 8;
/// Longest time reserved at the end of a lease for a request to be on the wire; at most a quarter of the lease.
const MAX_MARGIN: Duration = Duration::from_secs(2);
/// Attempts to release a lease after the first one failed; until it is released, or ends, others wait.
const RELEASE_ATTEMPTS: u32 = 5;
/// Pause before the first of these attempts; each pause is twice as long as the one before.
const FIRST_RELEASE_PAUSE: Duration = Duration::from_millis(100);

/// Takes the lease, or leaves a waiter's field. Arguments: token, kind, lifetime of a lease and of a waiter in ms, number
/// of the waiter or nothing, token to release first or nothing. Returns 1 and the fencing value, or 0 and the waiter's
/// number.
const ACQUIRE: &str = "\
local key, token, kind, mine = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[5])
local text = function(number) return string.format('%.0f', number) end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local number, last, free = time[1] * 1000000 + time[2], 0, true
if ARGV[6] ~= '' then redis.call('HDEL', key, 'h' .. ARGV[6]) end
local all = redis.call('HGETALL', key)
for i = 1, #all, 2 do
  local field, value = all[i], all[i + 1]
  if field == 'n' then
    number = math.max(number, (tonumber(value) or 0) + 1)
  elseif string.sub(field, 2) ~= token then
    local other, ends, place = string.match(value, '^(%a) (%d+) (%d+)$')
    if not ends or tonumber(ends) <= now then
      redis.call('HDEL', key, field)
    else
      last = math.max(last, tonumber(ends))
      local first = string.sub(field, 1, 1) == 'h' or not mine or tonumber(place) < mine
      local excludes = kind == 'c' or other == 'c' or (kind == 'x' and other == 'x')
      if first and excludes then free = false end
    end
  end
end
redis.call('HSET', key, 'n', text(number))
if free then
  last = math.max(last, now + ARGV[3])
  redis.call('HDEL', key, 'w' .. token)
  redis.call('HSET', key, 'h' .. token, kind .. ' ' .. text(now + ARGV[3]) .. ' ' .. text(number))
else
  number = mine or number
  last = math.max(last, now + ARGV[4])
  redis.call('HSET', key, 'w' .. token, kind .. ' ' .. text(now + ARGV[4]) .. ' ' .. text(number))
end
redis.call('PEXPIREAT', key, text(last))
return {free and 1 or 0, number}";

/// Extends the lease if it is still the token's. Arguments: token, lifetime in ms, fencing value. Returns 1, or 0 if it is
/// lost.
const CONFIRM: &str = "\
local key, field = KEYS[1], 'h' .. ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kind, ends, number = string.match(redis.call('HGET', key, field) or '', '^(%a) (%d+) (%d+)$')
if number ~= ARGV[3] or tonumber(ends) <= now then return 0 end
redis.call('HSET', key, field, kind .. ' ' .. string.format('%.0f', now + ARGV[2]) .. ' ' .. number)
if redis.call('PTTL', key) < tonumber(ARGV[2]) then redis.call('PEXPIRE', key, ARGV[2]) end
return 1";

/// Deletes what is the token's, and the hash with its last holder or waiter.
const RELEASE: &str = "\
local gone = redis.call('HDEL', KEYS[1], 'h' .. ARGV[1], 'w' .. ARGV[1])
if redis.call('HLEN', KEYS[1]) <= 1 then redis.call('DEL', KEYS[1]) end
return gone";

/// Store of leases, as one configuration sees it.
#[derive(Debug)]
pub(super) struct Leases {
    pub(super) connection: StoreConnection,
    pub(super) lifetimes: Lifetimes,
    /// Releases under way.
    pub(super) releases: Arc<Running>,
}

/// Lease of one conversation. Dropping it releases it in the background.
#[derive(Debug)]
pub(super) struct Lease {
    store: Arc<Leases>,
    key: String,
    token: String,
    kind: TurnKind,
    state: State,
    /// Local turns that followed each other under it.
    hand_overs: u32,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// The store has nothing of it.
    Unknown,
    /// The store may have a waiter, or a holder until it ends.
    Asked {
        /// Number of the waiter.
        number: Option<u64>,
        ends: Instant,
    },
    /// It is held, with this fencing value, and ends then.
    Held { number: u64, ends: Instant },
}

impl Lease {
    /// Prepares the lease of a conversation; asks for nothing.
    pub(super) fn new(store: &Arc<Leases>, conversation: &str, kind: TurnKind) -> Self {
        let mut key = String::from("parlance:v1:turn:");
        for byte in Sha256::digest(conversation) {
            // A string takes everything.
            let _ = write!(key, "{byte:02x}");
        }
        Lease {
            store: Arc::clone(store),
            key,
            token: uuid::Uuid::new_v4().simple().to_string(),
            kind,
            state: State::Unknown,
            hand_overs: 0,
        }
    }

    /// Asks for the lease once, and releases `before` in the same step. Returns false if others hold or wait for what it
    /// excludes.
    pub(super) async fn ask(&mut self, before: Option<&mut Lease>) -> Result<bool, StoreError> {
        let Lifetimes { lease, store_timeout, .. } = self.store.lifetimes;
        let number = match self.state {
            State::Asked { number, .. } => number,
            _ => None,
        };
        let mut command = script(ACQUIRE, &self.key);
        command
            .arg(&self.token)
            .arg(letter(self.kind))
            .arg(millis(lease))
            .arg(millis(WAITER_LIFETIME))
            .arg(number.map(|number| number.to_string()).unwrap_or_default())
            .arg(before.as_ref().map_or("", |before| &before.token));
        // The lease counts from here: the store starts it later.
        let ends = Instant::now() + lease;
        self.state = State::Asked { number, ends };
        // Without a reply it may have been taken: it is released afterwards.
        let reply =
            self.store.connection.call(&command, store_timeout, || release(&self.key, &self.token)).await?;
        if let Some(before) = before {
            before.state = State::Unknown;
        }
        let Value::Array(reply) = reply else { return Err(StoreError::Invalid) };
        let [Value::Int(free), Value::Int(number)] = reply[..] else { return Err(StoreError::Invalid) };
        let number = u64::try_from(number).map_err(|_| StoreError::Invalid)?;
        self.state = match free {
            1 => State::Held { number, ends },
            _ => State::Asked { number: Some(number), ends },
        };
        Ok(free == 1)
    }

    /// Asks whether the lease is held, and extends it. Returns false if it is lost.
    pub(super) async fn confirm(&mut self) -> Result<bool, StoreError> {
        let State::Held { number, .. } = self.state else { return Ok(false) };
        let Lifetimes { lease, store_timeout, .. } = self.store.lifetimes;
        let mut command = script(CONFIRM, &self.key);
        command.arg(&self.token).arg(millis(lease)).arg(number);
        let ends = Instant::now() + lease;
        match self.store.connection.call(&command, store_timeout, || cmd("PING")).await? {
            Value::Int(1) => {
                self.state = State::Held { number, ends };
                Ok(true)
            }
            _ => {
                tracing::warn!(
                    fence = number,
                    "the lease of a conversation's turn ended before its update was done"
                );
                self.state = State::Unknown;
                Ok(false)
            }
        }
    }

    /// Latest time to begin to send; `None` if the lease is not held.
    pub(super) fn valid_until(&self) -> Option<Instant> {
        let margin = (self.store.lifetimes.lease / 4).min(MAX_MARGIN);
        match self.state {
            State::Held { ends, .. } => ends.checked_sub(margin),
            _ => None,
        }
    }

    /// True if `next`, which another turn of this process needs, is for the same conversation in the same store.
    pub(super) fn precedes(&self, next: &Lease) -> bool {
        self.key == next.key && self.store.connection.is(&next.store.connection)
    }

    /// True if a turn of this kind and deadline may run under this lease, without asking the store.
    pub(super) fn hand_over(&mut self, kind: TurnKind, deadline: Instant) -> bool {
        let now = Instant::now();
        let half = self.store.lifetimes.lease / 2;
        let lasts = self.valid_until().is_some_and(|until| until > deadline && until > now + half);
        let may = lasts && self.kind == kind && self.hand_overs < MAX_HAND_OVERS;
        self.hand_overs += u32::from(may);
        may
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let until = match self.state {
            State::Unknown => return,
            // Of an answer that was lost nothing is known: it may be held.
            State::Asked { ends, .. } | State::Held { ends, .. } => ends,
        };
        let (store, ticket) = (Arc::clone(&self.store), Running::enter(&self.store.releases));
        let (key, token) = (std::mem::take(&mut self.key), std::mem::take(&mut self.token));
        // Without a runtime the process ends, and the lease ends by itself.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(release_until(store, key, token, until, ticket));
        }
    }
}

/// Releases what is the token's. If that fails, a lease that is held until `until` is released later.
async fn release_until(store: Arc<Leases>, key: String, token: String, until: Instant, _ticket: Ticket) {
    let timeout = store.lifetimes.store_timeout;
    let mut pause = FIRST_RELEASE_PAUSE;
    for _ in 0..=RELEASE_ATTEMPTS {
        let command = release(&key, &token);
        let released = store.connection.call(&command, timeout, || release(&key, &token)).await;
        if released.is_ok() || until < Instant::now() {
            return;
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

fn script(text: &str, key: &str) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(text).arg(1).arg(key);
    command
}

fn release(key: &str, token: &str) -> Cmd {
    let mut command = script(RELEASE, key);
    command.arg(token);
    command
}

/// The kind's letter in the store.
fn letter(kind: TurnKind) -> &'static str {
    match kind {
        TurnKind::Plain => "p",
        TurnKind::Context => "x",
        TurnKind::Condition => "c",
    }
}

/// Milliseconds, at least 1: Redis refuses an expiry of 0.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}
