//! Counters of a credential.

use std::time::SystemTime;

/// What happened to a credential so far. Counters only grow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// `fixed`, `file` or `oauth2`.
    pub source: &'static str,
    /// Which credential is in use: 1 is the first; 0 while no token was fetched.
    pub generation: u64,
    /// When it came into use; `None` for one that was there from the start.
    pub changed: Option<SystemTime>,
    /// When the token ends.
    pub expires: Option<SystemTime>,
    /// Changes of the file that were taken over, or tokens that were fetched.
    pub renewed: u64,
    /// Times that the file became unusable, or that no token was had.
    pub failed: u64,
    /// What is wrong now: `file`, or the sort of the token endpoint's failure. `None` after a success.
    pub last_error: Option<&'static str>,
}
