//! Idempotency: a request that repeats an `Idempotency-Key` gets the stored response, and is not run again.
//!
//! ```text
//! claim ──> free: run the update ──> mark ──> complete (or release, if the same key may run again)
//!       ├─> done: the stored response
//!       ├─> running: 409
//!       ├─> begun to send, and its holder is gone: 409, or run again where a repetition does no harm
//!       └─> taken by another request: 422
//! ```
//!
//! A claim says if its request may have been sent. It is written so at once, or marked before the first request is sent.

mod answer;
mod claim;
mod link;
pub mod memory;
pub mod record;
mod run;
mod running;
mod shared;
mod stats;
mod store;
pub mod turns;

pub use answer::{PREFERENCE_APPLIED, StoredResponse};
pub use claim::{
    Claim, ClaimOutcome, Fingerprint, FingerprintInput, Key, KeyedRequest, Lifetimes, StoreError, Token,
    digest,
};
pub use run::{BeforeSend, IdempotentOutcome, Worked};
pub use stats::Stats;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::settings;
use crate::types::build_error::BuildError;
use crate::types::problem::Problem;
use run::{Run, Shared};
use running::Running;
use stats::Counters;
use store::Store;
use turns::Turns;

/// Keyed requests of one gateway. Its store outlives a configuration: see [`Idempotency::carry`].
#[derive(Debug)]
pub struct Idempotency {
    settings: settings::Idempotency,
    callers: usize,
    store: Arc<Store>,
    counters: Arc<Counters>,
    running: Arc<Running>,
    turns: Turns,
}

impl Idempotency {
    /// Prepares the store, which so many configured callers share; connects to nothing.
    ///
    /// # Errors
    ///
    /// A setting of the store that cannot work.
    pub fn new(settings: &settings::Idempotency, callers: usize) -> Result<Self, BuildError> {
        let store = Store::new(settings, callers)?;
        Ok(Idempotency {
            turns: Turns::new(store.connection(), Lifetimes::from(settings), settings.on_store_failure),
            store: Arc::new(store),
            settings: settings.clone(),
            callers,
            counters: Arc::default(),
            running: Arc::default(),
        })
    }

    /// Carries the store and the counters of `previous` over a reload, if both settings name the same store.
    #[must_use]
    pub fn carry(self, previous: &Idempotency) -> Self {
        let store =
            if previous.store.is_at(&self.settings) { Arc::clone(&previous.store) } else { self.store };
        store.limit(&self.settings, self.callers);
        Idempotency {
            turns: previous.turns.carry(
                store.connection(),
                Lifetimes::from(&self.settings),
                self.settings.on_store_failure,
            ),
            store,
            settings: self.settings,
            callers: self.callers,
            counters: Arc::clone(&previous.counters),
            running: Arc::clone(&previous.running),
        }
    }

    /// Counters since the start, and the occupancy of the store in memory.
    pub fn stats(&self) -> Stats {
        self.counters.read(&self.store, self.running.count())
    }

    /// Waits until no keyed update runs, no turn is at work and no response waits to be stored. Their callers may have hung
    /// up, so that nothing else waits for them.
    pub async fn idle(&self) {
        self.running.none().await;
        self.turns.idle().await;
    }

    /// Turns of conversations.
    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Runs the update that `work` gives, which takes at most `timeout`, unless the key's first request did. It runs in a
    /// task of its own: a caller that hangs up neither interrupts an update nor leaves its key taken.
    ///
    /// `sends_at_once` says that the update sends its writing request without waiting for anything before. Else it calls
    /// [`BeforeSend::mark`] first.
    ///
    /// # Errors
    ///
    /// The key belongs to another request or is in use, its outcome is unknown, or the store fails and
    /// `on_store_failure` is `refuse`.
    pub async fn answer<W>(
        &self,
        keyed: KeyedRequest,
        timeout: Duration,
        sends_at_once: bool,
        work: impl FnOnce(BeforeSend) -> W,
    ) -> Result<IdempotentOutcome, Problem>
    where
        W: Future<Output = Worked> + Send + 'static,
    {
        let claim = Claim {
            keyed,
            token: Token::random(),
            lifetimes: Lifetimes::from(&self.settings),
            sends_at_once,
        };
        let (store, counters) = (Arc::clone(&self.store), Arc::clone(&self.counters));
        let shared = Shared::new(claim, store, counters, self.settings.on_store_failure);
        let run = Run::new(shared, Running::enter(&self.running));
        let work = work(run.before_send());
        match tokio::spawn(run.run(timeout, work)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(run::defect()),
        }
    }
}
