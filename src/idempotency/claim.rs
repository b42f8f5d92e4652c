//! Keys, fingerprints and claims: values that pass between a keyed request and a store.

use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::answer::StoredResponse;
use crate::settings::{self, OnStoreFailure};
use crate::types::request_id::RequestId;

/// SHA-256 of a caller and its `Idempotency-Key`. A store sees neither in plain text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub [u8; 32]);

/// SHA-256 of a request: path, upstream, options and body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

/// Random identifier of one claim. It tells a claim that lost its lease from the next claim of the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token(pub [u8; 16]);

impl Token {
    /// Generates a token.
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

/// Result of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// The key was free and is now held until the lease ends.
    Claimed,
    /// Another request holds the key.
    Running {
        /// Fingerprint of that request.
        fingerprint: Fingerprint,
    },
    /// A request with the key was answered.
    Done {
        /// Fingerprint of that request.
        fingerprint: Fingerprint,
        /// Its response.
        response: StoredResponse,
    },
}

/// Error of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// There is no connection.
    Down,
    /// It did not answer within `store_timeout`.
    Slow,
    /// It answered with this error code, such as `OOM` or `READONLY`.
    Refused(String),
    /// Its limit of keys is reached, and all are in use.
    Full,
    /// The value stored under the key is not a record of this key.
    Invalid,
    /// It answered too late for the update to end within the lease.
    Late,
}

impl StoreError {
    /// True if the request may run without a record. Never for [`StoreError::Invalid`]: the unreadable record may be that of
    /// a request that was run.
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

/// Lifetimes of a claim and of a stored response, and the store's timeout.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetimes {
    /// Lifetime of a stored response.
    pub(super) ttl: Duration,
    /// Lifetime of a claim.
    pub(super) lease: Duration,
    /// Timeout of one call of the store.
    pub(super) store_timeout: Duration,
}

impl From<&settings::Idempotency> for Lifetimes {
    fn from(settings: &settings::Idempotency) -> Self {
        Lifetimes { ttl: settings.ttl, lease: settings.lease, store_timeout: settings.store_timeout }
    }
}

impl Lifetimes {
    /// Latest start, after the claim, at which work limited to `timeout` still ends within the lease. At least a tenth of
    /// the lease.
    pub(super) fn slack(&self, timeout: Duration) -> Duration {
        self.lease.saturating_sub(timeout).max(self.lease / 10)
    }
}

/// Attempt of a request to hold its key.
#[derive(Debug)]
pub(super) struct Claim {
    /// Request that claims.
    pub(super) keyed: KeyedRequest,
    /// Identifier of this claim.
    pub(super) token: Token,
    /// Lifetimes that apply to it.
    pub(super) lifetimes: Lifetimes,
}

/// Request with an `Idempotency-Key`.
#[derive(Debug, Clone)]
pub struct KeyedRequest {
    /// Hash of the caller and its key.
    pub key: Key,
    /// Hash of the request; a repetition must have the same.
    pub fingerprint: Fingerprint,
    /// Id of this request, for the response to a defect and for the log.
    pub request_id: RequestId,
}

/// Parts of a request that enter its key and fingerprint.
#[derive(Debug, Clone, Copy)]
pub struct FingerprintInput<'a> {
    /// Name of the caller; `None` if no callers are configured.
    pub caller: Option<&'a str>,
    /// Value of `Idempotency-Key`.
    pub key: &'a str,
    /// Path as the caller sent it.
    pub path: &'a str,
    /// Name of the upstream. Headers may have selected it.
    pub upstream: &'a str,
    /// True for `application/merge-patch+json`.
    pub merge: bool,
    /// True for `Prefer: handling=lenient`.
    pub lenient: bool,
    /// True for `Prefer: return=minimal`.
    pub minimal: bool,
    /// Body as the caller sent it.
    pub body: &'a [u8],
}

impl KeyedRequest {
    /// Hashes `input`. A store learns nothing about the request except its response.
    pub fn new(input: &FingerprintInput<'_>, request_id: RequestId) -> Self {
        let named = [u8::from(input.caller.is_some())];
        let caller = input.caller.unwrap_or_default();
        let flags = [u8::from(input.merge), u8::from(input.lenient), u8::from(input.minimal)];
        KeyedRequest {
            key: Key(digest(&[b"key", &named, caller.as_bytes(), input.key.as_bytes()])),
            fingerprint: Fingerprint(digest(&[
                b"request",
                input.path.as_bytes(),
                input.upstream.as_bytes(),
                &flags,
                input.body,
            ])),
            request_id,
        }
    }
}

/// SHA-256 of a list of parts. Each part is preceded by its length in 8 bytes, so that different lists never hash the same
/// text.
pub fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
