//! Records in Valkey or Redis. Each change is one script, and so atomic among replicas.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, Value, cmd};

use super::answer::StoredResponse;
use super::claim::{Claim, ClaimOutcome, Key, StoreError};
use super::link::StoreConnection;
use super::record::{self, ClaimState};
use crate::settings::Secret;
use crate::types::build_error::BuildError;

/// Returns the record under the key and its remaining time; if there is none, or the same claim already, stores the claim.
const CLAIM: &str = "\
local record = redis.call('GET', KEYS[1])
if record and record ~= ARGV[1] then return {record, redis.call('PTTL', KEYS[1])} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false";

/// Replaces the record of one claim in one state, if the key still has it. The new record lives for so many milliseconds,
/// and with a third argument of 1 for those that the old one had left, too; without any left there is no replacement.
/// Returns 1 as well if it is replaced already.
const REPLACE: &str = "\
if redis.call('GET', KEYS[1]) == ARGV[2] then return 1 end
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
local life = ARGV[3] + (ARGV[4] == '1' and redis.call('PTTL', KEYS[1]) or 0)
if life < 1 then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', life)
return 1";

/// Stores the response, unless the record under the key is another claim's. Returns 1 as well if the response is stored
/// already.
const COMPLETE: &str = "\
local start = redis.call('GETRANGE', KEYS[1], 0, #ARGV[4] - 1)
if start == ARGV[4] then return 1 end
if start ~= '' and string.sub(start, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1";

/// Deletes the claim in either state, if the key is still held by it.
const RELEASE: &str = "\
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])";

/// Store in Valkey or Redis.
#[derive(Debug)]
pub(super) struct Shared {
    connection: StoreConnection,
    url: Secret,
    ca_file: Option<PathBuf>,
}

impl Shared {
    /// Prepares the store; connects to nothing.
    pub(super) fn new(url: &Secret, ca_file: Option<&Path>) -> Result<Self, BuildError> {
        let connection = StoreConnection::new(url, ca_file)?;
        Ok(Shared { connection, url: url.clone(), ca_file: ca_file.map(Path::to_owned) })
    }

    /// True if this is the store at `url`.
    pub(super) fn is_at(&self, url: &Secret, ca_file: Option<&Path>) -> bool {
        self.url.expose() == url.expose() && self.ca_file.as_deref() == ca_file
    }

    /// The connection, which turns share.
    pub(super) fn connection(&self) -> &StoreConnection {
        &self.connection
    }

    /// True if there is a connection that answers.
    pub(super) fn is_connected(&self) -> bool {
        self.connection.is_up()
    }

    pub(super) async fn claim(&self, claim: &Claim) -> Result<ClaimOutcome, StoreError> {
        let Claim { keyed, lifetimes, sends_at_once, .. } = claim;
        let state = if *sends_at_once { ClaimState::Begun } else { ClaimState::Held };
        let record = record_of(claim, state);
        let life = millis(lifetimes.lease) + if *sends_at_once { millis(lifetimes.ttl) } else { 0 };
        let mut command = script(CLAIM, &keyed.key);
        command.arg(record.as_slice()).arg(life);
        // A claim without a reply may have been stored: it is released afterwards.
        let found = match self.call(&command, claim, || release(claim)).await? {
            Value::Nil => return Ok(ClaimOutcome::Claimed),
            Value::Array(found) => found,
            _ => return Err(invalid(&keyed.key)),
        };
        let Ok([Value::BulkString(found), Value::Int(left)]) = <[Value; 2]>::try_from(found) else {
            return Err(invalid(&keyed.key));
        };
        match record::read(&keyed.key, &Bytes::from(found), left).ok_or_else(|| invalid(&keyed.key))? {
            ClaimOutcome::Unknown { fingerprint, token }
                if keyed.repeat_is_safe && fingerprint == keyed.fingerprint =>
            {
                let mut command = script(REPLACE, &keyed.key);
                command
                    .arg(record::state_prefix(token, ClaimState::Begun).as_slice())
                    .arg(record.as_slice())
                    .arg(life)
                    .arg(0);
                match self.call(&command, claim, || release(claim)).await? {
                    Value::Int(1) => Ok(ClaimOutcome::Claimed),
                    // Another request was first, or the one that had begun has ended after all.
                    _ => Ok(ClaimOutcome::Running { fingerprint }),
                }
            }
            outcome => Ok(outcome),
        }
    }

    /// Notes that the request is about to be sent. Returns false if the claim does not hold the key any more.
    pub(super) async fn mark(&self, claim: &Claim) -> Result<bool, StoreError> {
        let ttl = millis(claim.lifetimes.ttl).to_string();
        self.restate(claim, ClaimState::Held, ClaimState::Begun, ttl).await
    }

    /// Takes back the note that the request is about to be sent. Returns false if the claim does not hold the key any more.
    pub(super) async fn unmark(&self, claim: &Claim) -> Result<bool, StoreError> {
        let ttl = format!("-{}", millis(claim.lifetimes.ttl));
        self.restate(claim, ClaimState::Begun, ClaimState::Held, ttl).await
    }

    /// Changes the state of a claim, and the milliseconds that its record has left.
    async fn restate(
        &self,
        claim: &Claim,
        from: ClaimState,
        to: ClaimState,
        longer: String,
    ) -> Result<bool, StoreError> {
        let mut command = script(REPLACE, &claim.keyed.key);
        command
            .arg(record::state_prefix(claim.token, from).as_slice())
            .arg(record_of(claim, to).as_slice())
            .arg(longer)
            .arg(1);
        Ok(self.call(&command, claim, || release(claim)).await? == Value::Int(1))
    }

    pub(super) async fn complete(
        &self,
        claim: &Claim,
        response: &StoredResponse,
        whole: bool,
    ) -> Result<bool, StoreError> {
        let Claim { keyed, token, lifetimes, .. } = claim;
        let done = record::done(&keyed.key, keyed.fingerprint, response, whole);
        let mut complete = script(COMPLETE, &keyed.key);
        complete
            .arg(record::claim_prefix(*token).as_slice())
            .arg(done.as_slice())
            .arg(millis(lifetimes.ttl))
            .arg(done.get(..record::DONE_PREFIX));
        let value = self.call(&complete, claim, ping).await?;
        Ok(value == Value::Int(1))
    }

    pub(super) async fn release(&self, claim: &Claim) -> Result<(), StoreError> {
        // A release without a reply is sent once more.
        self.call(&release(claim), claim, || release(claim)).await?;
        Ok(())
    }

    async fn call(
        &self,
        command: &Cmd,
        claim: &Claim,
        after_timeout: impl FnOnce() -> Cmd,
    ) -> Result<Value, StoreError> {
        let timeout = claim.lifetimes.store_timeout;
        self.connection.call(command, timeout, after_timeout).await.map_err(|error| match error {
            // The value under the key is not a string.
            StoreError::Refused(code) if code == "WRONGTYPE" => StoreError::Invalid,
            error => error,
        })
    }
}

fn script(text: &str, key: &Key) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(text).arg(1).arg(format!("parlance:v2:{key}"));
    command
}

fn record_of(claim: &Claim, state: ClaimState) -> Vec<u8> {
    let Claim { keyed, token, lifetimes, .. } = claim;
    record::claim(&keyed.key, *token, state, keyed.fingerprint, millis(lifetimes.ttl))
}

fn release(claim: &Claim) -> Cmd {
    let mut command = script(RELEASE, &claim.keyed.key);
    command.arg(record::claim_prefix(claim.token).as_slice());
    command
}

fn ping() -> Cmd {
    cmd("PING")
}

/// Milliseconds, at least 1: Redis refuses an expiry of 0.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn invalid(key: &Key) -> StoreError {
    tracing::error!(%key, "a stored idempotency record cannot be read; its key is refused until it is gone");
    StoreError::Invalid
}
