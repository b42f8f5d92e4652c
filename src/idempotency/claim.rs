//! Keys, fingerprints and claims: the words between a keyed request and a store.

use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::answer::StoredResponse;
use crate::settings::{self, OnStoreFailure};
use crate::types::request_id::RequestId;

/// A caller's key, hashed with the caller: all that a store knows of either.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub [u8; 32]);

/// What a request is: path, body and wishes, hashed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

/// Who holds a key: made anew for every claim, so that a claim that lost its lease is known from the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token(pub [u8; 16]);

impl Token {
    /// One that nobody has.
    pub fn random() -> Self {
        Token(uuid::Uuid::new_v4().into_bytes())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Key(self.0), f)
    }
}

/// What a claim finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// The key was free; it is the claimant's until the lease ends.
    Mine,
    /// Another request holds it.
    Running {
        /// What that request is.
        fingerprint: Fingerprint,
    },
    /// A request with it was answered.
    Done {
        /// What that request was.
        fingerprint: Fingerprint,
        /// Its answer.
        answer: StoredResponse,
    },
}

/// Why a store cannot say whether a key is free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// No connection.
    Down,
    /// No answer in time.
    Slow,
    /// It answered with an error: its code, such as `OOM` or `READONLY`.
    Refused(String),
    /// As many keys are taken as may be.
    Full,
    /// What stands under the key is no record of this key.
    Invalid,
    /// It answered, but too late for the lease to be relied on.
    Late,
}

impl StoreError {
    /// Whether the configuration lets the request go on without a record. Never where something is recorded that
    /// cannot be read: the request may have been done.
    pub(super) fn may_proceed(&self, on_store_failure: OnStoreFailure) -> bool {
        on_store_failure == OnStoreFailure::Proceed && *self != StoreError::Invalid
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StoreError::Down => "The store of idempotency records cannot be reached",
            StoreError::Slow => "The store of idempotency records did not answer in time",
            StoreError::Refused(_) => "The store of idempotency records refused",
            StoreError::Full => "As many requests with a key are running as there may be",
            StoreError::Invalid => "What is stored under this Idempotency-Key cannot be read",
            StoreError::Late => "The claim of the Idempotency-Key took too long",
        })
    }
}

/// How long what lasts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetimes {
    /// An answer.
    pub(super) ttl: Duration,
    /// A claim.
    pub(super) lease: Duration,
    /// The patience with the store.
    pub(super) store_timeout: Duration,
}

impl From<&settings::Idempotency> for Lifetimes {
    fn from(settings: &settings::Idempotency) -> Self {
        Lifetimes { ttl: settings.ttl, lease: settings.lease, store_timeout: settings.store_timeout }
    }
}

impl Lifetimes {
    /// How late work may begin that takes `timeout` at most and must end before the lease does. Where the lease is hardly
    /// longer than the timeout: a tenth of it.
    pub(super) fn slack(&self, timeout: Duration) -> Duration {
        self.lease.saturating_sub(timeout).max(self.lease / 10)
    }
}

/// A request that takes its key, or tries to.
#[derive(Debug)]
pub(super) struct Claim {
    /// The request.
    pub(super) keyed: KeyedRequest,
    /// This claim and no other.
    pub(super) token: Token,
    /// How long what lasts.
    pub(super) lifetimes: Lifetimes,
}

/// A request with a key.
#[derive(Debug, Clone)]
pub struct KeyedRequest {
    /// The caller's key, hashed together with the caller.
    pub key: Key,
    /// What must be the same when the key comes again.
    pub fingerprint: Fingerprint,
    /// The id of this request, for an answer that has none yet and for the log.
    pub request_id: RequestId,
}

/// What a request is told from another by.
#[derive(Debug, Clone, Copy)]
pub struct FingerprintInput<'a> {
    /// Who asks; `None` where callers are not told apart.
    pub caller: Option<&'a str>,
    /// The caller's `Idempotency-Key`.
    pub key: &'a str,
    /// The path as it was sent.
    pub path: &'a str,
    /// The upstream that serves it: a header may have chosen it.
    pub upstream: &'a str,
    /// The body is a merge patch.
    pub merge: bool,
    /// `Prefer: handling=lenient`
    pub lenient: bool,
    /// `Prefer: return=minimal`
    pub minimal: bool,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

impl KeyedRequest {
    /// Hashes everything: a store learns nothing of the caller, its key or its request but the answer.
    pub fn new(words: &FingerprintInput<'_>, request_id: RequestId) -> Self {
        let named = [u8::from(words.caller.is_some())];
        let caller = words.caller.unwrap_or_default();
        let flags = [u8::from(words.merge), u8::from(words.lenient), u8::from(words.minimal)];
        KeyedRequest {
            key: Key(digest(&[b"key", &named, caller.as_bytes(), words.key.as_bytes()])),
            fingerprint: Fingerprint(digest(&[
                b"request",
                words.path.as_bytes(),
                words.upstream.as_bytes(),
                &flags,
                words.body,
            ])),
            request_id,
        }
    }
}

/// Each part with its length before it, so that no two lists of parts are one text.
pub fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
