//! Errors of preparing a module from settings that are well-formed but cannot work.

use std::fmt;

/// A setting that cannot be put to work, such as a certificate that does not parse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildError {
    /// Dotted configuration key, such as `upstreams.sales.ca_file`.
    pub key: String,
    /// One sentence that says what to do, without a secret.
    pub message: String,
}

impl BuildError {
    /// An error at `key`.
    pub fn new(key: impl Into<String>, message: impl fmt::Display) -> Self {
        BuildError { key: key.into(), message: message.to_string() }
    }

    /// The same error with its key below `parent`.
    #[must_use]
    pub fn below(self, parent: &str) -> Self {
        BuildError { key: format!("{parent}.{}", self.key), ..self }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

impl std::error::Error for BuildError {}
