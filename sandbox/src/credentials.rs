//! The credentials a vendor accepts, and reading the one a request brings.

use std::sync::{PoisonError, RwLock};

use crate::http::Head;

/// The credentials that a vendor of the sandbox accepts at its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Keys, sent in the vendor's own scheme.
    pub keys: Vec<String>,
    /// OAuth clients of the vendor's token endpoint, when it has one.
    pub clients: Vec<Client>,
}

/// An OAuth client for the client-credentials grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The client's public name.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: String,
    /// What its tokens may do, separated by spaces.
    pub scope: String,
}

/// What is wrong with a request's credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    Missing,
    /// Given twice, in a foreign scheme, or next to a foreign one.
    Format,
}

/// The keys that are accepted now.
#[derive(Debug)]
pub(crate) struct Keys {
    demo: Vec<String>,
    now: RwLock<Vec<String>>,
}

impl Keys {
    pub(crate) fn new(demo: &[&str]) -> Self {
        let demo: Vec<String> = demo.iter().map(|key| (*key).to_owned()).collect();
        Self { now: RwLock::new(demo.clone()), demo }
    }

    pub(crate) fn demo(&self) -> Vec<String> {
        self.demo.clone()
    }

    pub(crate) fn reset(&self) {
        self.replace(self.demo.clone());
    }

    pub(crate) fn replace(&self, keys: Vec<String>) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.now.read().unwrap_or_else(PoisonError::into_inner).iter().any(|have| have == key)
    }
}

/// The token of the one `Authorization: Bearer` a request may carry.
pub(crate) fn bearer(head: &Head) -> Result<&str, Problem> {
    let value = sole(head, "authorization", "x-api-key")?;
    match value.strip_prefix("Bearer ") {
        Some(token) if !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()) => Ok(token),
        _ => Err(Problem::Format),
    }
}

/// The one `X-API-Key` a request may carry.
pub(crate) fn api_key(head: &Head) -> Result<&str, Problem> {
    let key = sole(head, "x-api-key", "authorization")?;
    if !key.is_empty() && key.bytes().all(|b| b.is_ascii_graphic()) { Ok(key) } else { Err(Problem::Format) }
}

/// A client that sends the other scheme's field as well leaks a credential or is confused about the vendor.
fn sole<'a>(head: &'a Head, own: &'a str, foreign: &'a str) -> Result<&'a str, Problem> {
    match head.one(own) {
        Ok(Some(_)) if head.all(foreign).next().is_some() => Err(Problem::Format),
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(Problem::Missing),
        Err(()) => Err(Problem::Format),
    }
}
