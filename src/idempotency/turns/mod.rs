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
use super::running::{Running, Ticket};
use crate::settings::OnStoreFailure;
use crate::types::deadline::{Deadline, Expired};
use lease::{Lease, Leases};
use local::{Entered, Place, Queues};

/// Shortest and longest pause before the store is asked again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));
/// Longest pause while many requests of this process ask; shorter than a waiter's lifetime in the store.
const CROWDED_PAUSE: Duration = Duration::from_millis(400);
/// Pauses before a store that failed is asked again.
const STORE_PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(100)];
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
    /// Turns at work, and releases under way.
    busy: Arc<Running>,
}

/// Turn of one request. Dropping it hands the conversation to the next one.
#[derive(Debug)]
pub struct Turn {
    lease: Option<Lease>,
    /// Time at which the lease was found lost.
    lost: Option<Instant>,
    on_store_failure: OnStoreFailure,
    place: Place<Lease>,
    counters: Arc<Counters>,
    /// Dropped last, so that the release has begun by then.
    _ticket: Ticket,
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

/// State of a request that may have to wait.
struct Wait<'a, F> {
    counters: &'a Counters,
    /// Work to do before the wait, until it is done.
    notice: Option<F>,
    begun: Option<Counted<'a>>,
}

impl Turns {
    /// Prepares turns; in memory alone without a connection.
    pub(super) fn new(
        connection: Option<StoreConnection>,
        lifetimes: Lifetimes,
        on_store_failure: OnStoreFailure,
    ) -> Self {
        Turns::under(Arc::default(), connection, lifetimes, on_store_failure)
    }

    /// The same turns under another configuration's store and settings.
    pub(super) fn carry(
        &self,
        connection: Option<StoreConnection>,
        lifetimes: Lifetimes,
        on_store_failure: OnStoreFailure,
    ) -> Self {
        Turns::under(Arc::clone(&self.shared), connection, lifetimes, on_store_failure)
    }

    fn under(
        shared: Arc<Shared>,
        connection: Option<StoreConnection>,
        lifetimes: Lifetimes,
        on_store_failure: OnStoreFailure,
    ) -> Self {
        let releases = Arc::clone(&shared.busy);
        let leases = connection.map(|connection| Arc::new(Leases { connection, lifetimes, releases }));
        Turns { shared, leases, on_store_failure }
    }

    /// The turn of `conversation`, if it has come and no store has to be asked.
    pub fn take_at_once(&self, conversation: &str, kind: TurnKind) -> Option<Turn> {
        if self.leases.is_some() {
            return None;
        }
        match Queues::enter(&self.shared.queues, conversation, kind) {
            Entered::Come(place) => Some(self.turn(place, None)),
            Entered::Waits(_) => None,
        }
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
        let mut wait = Wait::new(&self.shared.counters, std::future::ready(()));
        self.take_telling(conversation, kind, deadline, &mut wait).await
    }

    /// Waits like [`take`](Turns::take). Awaits `on_wait` first if the turn does not come at once. If the store fails, asks
    /// it twice more: to a process that stood still, every answer seems late. While the store fails, waits only in this
    /// process where that is allowed: for an update that does not read first, and with `on_store_failure = "proceed"` for
    /// every one; other replicas are then not kept out.
    ///
    /// # Errors
    ///
    /// The turn did not come in time, the process shuts down, or the store failed and no turn may be had without it.
    pub async fn take_if_possible(
        &self,
        conversation: &str,
        (kind, reads_first): (TurnKind, bool),
        deadline: &Deadline,
        on_wait: impl Future<Output = ()> + Send,
    ) -> Result<Turn, TurnError> {
        let mut wait = Wait::new(&self.shared.counters, on_wait);
        let may_proceed = !reads_first || self.on_store_failure == OnStoreFailure::Proceed;
        for pause in STORE_PAUSES {
            match self.take_telling(conversation, kind, deadline, &mut wait).await {
                Err(TurnError::Store(_)) => self.within(deadline, tokio::time::sleep(pause)).await?,
                taken => return taken,
            }
        }
        match self.take_telling(conversation, kind, deadline, &mut wait).await {
            Err(TurnError::Store(_)) if may_proceed => {
                let (place, _) = self.enter(conversation, kind, deadline, &mut wait).await?;
                Ok(self.turn(place, None))
            }
            taken => taken,
        }
    }

    async fn take_telling<F: Future<Output = ()> + Send>(
        &self,
        conversation: &str,
        kind: TurnKind,
        deadline: &Deadline,
        wait: &mut Wait<'_, F>,
    ) -> Result<Turn, TurnError> {
        let (place, left) = self.enter(conversation, kind, deadline, wait).await?;
        let lease = match &self.leases {
            Some(leases) => {
                let lease = Lease::new(leases, conversation, kind);
                Some(self.lease(lease, left, kind, deadline, wait).await?)
            }
            None => None,
        };
        Ok(self.turn(place, lease))
    }

    /// Counters since the start, and the number of those that wait.
    pub fn stats(&self) -> TurnStats {
        let Counters { waited, busy, lost, waiting, .. } = &*self.shared.counters;
        let [waited, busy, lost, waiting] = [waited, busy, lost, waiting].map(|count| count.load(Relaxed));
        TurnStats { waited, busy, lost, waiting }
    }

    /// Waits until no turn is at work and no release under way. The update of a caller that hung up may be at work.
    pub(super) async fn idle(&self) {
        self.shared.busy.none().await;
    }

    fn turn(&self, place: Place<Lease>, lease: Option<Lease>) -> Turn {
        let ticket = Running::enter(&self.shared.busy);
        let (on_store_failure, counters) = (self.on_store_failure, Arc::clone(&self.shared.counters));
        Turn { lease, lost: None, on_store_failure, place, counters, _ticket: ticket }
    }

    /// Waits in the queue of this process. Gives the lease that the holder before left.
    async fn enter<F: Future<Output = ()> + Send>(
        &self,
        conversation: &str,
        kind: TurnKind,
        deadline: &Deadline,
        wait: &mut Wait<'_, F>,
    ) -> Result<(Place<Lease>, Option<Lease>), TurnError> {
        match Queues::enter(&self.shared.queues, conversation, kind) {
            Entered::Come(place) => Ok((place, None)),
            Entered::Waits(waiting) => {
                wait.begin().await;
                self.within(deadline, waiting.come()).await
            }
        }
    }

    /// Takes over the lease of the holder before, or asks the store until it has a new one.
    async fn lease<F: Future<Output = ()> + Send>(
        &self,
        mut lease: Lease,
        left: Option<Lease>,
        kind: TurnKind,
        deadline: &Deadline,
        wait: &mut Wait<'_, F>,
    ) -> Result<Lease, TurnError> {
        let mut before = left.filter(|left| left.precedes(&lease));
        if let Some(left) = before.take_if(|left| left.hand_over(kind, deadline.at())) {
            return Ok(left);
        }
        let (mut pause, mut asks) = (PAUSES.0, None);
        while !self.within(deadline, lease.ask(before.as_mut())).await?.map_err(TurnError::Store)? {
            before = None;
            let counters = &self.shared.counters;
            wait.begin().await;
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
    /// asked. Where an update may proceed while the store fails, the lease then counts until its end, not extended.
    ///
    /// # Errors
    ///
    /// The lease is lost, or the store failed.
    pub async fn confirm(&mut self) -> Result<(), TurnError> {
        let Some(lease) = &mut self.lease else { return Ok(()) };
        if self.lost.is_none() {
            match lease.confirm().await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(_) if self.on_store_failure == OnStoreFailure::Proceed => return Ok(()),
                Err(error) => return Err(TurnError::Store(error)),
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

impl<'a, F: Future<Output = ()> + Send> Wait<'a, F> {
    fn new(counters: &'a Counters, notice: F) -> Self {
        Wait { counters, notice: Some(notice), begun: None }
    }

    /// Counts the request as waiting, and gives its notice; once.
    async fn begin(&mut self) {
        if self.begun.is_none() {
            self.counters.waited.fetch_add(1, Relaxed);
            self.begun = Some(Counted::new(&self.counters.waiting));
        }
        if let Some(notice) = self.notice.take() {
            notice.await;
        }
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
