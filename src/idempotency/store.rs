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
    /// Prepares the store for so many configured callers.
    pub(super) fn new(settings: &settings::Idempotency, callers: usize) -> Result<Self, BuildError> {
        Ok(match &settings.store {
            settings::Store::Memory => Store::Memory(Memory::new(Limits::share(settings, callers))),
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

    /// Applies the limits of other settings and callers.
    pub(super) fn limit(&self, settings: &settings::Idempotency, callers: usize) {
        if let Store::Memory(memory) = self {
            memory.limit(Limits::share(settings, callers));
        }
    }

    pub(super) async fn claim(&self, claim: &Claim) -> Result<ClaimOutcome, StoreError> {
        match self {
            Store::Memory(memory) => memory.claim(Instant::now(), claim),
            Store::Shared(shared) => shared.claim(claim).await,
        }
    }

    /// Notes that the request is about to be sent. Returns false if the claim does not hold the key any more.
    pub(super) async fn mark(&self, claim: &Claim) -> Result<bool, StoreError> {
        match self {
            Store::Memory(memory) => Ok(memory.mark(Instant::now(), claim)),
            Store::Shared(shared) => shared.mark(claim).await,
        }
    }

    /// Takes back the note that the request is about to be sent. Returns false if the claim does not hold the key any more.
    pub(super) async fn unmark(&self, claim: &Claim) -> Result<bool, StoreError> {
        match self {
            Store::Memory(memory) => Ok(memory.unmark(Instant::now(), claim)),
            Store::Shared(shared) => shared.unmark(claim).await,
        }
    }

    /// Stores the response, with its body if `whole`, if the claim is the last one of the key, or the key is free. Returns
    /// false if another claim was made.
    pub(super) async fn complete(
        &self,
        claim: &Claim,
        response: &StoredResponse,
        whole: bool,
    ) -> Result<bool, StoreError> {
        match self {
            Store::Memory(memory) => Ok(memory.complete(Instant::now(), claim, response, whole)),
            Store::Shared(shared) => shared.complete(claim, response, whole).await,
        }
    }

    /// Releases the key if the claim still holds it.
    pub(super) async fn release(&self, claim: &Claim) -> Result<(), StoreError> {
        match self {
            Store::Memory(memory) => {
                memory.release(claim);
                Ok(())
            }
            Store::Shared(shared) => shared.release(claim).await,
        }
    }
}
