//! Turns of conversations: updates that would lose each other's changes are done one after the other.
//!
//! ```text
//! take ──> queue of this process ──> lease in the shared store, if there is one ──> Turn
//! ```

mod kind;
mod lease;
mod local;
#[cfg(test)]
mod tests;

pub use kind::TurnKind;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::claim::{Lifetimes, StoreError};
use super::link::StoreConnection;
use super::running::Running;
use crate::settings::{self, OnStoreFailure};
use crate::types::deadline::{Deadline, Expired};
use lease::{Lease, Leases};
use local::{Entered, Place, Queues};

/// Shortest and longest pause before the store is asked again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));
/// Longest pause while many requests of this process ask; shorter than a waiter's lifetime in the store.
const CROWDED_PAUSE: Duration = Duration::from_millis(400);
/// Requests asking at the same time that lengthen the longest pause by its own length.
const CROWD: u32 = 16;

/// Turns of all conversations, as one configuration sees them. Clones share queues and counters.
#[derive(Debug, Clone)]
pub struct Turns {
    shared: Arc<Shared>,
    leases: Option<Arc<Leases>>,
    on_store_failure: OnStoreFailure,
}

#[derive(Debug, Default)]
struct Shared {
    queues: Arc<Queues<Lease>>,
    counters: Arc<Counters>,
    releases: Arc<Running>,
}

/// Turn of one request. Dropping it hands the conversation to the next one.
#[derive(Debug)]
pub struct Turn {
    lease: Option<Lease>,
    /// Time at which the lease was found lost.
    lost: Option<Instant>,
    place: Place<Lease>,
    counters: Arc<Counters>,
}

/// Reason that a turn was not had, or is none any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnError {
    /// The deadline passed while others were first.
    Busy,
    /// The process shuts down.
    Shutdown,
    /// The lease ended, and another request may hold the turn.
    Lost,
    /// The store failed.
    Store(StoreError),
}

/// Counters of turns since the start, and those that wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TurnStats {
    /// Turns that did not come at once.
    pub waited: u64,
    /// Turns that had not come at the deadline.
    pub busy: u64,
    /// Turns whose lease was found lost.
    pub lost: u64,
    /// Turns that are waited for.
    pub waiting: u64,
}

#[derive(Debug, Default)]
struct Counters {
    waited: AtomicU64,
    busy: AtomicU64,
    lost: AtomicU64,
    waiting: AtomicU64,
    /// Those of the waiting that ask the store.
    asking: AtomicU64,
}

/// One request in a number, counted until dropped.
struct Counted<'a>(&'a AtomicU64);

impl Turns {
    /// Prepares turns under these settings; in memory alone without a connection.
    pub(super) fn new(connection: Option<StoreConnection>, settings: &settings::Idempotency) -> Self {
        Turns::under(Arc::default(), connection, settings)
    }

    /// The same turns under another configuration's store and settings.
    pub(super) fn carry(
        &self,
        connection: Option<StoreConnection>,
        settings: &settings::Idempotency,
    ) -> Self {
        Turns::under(Arc::clone(&self.shared), connection, settings)
    }

    fn under(
        shared: Arc<Shared>,
        connection: Option<StoreConnection>,
        settings: &settings::Idempotency,
    ) -> Self {
        let (lifetimes, releases) = (Lifetimes::from(settings), Arc::clone(&shared.releases));
        let leases = connection.map(|connection| Arc::new(Leases { connection, lifetimes, releases }));
        Turns { shared, leases, on_store_failure: settings.on_store_failure }
    }

    /// Waits, within `deadline`, until the turn of `conversation` has come.
    ///
    /// # Errors
    ///
    /// The turn did not come in time, the process shuts down, or the store failed.
    pub async fn take(
        &self,
        conversation: &str,
        kind: TurnKind,
        deadline: &Deadline,
    ) -> Result<Turn, TurnError> {
        let mut waits = None;
        let (place, left) = self.enter(conversation, kind, deadline, &mut waits).await?;
        let lease = match &self.leases {
            Some(leases) => {
                let lease = Lease::new(leases, conversation, kind);
                Some(self.lease(lease, left, kind, deadline, &mut waits).await?)
            }
            None => None,
        };
        Ok(self.turn(place, lease))
    }

    /// Waits like [`take`](Turns::take); while the store fails, only in this process where that is allowed: for a
    /// [`TurnKind::Plain`] update, and with `on_store_failure = "proceed"` for every one.
    ///
    /// # Errors
    ///
    /// The turn did not come in time, the process shuts down, or the store failed and no turn may be had without it.
    pub async fn take_if_possible(
        &self,
        conversation: &str,
        kind: TurnKind,
        deadline: &Deadline,
    ) -> Result<Turn, TurnError> {
        let may_proceed = kind == TurnKind::Plain || self.on_store_failure == OnStoreFailure::Proceed;
        match self.take(conversation, kind, deadline).await {
            Err(TurnError::Store(_)) if may_proceed => self.take_here(conversation, kind, deadline).await,
            taken => taken,
        }
    }

    /// Waits for the turn in this process only, without the store: other replicas are not kept out.
    ///
    /// # Errors
    ///
    /// The turn did not come in time, or the process shuts down.
    pub async fn take_here(
        &self,
        conversation: &str,
        kind: TurnKind,
        deadline: &Deadline,
    ) -> Result<Turn, TurnError> {
        let (place, _) = self.enter(conversation, kind, deadline, &mut None).await?;
        Ok(self.turn(place, None))
    }

    /// Counters since the start, and the number of those that wait.
    pub fn stats(&self) -> TurnStats {
        let Counters { waited, busy, lost, waiting, .. } = &*self.shared.counters;
        let [waited, busy, lost, waiting] = [waited, busy, lost, waiting].map(|count| count.load(Relaxed));
        TurnStats { waited, busy, lost, waiting }
    }

    /// Waits until no release is under way.
    pub(super) async fn idle(&self) {
        self.shared.releases.none().await;
    }

    fn turn(&self, place: Place<Lease>, lease: Option<Lease>) -> Turn {
        Turn { lease, lost: None, place, counters: Arc::clone(&self.shared.counters) }
    }

    /// Waits in the queue of this process. Gives the lease that the holder before left.
    async fn enter<'a>(
        &'a self,
        conversation: &str,
        kind: TurnKind,
        deadline: &Deadline,
        waits: &mut Option<Counted<'a>>,
    ) -> Result<(Place<Lease>, Option<Lease>), TurnError> {
        match Queues::enter(&self.shared.queues, conversation, kind) {
            Entered::Come(place) => Ok((place, None)),
            Entered::Waits(waiting) => {
                *waits = Some(self.shared.counters.wait());
                self.within(deadline, waiting.come()).await
            }
        }
    }

    /// Takes over the lease of the holder before, or asks the store until it has a new one.
    async fn lease<'a>(
        &'a self,
        mut lease: Lease,
        left: Option<Lease>,
        kind: TurnKind,
        deadline: &Deadline,
        waits: &mut Option<Counted<'a>>,
    ) -> Result<Lease, TurnError> {
        let mut before = left.filter(|left| left.precedes(&lease));
        if let Some(left) = before.take_if(|left| left.hand_over(kind, deadline.at())) {
            return Ok(left);
        }
        let (mut pause, mut asks) = (PAUSES.0, None);
        while !self.within(deadline, lease.ask(before.as_mut())).await?.map_err(TurnError::Store)? {
            before = None;
            let counters = &self.shared.counters;
            waits.get_or_insert_with(|| counters.wait());
            asks.get_or_insert_with(|| Counted::new(&counters.asking));
            // Jitter keeps replicas apart.
            let jittered = pause.mul_f64((1.0 + fastrand::f64()) / 2.0);
            self.within(deadline, tokio::time::sleep(jittered)).await?;
            pause = (pause * 2).min(longest_pause(counters.asking.load(Relaxed)));
        }
        Ok(lease)
    }

    async fn within<F: Future>(&self, deadline: &Deadline, work: F) -> Result<F::Output, TurnError> {
        deadline.within(work).await.map_err(|expired| match expired {
            Expired::Timeout => {
                self.shared.counters.busy.fetch_add(1, Relaxed);
                TurnError::Busy
            }
            Expired::Shutdown => TurnError::Shutdown,
        })
    }
}

impl Turn {
    /// Latest time at which the holder may still begin to send: the end of its lease less the time that a request may take
    /// to be on the wire. `None` in memory.
    pub fn valid_until(&self) -> Option<Instant> {
        self.lost.or_else(|| self.lease.as_ref()?.valid_until())
    }

    /// Asks the store whether the lease is still this holder's, and extends it. One round trip; in memory nothing is
    /// asked.
    ///
    /// # Errors
    ///
    /// The lease is lost, or the store failed.
    pub async fn confirm(&mut self) -> Result<(), TurnError> {
        let Some(lease) = &mut self.lease else { return Ok(()) };
        if self.lost.is_none() {
            if lease.confirm().await.map_err(TurnError::Store)? {
                return Ok(());
            }
            self.counters.lost.fetch_add(1, Relaxed);
            self.lost = Some(Instant::now());
        }
        Err(TurnError::Lost)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.place.left = self.lease.take();
    }
}

impl Counters {
    /// Counts a request that waits.
    fn wait(&self) -> Counted<'_> {
        self.waited.fetch_add(1, Relaxed);
        Counted::new(&self.waiting)
    }
}

impl<'a> Counted<'a> {
    fn new(number: &'a AtomicU64) -> Self {
        number.fetch_add(1, Relaxed);
        Counted(number)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Longest pause while so many requests of this process ask: together they ask no more often than a few.
fn longest_pause(asking: u64) -> Duration {
    let times = 1 + u32::try_from(asking).unwrap_or(u32::MAX) / CROWD;
    PAUSES.1.saturating_mul(times).min(CROWDED_PAUSE)
}

impl fmt::Display for TurnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TurnError::Busy => {
                f.write_str("Other updates of this conversation were first until the deadline")
            }
            TurnError::Shutdown => f.write_str("The process shuts down"),
            TurnError::Lost => f.write_str("The lease of this conversation's turn ended before it was used"),
            TurnError::Store(error) => error.fmt(f),
        }
    }
}
