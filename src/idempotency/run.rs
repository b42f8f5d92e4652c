//! One keyed request, from the claim to the record.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::answer::StoredResponse;
use super::claim::{Claim, ClaimOutcome, Fingerprint, StoreError};
use super::running::Ticket;
use super::stats::Counters;
use super::store::Store;
use crate::settings::OnStoreFailure;
use crate::types::code::{AnsweredBy, Applied, Code};
use crate::types::problem::Problem;

/// `Retry-After`, in seconds, while another request holds the key or the store fails.
const RETRY_AFTER_SECS: u64 = 1;
/// `Retry-After`, in seconds, while the caller's share of records is full.
const FULL_RETRY_AFTER_SECS: u64 = 30;
/// Size, in bytes, up to which the body of a response is stored.
const MAX_BODY: usize = 1024 * 1024;
/// First and longest pause between attempts to write to a store that fails; each pause is twice as long as the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Time after which no further attempt is made.
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);

/// Result of a keyed request.
#[derive(Debug)]
pub enum IdempotentOutcome {
    /// The update was run by this request.
    First {
        /// The response.
        response: StoredResponse,
        /// Producer of the response: the gateway or the vendor.
        answered_by: AnsweredBy,
        /// Time spent waiting for the vendor.
        waited: Duration,
        /// False if the store failed and the request ran without a record: a repetition runs it again.
        guaranteed: bool,
    },
    /// The response that the key's first request was given.
    Replayed(StoredResponse),
}

/// Result of an update that ran for a key.
#[derive(Debug)]
pub struct Worked {
    /// The response, ready to be stored, or the problem.
    pub result: Result<StoredResponse, Problem>,
    /// Producer of the response: the gateway or the vendor.
    pub answered_by: AnsweredBy,
    /// Time spent waiting for the vendor.
    pub waited: Duration,
}

/// One keyed request. Clones are the same request.
#[derive(Clone)]
pub(super) struct Run {
    shared: Arc<Shared>,
    /// Counts as running until dropped.
    _ticket: Ticket,
}

/// Parts of a keyed request that its task and its work have in common.
pub(super) struct Shared {
    claim: Claim,
    store: Arc<Store>,
    counters: Arc<Counters>,
    on_store_failure: OnStoreFailure,
    /// False if the store failed and the request runs without a record.
    guaranteed: AtomicBool,
}

/// Note in the record of a request's key that the request may have been sent.
pub struct BeforeSend {
    /// The keyed request; `None` without a key.
    shared: Option<Arc<Shared>>,
    is_marked: bool,
}

impl fmt::Debug for BeforeSend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BeforeSend").field("is_marked", &self.is_marked).finish_non_exhaustive()
    }
}

impl BeforeSend {
    /// The note of a request without a key: nothing is written.
    pub fn unkeyed() -> Self {
        BeforeSend { shared: None, is_marked: false }
    }

    /// True if [`mark`](BeforeSend::mark) has something to write.
    pub fn is_pending(&self) -> bool {
        !self.is_marked && self.recorded().is_some()
    }

    /// Writes the note, unless the claim was written with it. To be called before the first request that can change
    /// something is sent.
    ///
    /// # Errors
    ///
    /// The lease is over or the store fails: nothing may be sent.
    pub async fn mark(self) -> Result<(), Problem> {
        let Some(shared) = self.recorded().filter(|_| !self.is_marked) else { return Ok(()) };
        shared.written(shared.store.mark(&shared.claim).await)
    }

    /// Takes the note back that the claim was written with, because the request has to wait first.
    ///
    /// # Errors
    ///
    /// The lease is over or the store fails: nothing may be sent.
    pub async fn unmark(&mut self) -> Result<(), Problem> {
        let Some(shared) = self.recorded().filter(|_| self.is_marked) else { return Ok(()) };
        shared.written(shared.store.unmark(&shared.claim).await)?;
        self.is_marked = false;
        Ok(())
    }

    fn recorded(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref().filter(|shared| shared.guaranteed.load(Relaxed))
    }
}

impl Shared {
    pub(super) fn new(
        claim: Claim,
        store: Arc<Store>,
        counters: Arc<Counters>,
        on_store_failure: OnStoreFailure,
    ) -> Self {
        Shared { claim, store, counters, on_store_failure, guaranteed: AtomicBool::new(true) }
    }

    /// Result of a change of the claim's record; false if the claim does not hold the key any more.
    fn written(&self, is_written: Result<bool, StoreError>) -> Result<(), Problem> {
        match is_written {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.counters.lost_leases.add();
                Err(unavailable(&StoreError::Late))
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Counts a failure of the store. Says if the request may go on without a record.
    fn failed(&self, error: &StoreError) -> Result<(), Problem> {
        self.counters.failed(error);
        if !error.may_proceed(self.on_store_failure) {
            return Err(unavailable(error));
        }
        self.counters.not_guaranteed.add();
        self.guaranteed.store(false, Relaxed);
        Ok(())
    }

    /// True if `problem` is the answer to every further request with the key. False if the same key runs again: nothing
    /// was done and the request may succeed later, or it may have been done and a repetition does no harm.
    fn keeps(&self, problem: &Problem) -> bool {
        match problem.applied {
            Applied::No => !problem.retryable,
            Applied::Unknown => !self.claim.keyed.repeat_is_safe,
            Applied::Yes => true,
        }
    }
}

impl Run {
    pub(super) fn new(shared: Shared, ticket: Ticket) -> Self {
        Run { shared: Arc::new(shared), _ticket: ticket }
    }

    /// The note that the work writes, unless the claim says it already.
    pub(super) fn before_send(&self) -> BeforeSend {
        BeforeSend { shared: Some(Arc::clone(&self.shared)), is_marked: self.shared.claim.sends_at_once }
    }

    pub(super) async fn run<W>(self, timeout: Duration, work: W) -> Result<IdempotentOutcome, Problem>
    where
        W: Future<Output = Worked> + Send + 'static,
    {
        let (started, shared) = (Instant::now(), Arc::clone(&self.shared));
        let (claim, counters) = (&shared.claim, &shared.counters);
        match shared.store.claim(claim).await {
            Ok(ClaimOutcome::Claimed) => counters.claims.add(),
            Ok(
                ClaimOutcome::Running { fingerprint }
                | ClaimOutcome::Unknown { fingerprint, .. }
                | ClaimOutcome::Done { fingerprint, .. },
            ) if fingerprint != claim.keyed.fingerprint => {
                counters.reuses.add();
                return Err(reused(&claim.keyed.fingerprint, &fingerprint));
            }
            Ok(ClaimOutcome::Done { response, whole, .. }) => {
                counters.replays.add();
                let keyed = &claim.keyed;
                let brief = |response: StoredResponse| {
                    response.without_body(&keyed.conversation, keyed.request_id.as_str())
                };
                let response = if whole { response } else { brief(response) };
                return Ok(IdempotentOutcome::Replayed(response));
            }
            Ok(ClaimOutcome::Running { .. }) => {
                counters.conflicts.add();
                return Err(in_progress());
            }
            Ok(ClaimOutcome::Unknown { .. }) => {
                counters.unknown_outcomes.add();
                return Err(outcome_unknown());
            }
            Err(error) => {
                if error.may_have_stored() {
                    // Nothing was sent under this claim: it must not look as if.
                    tokio::spawn(self.clone().release_later());
                }
                shared.failed(&error)?;
            }
        }
        // The process may have been stopped for so long that the lease can end during the update; another request could
        // then hold the key. Nothing was sent so far, so nothing is sent.
        if shared.guaranteed.load(Relaxed) && started.elapsed() > claim.lifetimes.slack(timeout) {
            counters.lost_leases.add();
            self.release().await;
            return Err(unavailable(&StoreError::Late));
        }
        Ok(self.finish(work).await)
    }

    /// Runs the update and records its response.
    async fn finish<W>(self, work: W) -> IdempotentOutcome
    where
        W: Future<Output = Worked> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let is_claimed = shared.guaranteed.load(Relaxed);
        // In a task of its own again, so that a panic in it has a response too that can be stored: the vendor may have
        // applied the update.
        let Worked { result, answered_by, waited } = tokio::spawn(work).await.unwrap_or_else(|_| Worked {
            result: Err(defect()),
            answered_by: AnsweredBy::Gateway,
            waited: Duration::ZERO,
        });
        let is_kept = is_claimed && result.as_ref().err().is_none_or(|problem| shared.keeps(problem));
        let response = result.unwrap_or_else(|problem| {
            let problem = if is_kept { problem.kept_for_key() } else { problem };
            StoredResponse::of_problem(problem, shared.claim.keyed.request_id.as_str())
        });
        if is_kept {
            self.record(&response).await;
        } else if is_claimed {
            shared.counters.releases.add();
            self.release().await;
        }
        let guaranteed = shared.guaranteed.load(Relaxed);
        IdempotentOutcome::First { response, answered_by, waited, guaranteed }
    }

    /// Frees the key. If that fails it is tried again in the background: a claim that is left looks as if its request had
    /// been sent.
    async fn release(self) {
        if let Err(error) = self.shared.store.release(&self.shared.claim).await {
            self.shared.counters.failed(&error);
            tokio::spawn(self.release_later());
        }
    }

    async fn release_later(self) {
        let Shared { store, claim, counters, .. } = &*self.shared;
        let mut pauses = Pauses::new();
        while pauses.next().await {
            match store.release(claim).await {
                Ok(()) => return,
                Err(error) => counters.failed(&error),
            }
        }
    }

    /// Stores the response. If that fails the caller is still answered, and storing is retried in the background.
    async fn record(self, response: &StoredResponse) {
        let Shared { store, claim, counters, .. } = &*self.shared;
        let whole = response.body.len() <= MAX_BODY;
        if !whole {
            counters.bodies_too_large.add();
        }
        match store.complete(claim, response, whole).await {
            Ok(true) => {}
            Ok(false) => counters.lost_leases.add(),
            Err(error) => {
                counters.failed(&error);
                tokio::spawn(self.record_later(response.clone(), whole));
            }
        }
    }

    async fn record_later(self, response: StoredResponse, whole: bool) {
        let Shared { store, claim, counters, .. } = &*self.shared;
        let mut pauses = Pauses::new();
        while pauses.next().await {
            match store.complete(claim, &response, whole).await {
                Ok(true) => return,
                Ok(false) => return counters.lost_leases.add(),
                Err(error) => counters.failed(&error),
            }
        }
        counters.lost_records.add();
        tracing::error!(
            request_id = claim.keyed.request_id.as_str(),
            "the answer to a request with a key could not be recorded: its key has no answer, or is free if the store lost it"
        );
    }
}

/// Pauses between attempts to write to a store that fails.
struct Pauses {
    pause: Duration,
    end: Instant,
}

impl Pauses {
    fn new() -> Self {
        Pauses { pause: PAUSES.0, end: Instant::now() + GIVE_UP_AFTER }
    }

    /// Waits. Returns false if it is time to give up.
    async fn next(&mut self) -> bool {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSES.1);
        Instant::now() < self.end
    }
}

/// A defect in the middle of an update.
pub(super) fn defect() -> Problem {
    Problem { applied: Applied::Unknown, ..Problem::defect() }
}

fn in_progress() -> Problem {
    Problem::new(
        Code::IdempotencyInProgress,
        "The first request with this Idempotency-Key is still running; send it again a little later to get its answer.",
    )
    .retry_after(RETRY_AFTER_SECS)
}

fn outcome_unknown() -> Problem {
    let mut problem = Problem::new(
        Code::IdempotencyOutcomeUnknown,
        "The first request with this Idempotency-Key may have been sent, but the gateway that ran it ended without an \
         answer, so the update was done or not. It is not done again under this key. Read the conversation to see \
         it; a new key is needed to try again.",
    );
    problem.applied = Applied::Unknown;
    problem
}

fn reused(now: &Fingerprint, first: &Fingerprint) -> Problem {
    let differences = now.differences(first).join(", ");
    Problem::new(
        Code::IdempotencyKeyReused,
        format!(
            "This Idempotency-Key belongs to another request. It differs in: {differences}. Send the first request \
             again, or take a new key."
        ),
    )
}

fn unavailable(error: &StoreError) -> Problem {
    let problem = Problem::new(Code::IdempotencyStoreUnavailable, format!("{error}, so nothing was sent."));
    match error {
        // Its record stays for as long as an answer would.
        StoreError::Invalid => problem.kept_for_key(),
        StoreError::Full => problem.retry_after(FULL_RETRY_AFTER_SECS),
        _ => problem.retry_after(RETRY_AFTER_SECS),
    }
}
