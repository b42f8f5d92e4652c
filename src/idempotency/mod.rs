//! Stored answers: a request that is sent again with its `Idempotency-Key` is answered, not done again.
//!
//! ```text
//! claim ──> free: it is mine ──> the update ──> complete (or release, if nothing was done and it may be tried again)
//!       ├─> done: the stored answer
//!       ├─> running: 409
//!       └─> another request's: 422
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

pub use answer::StoredResponse;
pub use claim::{ClaimOutcome, Fingerprint, FingerprintInput, Key, KeyedRequest, StoreError, Token};
pub use stats::Stats;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::settings::{self, OnStoreFailure};
use crate::types::code::{Applied, Code};
use crate::types::problem::Problem;
use claim::{Claim, Lifetimes};
use running::{Running, Ticket};
use stats::Counters;
use store::Store;

/// What a caller waits before it asks again: most updates are done by then.
const IN_PROGRESS_RETRY_AFTER_SECS: u64 = 1;
/// How often an answer that could not be recorded is offered to the store again, while the caller has it already.
const ATTEMPTS: u32 = 8;
/// The first pause between these attempts; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The records of one gateway. It outlives a configuration: see [`Idempotency::carry`].
#[derive(Debug)]
pub struct Idempotency {
    settings: settings::Idempotency,
    store: Arc<Store>,
    counters: Arc<Counters>,
    running: Arc<Running>,
}

/// What a request with a key comes to.
#[derive(Debug)]
pub enum IdempotentOutcome {
    /// It was done.
    First {
        /// Its answer.
        answer: StoredResponse,
        /// Time spent waiting for the vendor.
        waited: Duration,
        /// False where the store did not answer and the request was done all the same: repeating it does it again.
        guaranteed: bool,
    },
    /// It had been done before: the stored answer.
    Replayed(StoredResponse),
}

/// What the update gave, and the time it waited for the vendor.
pub type Worked = (StoredResponse, Duration);

impl Idempotency {
    /// Prepares the store; connects to nothing. The error says what is wrong with the settings.
    pub fn new(settings: &settings::Idempotency) -> Result<Self, String> {
        Ok(Idempotency {
            store: Arc::new(Store::new(settings)?),
            settings: settings.clone(),
            counters: Arc::default(),
            running: Arc::default(),
        })
    }

    /// The same records under this one's settings, if they are kept at the same place; else this one. What was stored
    /// or counted before a configuration was read again is so still there after it.
    #[must_use]
    pub fn carry(self, previous: &Idempotency) -> Self {
        let store =
            if previous.store.is_at(&self.settings) { Arc::clone(&previous.store) } else { self.store };
        store.limit(&self.settings);
        Idempotency {
            store,
            settings: self.settings,
            counters: Arc::clone(&previous.counters),
            running: Arc::clone(&previous.running),
        }
    }

    /// What happened so far, and how full the store of this process is.
    pub fn stats(&self) -> Stats {
        self.counters.read(&self.store, self.running.count())
    }

    /// Waits until no update with a key is running and no record waits to be written: their callers may be gone, and
    /// with them what else would wait for the end.
    pub async fn idle(&self) {
        self.running.none().await;
    }

    /// Does `work` unless it was done before. All of it runs in a task of its own: a caller that hangs up neither stops
    /// an update in the middle nor leaves its key taken. `timeout` is how long `work` may take.
    pub async fn answer<W>(
        &self,
        asked: KeyedRequest,
        timeout: Duration,
        work: W,
    ) -> Result<IdempotentOutcome, Problem>
    where
        W: Future<Output = Worked> + Send + 'static,
    {
        let run = Run {
            claim: Claim { asked, token: Token::random(), lifetimes: Lifetimes::from(&self.settings) },
            store: Arc::clone(&self.store),
            counters: Arc::clone(&self.counters),
            on_store_failure: self.settings.on_store_failure,
            _ticket: Running::enter(&self.running),
        };
        match tokio::spawn(run.run(timeout, work)).await {
            Ok(answered) => answered,
            Err(_) => Err(broken()),
        }
    }
}

/// A defect in the middle of an update.
fn broken() -> Problem {
    let detail = "A defect of the gateway; its log says more under this request id.";
    Problem { applied: Applied::Unknown, ..Problem::new(Code::Internal, detail) }
}

/// One request with a key, from the claim to the record.
struct Run {
    claim: Claim,
    store: Arc<Store>,
    counters: Arc<Counters>,
    on_store_failure: OnStoreFailure,
    /// Says that it runs.
    _ticket: Ticket,
}

impl Run {
    async fn run<W>(self, timeout: Duration, work: W) -> Result<IdempotentOutcome, Problem>
    where
        W: Future<Output = Worked> + Send + 'static,
    {
        let asked_at = Instant::now();
        let claimed = self.store.claim(&self.claim).await;
        let mine = match claimed {
            Ok(ClaimOutcome::Mine) => true,
            Ok(ClaimOutcome::Running { fingerprint } | ClaimOutcome::Done { fingerprint, .. })
                if fingerprint != self.claim.asked.fingerprint =>
            {
                self.counters.reuses.add();
                return Err(reused());
            }
            Ok(ClaimOutcome::Done { answer, .. }) => {
                self.counters.replays.add();
                return Ok(IdempotentOutcome::Replayed(answer));
            }
            Ok(ClaimOutcome::Running { .. }) => {
                self.counters.conflicts.add();
                return Err(in_progress());
            }
            Err(why) => {
                self.counters.failed(&why);
                if !why.may_proceed(self.on_store_failure) {
                    return Err(unavailable(&why));
                }
                self.counters.not_guaranteed.add();
                false
            }
        };
        if !mine {
            let (answer, waited) = self.work(work).await;
            return Ok(IdempotentOutcome::First { answer, waited, guaranteed: false });
        }
        self.counters.claims.add();
        // A process that was stopped for so long that its lease may end while the vendor works: another request may
        // hold the key by then. Nothing was sent, so nothing is.
        if asked_at.elapsed() > self.claim.lifetimes.slack(timeout) {
            self.counters.lost_leases.add();
            self.give_back().await;
            return Err(unavailable(&StoreError::Late));
        }
        let (answer, waited) = self.work(work).await;
        if answer.is_final() {
            self.record(answer.clone()).await;
        } else {
            self.counters.releases.add();
            self.give_back().await;
        }
        Ok(IdempotentOutcome::First { answer, waited, guaranteed: true })
    }

    /// A task of its own again, so that even a panic in it has an answer that can be recorded: the vendor may have done
    /// the update.
    async fn work<W>(&self, work: W) -> Worked
    where
        W: Future<Output = Worked> + Send + 'static,
    {
        match tokio::spawn(work).await {
            Ok(worked) => worked,
            Err(_) => {
                let response = broken().into_response(self.claim.asked.request_id.as_str());
                (StoredResponse::of(response).await, Duration::ZERO)
            }
        }
    }

    async fn give_back(&self) {
        if let Err(why) = self.store.release(&self.claim).await {
            // The key stays taken until the lease ends.
            self.counters.failed(&why);
        }
    }

    /// Writes the record. If the store fails, the caller gets its answer all the same, and the record is tried again
    /// behind its back.
    async fn record(self, answer: StoredResponse) {
        match self.store.complete(&self.claim, &answer).await {
            Ok(true) => {}
            Ok(false) => self.counters.lost_leases.add(),
            Err(why) => {
                self.counters.failed(&why);
                tokio::spawn(self.record_later(answer));
            }
        }
    }

    async fn record_later(self, answer: StoredResponse) {
        let mut pause = FIRST_PAUSE;
        for _ in 0..ATTEMPTS {
            tokio::time::sleep(pause).await;
            pause *= 2;
            match self.store.complete(&self.claim, &answer).await {
                Ok(true) => return,
                Ok(false) => return self.counters.lost_leases.add(),
                Err(why) => self.counters.failed(&why),
            }
        }
        self.counters.lost_records.add();
        tracing::error!(
            request_id = self.claim.asked.request_id.as_str(),
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

fn unavailable(why: &StoreError) -> Problem {
    Problem::new(Code::IdempotencyStoreUnavailable, format!("{why}, so nothing was sent."))
        .retry_after(IN_PROGRESS_RETRY_AFTER_SECS)
}
