//! Counters of a credential.

use std::time::SystemTime;

/// State and counters of a credential. Counters only grow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// `fixed`, `file` or `oauth2`.
    pub source: &'static str,
    /// Number of the credential in use, from 1; 0 before the first token.
    pub generation: u64,
    /// Time of the last change; `None` for the credential of the start.
    pub changed: Option<SystemTime>,
    /// Expiry of the token.
    pub expires: Option<SystemTime>,
    /// Number of adopted changes of the file, or of fetched tokens.
    pub renewed: u64,
    /// Number of times that the file became unusable or a token request failed.
    pub failed: u64,
    /// Current error: `file`, or the kind of the token endpoint's error. `None` after a success.
    pub last_error: Option<&'static str>,
}
