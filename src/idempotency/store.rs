//! The two stores behind one face.

use std::fmt;
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::asked::Asked;
use super::memory::{Limits, Memory};
use super::shared::Shared;
use crate::settings::{self, OnStoreFailure};

/// A caller's key, hashed with the caller: all that a store knows of either.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub [u8; 32]);

/// What a request is: path, body and wishes, hashed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

/// Who holds a key: made anew for every claim, so that a holder that lost its lease is known from the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token(pub [u8; 16]);

impl Token {
    /// One that nobody has.
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

/// What a claim finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The key was free; it is the claimant's until the lease ends.
    Mine,
    /// Another request holds it.
    Running {
        /// What that request is.
        fingerprint: Fingerprint,
    },
    /// A request with it was answered.
    Done {
        /// What that request was.
        fingerprint: Fingerprint,
        /// Its answer.
        answer: Answer,
    },
}

/// Why a store cannot say whether a key is free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unavailable {
    /// No connection.
    Down,
    /// No answer in time.
    Slow,
    /// It answered with an error: its code, such as `OOM` or `READONLY`.
    Refused(String),
    /// As many keys are taken as may be.
    Full,
    /// What stands under the key is no record of this key.
    Invalid,
    /// It answered, but too late for the lease to be relied on.
    Late,
}

impl Unavailable {
    /// Whether the configuration lets the request go on without a record. Never where something is recorded that
    /// cannot be read: the request may have been done.
    pub(super) fn may_proceed(&self, on_store_failure: OnStoreFailure) -> bool {
        on_store_failure == OnStoreFailure::Proceed && *self != Unavailable::Invalid
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unavailable::Down => "The store of idempotency records cannot be reached",
            Unavailable::Slow => "The store of idempotency records did not answer in time",
            Unavailable::Refused(_) => "The store of idempotency records refused",
            Unavailable::Full => "As many requests with a key are running as there may be",
            Unavailable::Invalid => "What is stored under this Idempotency-Key cannot be read",
            Unavailable::Late => "The claim of the Idempotency-Key took too long",
        })
    }
}

/// How long what lasts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetimes {
    /// An answer.
    pub(super) ttl: Duration,
    /// A claim.
    pub(super) lease: Duration,
    /// The patience with the store.
    pub(super) store_timeout: Duration,
}

impl From<&settings::Idempotency> for Lifetimes {
    fn from(settings: &settings::Idempotency) -> Self {
        Lifetimes { ttl: settings.ttl, lease: settings.lease, store_timeout: settings.store_timeout }
    }
}

impl Lifetimes {
    /// How late work may begin that takes `timeout` at most and must end before the lease does. Where the lease is hardly
    /// longer than the timeout: a tenth of it.
    pub(super) fn slack(&self, timeout: Duration) -> Duration {
        self.lease.saturating_sub(timeout).max(self.lease / 10)
    }
}

/// A request that takes its key, or tries to.
#[derive(Debug)]
pub(super) struct Holder {
    /// The request.
    pub(super) asked: Asked,
    /// This holder and no other.
    pub(super) token: Token,
    /// How long what lasts.
    pub(super) lifetimes: Lifetimes,
}

/// Where the records are.
#[derive(Debug)]
pub(super) enum Store {
    /// In this process.
    Memory(Memory),
    /// In a Valkey or Redis.
    Shared(Box<Shared>),
}

impl Store {
    pub(super) fn new(settings: &settings::Idempotency) -> Result<Self, String> {
        Ok(match &settings.store {
            settings::Store::Memory => Store::Memory(Memory::new(Limits::from(settings))),
            settings::Store::Redis { url } => {
                Store::Shared(Box::new(Shared::new(url, settings.ca_file.as_deref())?))
            }
        })
    }

    /// Whether these settings mean this store.
    pub(super) fn is_at(&self, settings: &settings::Idempotency) -> bool {
        match (self, &settings.store) {
            (Store::Memory(_), settings::Store::Memory) => true,
            (Store::Shared(shared), settings::Store::Redis { url }) => {
                shared.is_at(url, settings.ca_file.as_deref())
            }
            _ => false,
        }
    }

    /// Keeps to the limits of other settings from now on.
    pub(super) fn limit(&self, settings: &settings::Idempotency) {
        if let Store::Memory(memory) = self {
            memory.limit(Limits::from(settings));
        }
    }

    pub(super) async fn claim(&self, holder: &Holder) -> Result<Claimed, Unavailable> {
        let Holder { asked, token, lifetimes } = holder;
        match self {
            Store::Memory(memory) => {
                memory.claim(Instant::now(), asked.key, asked.fingerprint, *token, lifetimes.lease)
            }
            Store::Shared(shared) => shared.claim(holder).await,
        }
    }

    /// Writes the answer if the key is still the holder's, or nobody's. False: it is another's now.
    pub(super) async fn complete(&self, holder: &Holder, answer: &Answer) -> Result<bool, Unavailable> {
        let Holder { asked, token, lifetimes } = holder;
        match self {
            Store::Memory(memory) => {
                let (now, answer) = (Instant::now(), answer.clone());
                Ok(memory.complete(now, asked.key, asked.fingerprint, *token, answer, lifetimes.ttl))
            }
            Store::Shared(shared) => shared.complete(holder, answer).await,
        }
    }

    /// Frees the key if it is still the holder's.
    pub(super) async fn release(&self, holder: &Holder) -> Result<(), Unavailable> {
        match self {
            Store::Memory(memory) => {
                memory.release(holder.asked.key, holder.token);
                Ok(())
            }
            Store::Shared(shared) => shared.release(holder).await,
        }
    }
}
