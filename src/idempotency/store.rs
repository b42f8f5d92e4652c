//! Store of idempotency records: in memory, or in Valkey or Redis.

use std::time::Instant;

use super::answer::StoredResponse;
use super::claim::{Claim, ClaimOutcome, StoreError};
use super::link::StoreConnection;
use super::memory::{Limits, Memory};
use super::shared::Shared;
use crate::settings;
use crate::types::build_error::BuildError;

/// Store of idempotency records.
#[derive(Debug)]
pub(super) enum Store {
    /// Records in this process.
    Memory(Memory),
    /// Records in Valkey or Redis.
    Shared(Box<Shared>),
}

impl Store {
    pub(super) fn new(settings: &settings::Idempotency) -> Result<Self, BuildError> {
        Ok(match &settings.store {
            settings::Store::Memory => Store::Memory(Memory::new(Limits::from(settings))),
            settings::Store::Redis { url } => {
                Store::Shared(Box::new(Shared::new(url, settings.ca_file.as_deref())?))
            }
        })
    }

    /// True if `settings` name this store.
    pub(super) fn is_at(&self, settings: &settings::Idempotency) -> bool {
        match (self, &settings.store) {
            (Store::Memory(_), settings::Store::Memory) => true,
            (Store::Shared(shared), settings::Store::Redis { url }) => {
                shared.is_at(url, settings.ca_file.as_deref())
            }
            _ => false,
        }
    }

    /// The connection to Valkey or Redis; `None` in memory.
    pub(super) fn connection(&self) -> Option<StoreConnection> {
        match self {
            Store::Memory(_) => None,
            Store::Shared(shared) => Some(shared.connection().clone()),
        }
    }

    /// Applies the limits of other settings.
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

    /// Stores the response if the key is still held by the claim, or free. Returns false if another claim holds it.
    pub(super) async fn complete(
        &self,
        claim: &Claim,
        response: &StoredResponse,
    ) -> Result<bool, StoreError> {
        let Claim { keyed, token, lifetimes } = claim;
        match self {
            Store::Memory(memory) => {
                let (now, response) = (Instant::now(), response.clone());
                Ok(memory.complete(now, keyed.key, keyed.fingerprint, *token, response, lifetimes.ttl))
            }
            Store::Shared(shared) => shared.complete(claim, response).await,
        }
    }

    /// Releases the key if the claim still holds it.
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
