//! The two stores behind one face.

use std::time::Instant;

use super::answer::StoredResponse;
use super::claim::{Claim, ClaimOutcome, StoreError};
use super::memory::{Limits, Memory};
use super::shared::Shared;
use crate::settings;

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

    pub(super) async fn claim(&self, claim: &Claim) -> Result<ClaimOutcome, StoreError> {
        let Claim { keyed, token, lifetimes } = claim;
        match self {
            Store::Memory(memory) => {
                memory.claim(Instant::now(), keyed.key, keyed.fingerprint, *token, lifetimes.lease)
            }
            Store::Shared(shared) => shared.claim(claim).await,
        }
    }

    /// Writes the answer if the key is still the claim's, or nobody's. False: it is another's now.
    pub(super) async fn complete(&self, claim: &Claim, answer: &StoredResponse) -> Result<bool, StoreError> {
        let Claim { keyed, token, lifetimes } = claim;
        match self {
            Store::Memory(memory) => {
                let (now, answer) = (Instant::now(), answer.clone());
                Ok(memory.complete(now, keyed.key, keyed.fingerprint, *token, answer, lifetimes.ttl))
            }
            Store::Shared(shared) => shared.complete(claim, answer).await,
        }
    }

    /// Frees the key if it is still the claim's.
    pub(super) async fn release(&self, claim: &Claim) -> Result<(), StoreError> {
        match self {
            Store::Memory(memory) => {
                memory.release(claim.keyed.key, claim.token);
                Ok(())
            }
            Store::Shared(shared) => shared.release(claim).await,
        }
    }
}
