//! What makes two requests the same one.

use sha2::{Digest, Sha256};

use super::store::{Fingerprint, Key};
use crate::facts::RequestId;

/// A request with a key.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The caller's key, hashed together with the caller.
    pub key: Key,
    /// What must be the same when the key comes again.
    pub fingerprint: Fingerprint,
    /// The id of this request, for an answer that has none yet and for the log.
    pub request_id: RequestId,
}

/// What a request is told from another by.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
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

impl Asked {
    /// Hashes everything: a store learns nothing of the caller, its key or its request but the answer.
    pub fn new(words: &Words<'_>, request_id: RequestId) -> Self {
        let named = [u8::from(words.caller.is_some())];
        let caller = words.caller.unwrap_or_default();
        let flags = [u8::from(words.merge), u8::from(words.lenient), u8::from(words.minimal)];
        Asked {
            key: Key(hash(&[b"key", &named, caller.as_bytes(), words.key.as_bytes()])),
            fingerprint: Fingerprint(hash(&[
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
pub(super) fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
