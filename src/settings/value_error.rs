//! Error of a value that cannot be used.

use std::fmt;

/// Message that completes a sentence that begins with the key, such as "is not UTF-8 text". Shows no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueError(String);

impl ValueError {
    /// Creates an error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        ValueError(message.into())
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ValueError {}

impl From<ValueError> for String {
    fn from(error: ValueError) -> Self {
        error.0
    }
}
