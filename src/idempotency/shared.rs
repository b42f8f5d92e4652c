//! Records in a Valkey or Redis. Every change is one script, so that no other replica comes in between.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, Value, cmd};

use super::answer::StoredResponse;
use super::claim::{Claim, ClaimOutcome, Key, StoreError};
use super::link::StoreConnection;
use super::record;
use crate::settings::Secret;

/// Gives what stands under the key; if nothing does, puts the claim there.
const CLAIM: &str = "\
local record = redis.call('GET', KEYS[1])
if record then return record end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false";

/// Puts the answer there, unless somebody else's record stands there. A second time it finds its own.
const COMPLETE: &str = "\
local start = redis.call('GETRANGE', KEYS[1], 0, #ARGV[4] - 1)
if start == ARGV[4] then return 1 end
if start ~= '' and string.sub(start, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1";

/// Takes the claim away, if it is still the claim's.
const RELEASE: &str = "\
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])";

/// Records in a Valkey or Redis.
#[derive(Debug)]
pub(super) struct Shared {
    link: StoreConnection,
    url: Secret,
    ca_file: Option<PathBuf>,
}

impl Shared {
    /// Prepares it; connects to nothing. The error shows nothing of the URL.
    pub(super) fn new(url: &Secret, ca_file: Option<&Path>) -> Result<Self, String> {
        let link = StoreConnection::new(url, ca_file)?;
        Ok(Shared { link, url: url.clone(), ca_file: ca_file.map(Path::to_owned) })
    }

    /// Whether this is the store at that place.
    pub(super) fn is_at(&self, url: &Secret, ca_file: Option<&Path>) -> bool {
        self.url.expose() == url.expose() && self.ca_file.as_deref() == ca_file
    }

    /// Whether there is a connection that answers.
    pub(super) fn is_connected(&self) -> bool {
        self.link.is_up()
    }

    pub(super) async fn claim(&self, claim: &Claim) -> Result<ClaimOutcome, StoreError> {
        let Claim { keyed, token, lifetimes } = claim;
        let held = record::held(&keyed.key, *token, keyed.fingerprint);
        let mut command = script(CLAIM, &keyed.key);
        command.arg(held.as_slice()).arg(milliseconds(lifetimes.lease));
        // A claim that got no answer may have been taken all the same, behind our back: it is taken away again.
        match self.call(&command, claim, || release(claim)).await? {
            Value::Nil => Ok(ClaimOutcome::Mine),
            Value::BulkString(found) => {
                record::read(&keyed.key, &Bytes::from(found)).ok_or_else(|| invalid(&keyed.key))
            }
            _ => Err(invalid(&keyed.key)),
        }
    }

    pub(super) async fn complete(&self, claim: &Claim, answer: &StoredResponse) -> Result<bool, StoreError> {
        let Claim { keyed, token, lifetimes } = claim;
        let done = record::done(&keyed.key, keyed.fingerprint, answer);
        let mut complete = script(COMPLETE, &keyed.key);
        complete
            .arg(record::of_holder(*token).as_slice())
            .arg(done.as_slice())
            .arg(milliseconds(lifetimes.ttl))
            .arg(done.get(..record::OF_ANSWER));
        let value = self.call(&complete, claim, ping).await?;
        Ok(value == Value::Int(1))
    }

    pub(super) async fn release(&self, claim: &Claim) -> Result<(), StoreError> {
        // One without an answer is sent once more.
        self.call(&release(claim), claim, || release(claim)).await?;
        Ok(())
    }

    async fn call(
        &self,
        command: &Cmd,
        claim: &Claim,
        after_silence: impl FnOnce() -> Cmd,
    ) -> Result<Value, StoreError> {
        let patience = claim.lifetimes.store_timeout;
        self.link.call(command, patience, after_silence).await.map_err(|why| match why {
            // Something else than a text stands under the key.
            StoreError::Refused(code) if code == "WRONGTYPE" => StoreError::Invalid,
            why => why,
        })
    }
}

fn script(text: &str, key: &Key) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(text).arg(1).arg(format!("parlance:v1:{key}"));
    command
}

fn release(claim: &Claim) -> Cmd {
    let mut command = script(RELEASE, &claim.keyed.key);
    command.arg(record::of_holder(claim.token).as_slice());
    command
}

fn ping() -> Cmd {
    cmd("PING")
}

/// At least one: a record without an end would never go away.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn invalid(key: &Key) -> StoreError {
    tracing::error!(%key, "a stored idempotency record cannot be read; its key is refused until it is gone");
    StoreError::Invalid
}
