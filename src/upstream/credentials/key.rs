//! A credential as a header value, and its removal from a vendor's responses.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::HeaderValue;
use parlance_adapters::Credential as Scheme;

use super::mask::Mask;
use crate::settings::Secret;

/// A credential, ready to be sent.
pub struct Key {
    header: HeaderValue,
    mask: Mask,
    accepted: AtomicBool,
}

impl Key {
    /// Prepares a secret for the vendor's header.
    ///
    /// # Errors
    /// A secret that a header cannot carry.
    pub fn new(scheme: Scheme, secret: &Secret) -> Result<Self, InvalidKey> {
        let header = scheme.value(secret.expose()).map_err(|_| InvalidKey)?;
        let mask = Mask::new(secret.expose().as_bytes()).map_err(|_| InvalidKey)?;
        Ok(Key { header, mask, accepted: AtomicBool::new(false) })
    }

    /// Value of the header, marked as sensitive.
    pub fn header(&self) -> &HeaderValue {
        &self.header
    }

    /// Records that the vendor accepted the credential.
    pub(crate) fn accept(&self) {
        // Read first: without a write the cache line stays shared between processors.
        if !self.accepted.load(Ordering::Relaxed) {
            self.accepted.store(true, Ordering::Relaxed);
        }
    }

    /// True if the vendor accepted the credential at least once.
    pub(super) fn was_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }

    /// `text` without the secret, in whatever spelling it stands there.
    pub fn redact(&self, text: Bytes) -> Bytes {
        self.mask.redact(text)
    }
}

/// Error of a secret that a header cannot carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidKey;

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the credential cannot stand in a header")
    }
}

impl std::error::Error for InvalidKey {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("accepted", &self.accepted).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &str) -> Key {
        Key::new(Scheme::Bearer, &Secret::new(secret.to_owned())).unwrap()
    }

    #[test]
    fn an_echoed_credential_is_taken_out() {
        let key = key("correct-horse");
        for (echoed, clean) in [
            ("", ""),
            ("nothing", "nothing"),
            ("correct-horse", "***"),
            ("a correct-horse, correct-horsecorrect-horse z", "a ***, ****** z"),
            ("correct-hors", "correct-hors"),
        ] {
            assert_eq!(key.redact(Bytes::from(echoed)), clean);
        }
        // A short one only as a word of its own.
        assert_eq!(self::key("k").redact(Bytes::from_static(b"kiosk, k-1, k")), "kiosk, k-1, ***");
    }

    #[test]
    fn debug_shows_nothing() {
        let shown = format!("{:?}", key("correct-horse"));
        assert!(!shown.contains("horse"), "{shown}");
    }

    #[test]
    fn what_no_header_can_carry_is_refused() {
        assert!(Key::new(Scheme::Bearer, &Secret::new("a\nb".to_owned())).is_err());
    }
}
