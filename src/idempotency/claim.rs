//! Keys, fingerprints and claims: values that pass between a keyed request and a store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::answer::StoredResponse;
use crate::settings::{self, OnStoreFailure};
use crate::types::request_id::RequestId;

/// SHA-256 of a caller and its `Idempotency-Key`. A store sees neither in plain text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub [u8; 32]);

/// Digests of a request, in 48 bytes: path 16, body 16, upstream 8, condition 7, and 1 of flags. One digest per part,
/// so that two requests can be told what differs between them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 48]);

/// Parts of a fingerprint, each with its bytes and the bits of them that count.
const PARTS: [(&str, std::ops::Range<usize>, u8); 6] = [
    ("path", 0..16, 0xff),
    ("body", 16..32, 0xff),
    ("upstream", 32..40, 0xff),
    ("condition", 40..47, 0xff),
    ("media type", 47..48, 0b001),
    ("preference", 47..48, 0b110),
];

impl Fingerprint {
    /// Digests the parts of `input` that a repetition must have in common with the first request.
    fn of(input: &FingerprintInput<'_>) -> Self {
        let path = Sha256::digest(input.path.as_bytes());
        let body = Sha256::digest(input.body);
        let upstream = Sha256::digest(input.upstream.as_bytes());
        // Without a condition: zeros, which no digest is.
        let condition = input.condition.map(Sha256::digest).unwrap_or_default();
        let flags = u8::from(input.merge) | u8::from(input.lenient) << 1 | u8::from(input.minimal) << 2;
        let digests = path.iter().take(16).chain(body.iter().take(16));
        let digests = digests.chain(upstream.iter().take(8)).chain(condition.iter().take(7)).chain([&flags]);
        let mut bytes = [0; 48];
        bytes.iter_mut().zip(digests).for_each(|(to, from)| *to = *from);
        Fingerprint(bytes)
    }

    /// Parts that differ, in words.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let differs = |range: &std::ops::Range<usize>, mask: u8| {
            let parts = self.0.get(range.clone()).into_iter().zip(other.0.get(range.clone()));
            parts.flat_map(|(one, two)| one.iter().zip(two)).any(|(one, two)| (one ^ two) & mask != 0)
        };
        PARTS.iter().filter(|(_, range, mask)| differs(range, *mask)).map(|(name, ..)| *name).collect()
    }
}

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
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Result of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// The key was free, or may be used again, and is now held until the lease ends.
    Claimed,
    /// Another request holds the key.
    Running {
        /// Fingerprint of that request.
        fingerprint: Fingerprint,
    },
    /// A request with the key began to send, and its lease ended without a response.
    Unknown {
        /// Fingerprint of that request.
        fingerprint: Fingerprint,
        /// Its claim.
        token: Token,
    },
    /// A request with the key was answered.
    Done {
        /// Fingerprint of that request.
        fingerprint: Fingerprint,
        /// Its response.
        response: StoredResponse,
        /// False if the body was not kept; that of `response` is empty then.
        whole: bool,
    },
}

/// Error of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// There is no connection; nothing was sent to it.
    Down,
    /// It did not answer within `store_timeout`.
    Slow,
    /// The connection was lost before it answered.
    Lost,
    /// It answered with this error code, such as `OOM` or `READONLY`.
    Refused(String),
    /// The caller's share of its keys is used up.
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

    /// True if the store may have done what it was asked for.
    pub(super) fn may_have_stored(&self) -> bool {
        matches!(self, StoreError::Slow | StoreError::Lost)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StoreError::Down => "The store of idempotency records cannot be reached",
            StoreError::Slow => "The store of idempotency records did not answer in time",
            StoreError::Refused(_) => "The store of idempotency records refused",
            StoreError::Lost => "The store of idempotency records went away before it answered",
            StoreError::Full => {
                "This caller's share of the idempotency records is full until the oldest of them ends"
            }
            StoreError::Invalid => "What is stored under this Idempotency-Key cannot be read",
            StoreError::Late => "The claim of the Idempotency-Key took too long",
        })
    }
}

/// Lifetimes of a claim and of a stored response, and the store's timeout.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// Lifetime of a stored response.
    pub ttl: Duration,
    /// Lifetime of a claim.
    pub lease: Duration,
    /// Timeout of one call of the store.
    pub store_timeout: Duration,
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
pub struct Claim {
    /// Request that claims.
    pub keyed: KeyedRequest,
    /// Identifier of this claim.
    pub token: Token,
    /// Lifetimes that apply to it.
    pub lifetimes: Lifetimes,
    /// True if the claim already counts as begun to send, so that nothing more is written before the request is sent.
    pub sends_at_once: bool,
}

/// Request with an `Idempotency-Key`.
#[derive(Debug, Clone)]
pub struct KeyedRequest {
    /// Hash of the caller and its key.
    pub key: Key,
    /// Digests of the request; a repetition must have the same.
    pub fingerprint: Fingerprint,
    /// Name of the caller, whose share the record counts on; `None` if no callers are configured.
    pub caller: Option<Arc<str>>,
    /// Canonical id of the conversation, for a replay without its body.
    pub conversation: Arc<str>,
    /// True if a repetition at the vendor does no harm: the vendor takes a key of its own, or `retry_unknown` says so.
    pub repeat_is_safe: bool,
    /// Id of this request, for the response to a defect and for the log.
    pub request_id: RequestId,
}

/// Parts of a request that enter its key and fingerprint.
#[derive(Debug, Clone, Copy)]
pub struct FingerprintInput<'a> {
    /// Name of the caller; `None` if no callers are configured.
    pub caller: Option<&'a Arc<str>>,
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
    /// Precondition of the update, such as the value of `If-Match`.
    pub condition: Option<&'a [u8]>,
    /// Body as the caller sent it.
    pub body: &'a [u8],
}

impl KeyedRequest {
    /// Hashes `input`. A store learns nothing about the request except its response.
    pub fn new(
        input: &FingerprintInput<'_>,
        conversation: Arc<str>,
        repeat_is_safe: bool,
        request_id: RequestId,
    ) -> Self {
        let named = [u8::from(input.caller.is_some())];
        let caller = input.caller.map_or("", |caller| caller);
        KeyedRequest {
            key: Key(digest(&[b"key", &named, caller.as_bytes(), input.key.as_bytes()])),
            fingerprint: Fingerprint::of(input),
            caller: input.caller.map(Arc::clone),
            conversation,
            repeat_is_safe,
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
