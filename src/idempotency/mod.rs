//! Idempotency: a request that repeats an `Idempotency-Key` gets the stored response, and is not run again.
//!
//! ```text
//! claim ──> free: run the update ──> complete (or release, if nothing was done and it may be tried again)
//!       ├─> done: the stored response
//!       ├─> running: 409
//!       └─> taken by another request: 422
//! ```

mod answer;
mod claim;
mod link;
pub mod memory;
pub mod record;
mod running;
mod shared;
mod stats;
mod store;
pub mod turns;

pub use answer::{PREFERENCE_APPLIED, StoredResponse};
pub use claim::{ClaimOutcome, Fingerprint, FingerprintInput, Key, KeyedRequest, StoreError, Token, digest};
pub use stats::Stats;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::settings::{self, OnStoreFailure};
use crate::types::build_error::BuildError;
use crate::types::code::{AnsweredBy, Applied, Code};
use crate::types::problem::Problem;
use claim::{Claim, Lifetimes};
use running::{Running, Ticket};
use stats::Counters;
use store::Store;
use turns::Turns;

/// `Retry-After`, in seconds, while another request holds the key.
const IN_PROGRESS_RETRY_AFTER_SECS: u64 = 1;
/// Attempts to store a response after the first one failed; the caller has the response already.
const ATTEMPTS: u32 = 8;
/// Pause before the first of these attempts; each pause is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Keyed requests of one gateway. Its store outlives a configuration: see [`Idempotency::carry`].
#[derive(Debug)]
pub struct Idempotency {
    settings: settings::Idempotency,
    store: Arc<Store>,
    counters: Arc<Counters>,
    running: Arc<Running>,
    turns: Turns,
}

/// Result of a keyed request.
#[derive(Debug)]
pub enum IdempotentOutcome {
    /// The update was run by this request.
    First {
        /// Result of the update.
        worked: Worked,
        /// False if the store failed and the request ran without a record: a repetition runs it again.
        guaranteed: bool,
    },
    /// The response that the key's first request was given.
    Replayed(StoredResponse),
}

/// Result of an update that ran for a key.
#[derive(Debug)]
pub struct Worked {
    /// The response, ready to be stored.
    pub response: StoredResponse,
    /// Producer of the response: the gateway or the vendor.
    pub answered_by: AnsweredBy,
    /// Time spent waiting for the vendor.
    pub waited: Duration,
}

impl Idempotency {
    /// Prepares the store; connects to nothing.
    ///
    /// # Errors
    ///
    /// A setting of the store that cannot work.
    pub fn new(settings: &settings::Idempotency) -> Result<Self, BuildError> {
        let store = Store::new(settings)?;
        Ok(Idempotency {
            turns: Turns::new(store.connection(), Lifetimes::from(settings)),
            store: Arc::new(store),
            settings: settings.clone(),
            counters: Arc::default(),
            running: Arc::default(),
        })
    }

    /// Carries the store and the counters of `previous` over a reload, if both settings name the same store.
    #[must_use]
    pub fn carry(self, previous: &Idempotency) -> Self {
        let store =
            if previous.store.is_at(&self.settings) { Arc::clone(&previous.store) } else { self.store };
        store.limit(&self.settings);
        Idempotency {
            turns: previous.turns.carry(store.connection(), Lifetimes::from(&self.settings)),
            store,
            settings: self.settings,
            counters: Arc::clone(&previous.counters),
            running: Arc::clone(&previous.running),
        }
    }

    /// Counters since the start, and the occupancy of the store in memory.
    pub fn stats(&self) -> Stats {
        self.counters.read(&self.store, self.running.count())
    }

    /// Waits until no keyed update runs and no response waits to be stored. Their callers may have hung up, so that
    /// nothing else waits for them.
    pub async fn idle(&self) {
        self.running.none().await;
        self.turns.idle().await;
    }

    /// Turns of conversations.
    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Runs `work`, which takes at most `timeout`, unless the key's first request did. It runs in a task of its own: a
    /// caller that hangs up neither interrupts an update nor leaves its key taken.
    ///
    /// # Errors
    ///
    /// The key belongs to another request or is in use, or the store fails and `on_store_failure` is `refuse`.
    pub async fn answer<W>(
        &self,
        keyed: KeyedRequest,
        timeout: Duration,
        work: W,
    ) -> Result<IdempotentOutcome, Problem>
    where
        W: Future<Output = Worked> + Send + 'static,
    {
        let run = Run {
            claim: Claim { keyed, token: Token::random(), lifetimes: Lifetimes::from(&self.settings) },
            store: Arc::clone(&self.store),
            counters: Arc::clone(&self.counters),
            on_store_failure: self.settings.on_store_failure,
            _ticket: Running::enter(&self.running),
        };
        match tokio::spawn(run.run(timeout, work)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(defect()),
        }
    }
}

/// A defect in the middle of an update.
fn defect() -> Problem {
    Problem { applied: Applied::Unknown, ..Problem::defect() }
}

/// One keyed request, from the claim to the record.
struct Run {
    claim: Claim,
    store: Arc<Store>,
    counters: Arc<Counters>,
    on_store_failure: OnStoreFailure,
    /// Counts as running until dropped.
    _ticket: Ticket,
}

impl Run {
    async fn run<W>(self, timeout: Duration, work: W) -> Result<IdempotentOutcome, Problem>
    where
        W: Future<Output = Worked> + Send + 'static,
    {
        let started = Instant::now();
        let is_claimed = match self.store.claim(&self.claim).await {
            Ok(ClaimOutcome::Claimed) => true,
            Ok(ClaimOutcome::Running { fingerprint } | ClaimOutcome::Done { fingerprint, .. })
                if fingerprint != self.claim.keyed.fingerprint =>
            {
                self.counters.reuses.add();
                return Err(reused());
            }
            Ok(ClaimOutcome::Done { response, .. }) => {
                self.counters.replays.add();
                return Ok(IdempotentOutcome::Replayed(response));
            }
            Ok(ClaimOutcome::Running { .. }) => {
                self.counters.conflicts.add();
                return Err(in_progress());
            }
            Err(error) => {
                self.counters.failed(&error);
                if !error.may_proceed(self.on_store_failure) {
                    return Err(unavailable(&error));
                }
                self.counters.not_guaranteed.add();
                false
            }
        };
        if !is_claimed {
            let worked = self.work(work).await;
            return Ok(IdempotentOutcome::First { worked, guaranteed: false });
        }
        self.counters.claims.add();
        // The process may have been stopped for so long that the lease can end during the update; another request could
        // then hold the key. Nothing was sent so far, so nothing is sent.
        if started.elapsed() > self.claim.lifetimes.slack(timeout) {
            self.counters.lost_leases.add();
            self.release().await;
            return Err(unavailable(&StoreError::Late));
        }
        let worked = self.work(work).await;
        if worked.response.is_final() {
            self.record(worked.response.clone()).await;
        } else {
            self.counters.releases.add();
            self.release().await;
        }
        Ok(IdempotentOutcome::First { worked, guaranteed: true })
    }

    /// Runs the update in a task of its own again, so that a panic in it has a response too that can be stored: the
    /// vendor may have applied the update.
    async fn work<W>(&self, work: W) -> Worked
    where
        W: Future<Output = Worked> + Send + 'static,
    {
        tokio::spawn(work).await.unwrap_or_else(|_| {
            let request_id = self.claim.keyed.request_id.as_str();
            Worked {
                response: StoredResponse::of_problem(defect(), request_id),
                answered_by: AnsweredBy::Gateway,
                waited: Duration::ZERO,
            }
        })
    }

    async fn release(&self) {
        if let Err(error) = self.store.release(&self.claim).await {
            // The key stays taken until the lease ends.
            self.counters.failed(&error);
        }
    }

    /// Stores the response. If that fails the caller is still answered, and storing is retried in the background.
    async fn record(self, response: StoredResponse) {
        match self.store.complete(&self.claim, &response).await {
            Ok(true) => {}
            Ok(false) => self.counters.lost_leases.add(),
            Err(error) => {
                self.counters.failed(&error);
                tokio::spawn(self.record_later(response));
            }
        }
    }

    async fn record_later(self, response: StoredResponse) {
        let mut pause = FIRST_PAUSE;
        for _ in 0..ATTEMPTS {
            tokio::time::sleep(pause).await;
            pause *= 2;
            match self.store.complete(&self.claim, &response).await {
                Ok(true) => return,
                Ok(false) => return self.counters.lost_leases.add(),
                Err(error) => self.counters.failed(&error),
            }
        }
        self.counters.lost_records.add();
        tracing::error!(
            request_id = self.claim.keyed.request_id.as_str(),
            "the answer to a request with a key could not be recorded: sent again, it is done again"
        );
    }
}

fn in_progress() -> Problem {
    Problem::new(
        Code::IdempotencyInProgress,
        "The first request with this Idempotency-Key is still running; send it again a little later to get its answer.",
    )
    .retry_after(IN_PROGRESS_RETRY_AFTER_SECS)
}

fn reused() -> Problem {
    Problem::new(
        Code::IdempotencyKeyReused,
        "This Idempotency-Key belongs to a request with another path, body, media type or preference; take a new key.",
    )
}

fn unavailable(error: &StoreError) -> Problem {
    Problem::new(Code::IdempotencyStoreUnavailable, format!("{error}, so nothing was sent."))
        .retry_after(IN_PROGRESS_RETRY_AFTER_SECS)
}
