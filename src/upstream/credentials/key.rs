//! One credential, ready to be sent, and kept out of what is said about the answer.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::HeaderValue;
use memchr::memmem;
use parlance_adapters::Credential as Scheme;

use crate::settings::Secret;

/// A secret shorter than this is not searched for: it would be found everywhere.
const MIN_SEARCHED: usize = 8;

/// One credential, ready to be sent.
pub struct Key {
    header: HeaderValue,
    /// Finds it in a text; none for one that is too short.
    finder: Option<memmem::Finder<'static>>,
    accepted: AtomicBool,
}

impl Key {
    /// Prepares a secret for the vendor's header.
    pub fn new(scheme: Scheme, secret: &Secret) -> Result<Self, String> {
        let header = scheme
            .value(secret.expose())
            .map_err(|_| "the credential cannot stand in a header".to_owned())?;
        let secret = secret.expose().as_bytes();
        let finder = (secret.len() >= MIN_SEARCHED).then(|| memmem::Finder::new(secret).into_owned());
        Ok(Key { header, finder, accepted: AtomicBool::new(false) })
    }

    /// The header's value, marked as sensitive.
    pub fn header(&self) -> &HeaderValue {
        &self.header
    }

    /// Notes that the vendor took it.
    pub(crate) fn accept(&self) {
        // Read first: the line stays shared between the processors.
        if !self.accepted.load(Ordering::Relaxed) {
            self.accepted.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the vendor took it at least once.
    pub(super) fn was_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }

    /// A vendor's text without the credential, should the vendor have echoed it.
    pub fn redact(&self, text: Bytes) -> Bytes {
        let Some(finder) = &self.finder else { return text };
        let mut clean = Vec::new();
        let mut from = 0;
        for at in finder.find_iter(&text) {
            clean.extend_from_slice(text.get(from..at).unwrap_or_default());
            clean.extend_from_slice(b"***");
            from = at + finder.needle().len();
        }
        if from == 0 {
            return text;
        }
        clean.extend_from_slice(text.get(from..).unwrap_or_default());
        clean.into()
    }
}

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
        // Found everywhere, so not looked for.
        assert_eq!(super::tests::key("k").redact(Bytes::from_static(b"kiosk")), "kiosk");
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
