//! When work for a caller must end: at a moment of its own, or earlier where the process itself is to end.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// The one moment from which nothing is waited for any more. A clone is the same moment.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(Arc<watch::Sender<bool>>);

impl Shutdown {
    /// From now on. Whoever waits is woken.
    pub fn cut(&self) {
        self.0.send_replace(true);
    }

    /// Whether it has come.
    pub fn is_past(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for it.
    pub async fn come(&self) {
        // The sender is `self`: it cannot be gone.
        let _ = self.0.subscribe().wait_for(|past| *past).await;
    }
}

/// Why there is no more time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The deadline passed.
    Passed,
    /// The process ends.
    Shutdown,
}

/// When to give up.
#[derive(Debug, Clone)]
pub struct Deadline {
    at: Instant,
    cutoff: Shutdown,
}

/// One that no cutoff brings forward.
impl From<Instant> for Deadline {
    fn from(at: Instant) -> Self {
        Deadline { at, cutoff: Shutdown::default() }
    }
}

impl Deadline {
    /// So long from now, or at the cutoff where that is earlier.
    pub fn after(timeout: Duration, cutoff: &Shutdown) -> Self {
        Deadline { at: Instant::now() + timeout, cutoff: cutoff.clone() }
    }

    /// The latest moment.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// Whether there is no more time, and why.
    pub fn over(&self) -> Option<Over> {
        if self.cutoff.is_past() {
            Some(Over::Shutdown)
        } else if tokio::time::Instant::now() >= self.at.into() {
            Some(Over::Passed)
        } else {
            None
        }
    }

    /// Does `work` while there is time. What is ready at once is always given, and costs no timer.
    pub async fn within<F: Future>(&self, work: F) -> Result<F::Output, Over> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            over = self.end() => Err(over),
        }
    }

    async fn end(&self) -> Over {
        match tokio::time::timeout_at(self.at.into(), self.cutoff.come()).await {
            Ok(()) => Over::Shutdown,
            Err(_) => Over::Passed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_ends_at_its_time_or_at_the_cutoff() {
        let cutoff = Shutdown::default();
        let begun = tokio::time::Instant::now();
        let deadline = Deadline { at: (begun + SECOND).into_std(), cutoff: cutoff.clone() };
        assert_eq!((deadline.within(async { 1 }).await, deadline.over()), (Ok(1), None));
        assert_eq!(deadline.within(std::future::pending::<()>()).await, Err(Over::Passed));
        assert_eq!((begun.elapsed(), deadline.over()), (SECOND, Some(Over::Passed)));
        assert_eq!(deadline.within(async { 2 }).await, Ok(2), "what is there is taken");

        let deadline = Deadline { at: (begun + 60 * SECOND).into_std(), cutoff: cutoff.clone() };
        let waiting = tokio::spawn({
            let deadline = deadline.clone();
            async move { deadline.within(std::future::pending::<()>()).await }
        });
        tokio::time::sleep(SECOND).await;
        assert!(!waiting.is_finished() && deadline.over().is_none());
        cutoff.cut();
        assert_eq!(waiting.await.unwrap(), Err(Over::Shutdown));
        assert_eq!((begun.elapsed(), deadline.over()), (2 * SECOND, Some(Over::Shutdown)));
        assert_eq!(deadline.within(std::future::pending::<()>()).await, Err(Over::Shutdown));
    }
}
