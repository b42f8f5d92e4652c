//! Deadlines of requests; the shutdown of the process brings them forward.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Shutdown signal of the process. Once triggered, every [`Deadline`] has expired. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(Arc<watch::Sender<bool>>);

impl Shutdown {
    /// Triggers the signal and wakes all tasks that wait for it.
    pub fn trigger(&self) {
        self.0.send_replace(true);
    }

    fn is_triggered(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for the signal.
    async fn triggered(&self) {
        // The channel stays open, because `self` holds its sender.
        let _ = self.0.subscribe().wait_for(|triggered| *triggered).await;
    }
}

/// Reason that a deadline has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// Its time has passed.
    Timeout,
    /// The process shuts down.
    Shutdown,
}

/// Time limit of a request, shortened by [`Shutdown`].
///
/// ```
/// use std::future::pending;
/// use std::time::Duration;
///
/// use parlance::types::deadline::{Deadline, Expired, Shutdown};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let shutdown = Shutdown::default();
/// let deadline = Deadline::after(Duration::from_secs(60), &shutdown);
/// assert_eq!(deadline.within(async { "reply" }).await, Ok("reply"));
///
/// shutdown.trigger();
/// assert_eq!(deadline.expired(), Some(Expired::Shutdown));
/// assert_eq!(deadline.within(pending::<()>()).await, Err(Expired::Shutdown));
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Deadline {
    at: Instant,
    shutdown: Shutdown,
}

/// Creates a deadline that shutdown does not shorten.
impl From<Instant> for Deadline {
    fn from(at: Instant) -> Self {
        Deadline { at, shutdown: Shutdown::default() }
    }
}

impl Deadline {
    /// Creates a deadline `timeout` from now.
    pub fn after(timeout: Duration, shutdown: &Shutdown) -> Self {
        Deadline { at: Instant::now() + timeout, shutdown: shutdown.clone() }
    }

    /// The same deadline, at `latest` at the latest.
    #[must_use]
    pub fn no_later_than(self, latest: Instant) -> Self {
        Deadline { at: self.at.min(latest), ..self }
    }

    /// Latest time, without regard to shutdown.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// Reason of expiry; `None` before it.
    pub fn expired(&self) -> Option<Expired> {
        if self.shutdown.is_triggered() {
            Some(Expired::Shutdown)
        } else if tokio::time::Instant::now() >= self.at.into() {
            Some(Expired::Timeout)
        } else {
            None
        }
    }

    /// Runs `work` until the deadline. A future that is ready on the first poll succeeds even after expiry, and starts no
    /// timer.
    ///
    /// # Errors
    ///
    /// The deadline expired before `work` was ready.
    pub async fn within<F: Future>(&self, work: F) -> Result<F::Output, Expired> {
        tokio::select! {
            biased;
            output = work => Ok(output),
            expired = self.expiry() => Err(expired),
        }
    }

    async fn expiry(&self) -> Expired {
        match tokio::time::timeout_at(self.at.into(), self.shutdown.triggered()).await {
            Ok(()) => Expired::Shutdown,
            Err(_) => Expired::Timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_deadline_expires_at_its_time_or_at_shutdown() {
        let shutdown = Shutdown::default();
        let started = tokio::time::Instant::now();
        let deadline = Deadline { at: (started + SECOND).into_std(), shutdown: shutdown.clone() };
        assert_eq!((deadline.within(async { 1 }).await, deadline.expired()), (Ok(1), None));
        assert_eq!(deadline.within(std::future::pending::<()>()).await, Err(Expired::Timeout));
        assert_eq!((started.elapsed(), deadline.expired()), (SECOND, Some(Expired::Timeout)));
        assert_eq!(deadline.within(async { 2 }).await, Ok(2), "a future that is ready succeeds after expiry");

        let deadline = Deadline { at: (started + 60 * SECOND).into_std(), shutdown: shutdown.clone() };
        let waiting = tokio::spawn({
            let deadline = deadline.clone();
            async move { deadline.within(std::future::pending::<()>()).await }
        });
        tokio::time::sleep(SECOND).await;
        assert!(!waiting.is_finished() && deadline.expired().is_none());
        shutdown.trigger();
        assert_eq!(waiting.await.unwrap(), Err(Expired::Shutdown));
        assert_eq!((started.elapsed(), deadline.expired()), (2 * SECOND, Some(Expired::Shutdown)));
        assert_eq!(deadline.within(std::future::pending::<()>()).await, Err(Expired::Shutdown));
    }
}
