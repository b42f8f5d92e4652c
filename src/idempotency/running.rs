//! Count of work that runs. It outlives a caller that hangs up, and shutdown waits for it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed};

use tokio::sync::Notify;

/// Number of keyed updates, or of turns, that run.
#[derive(Debug, Default)]
pub(super) struct Running {
    count: AtomicUsize,
    /// Notified when none runs any more.
    none: Notify,
}

/// One of them, counted until dropped.
#[derive(Debug)]
pub(super) struct Ticket(Arc<Running>);

impl Running {
    pub(super) fn enter(running: &Arc<Self>) -> Ticket {
        running.count.fetch_add(1, Relaxed);
        Ticket(Arc::clone(running))
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Acquire)
    }

    /// Waits until none runs.
    pub(super) async fn none(&self) {
        loop {
            let mut none = pin!(self.none.notified());
            // From here on no notification is missed.
            none.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            none.await;
        }
    }
}

impl Clone for Ticket {
    fn clone(&self) -> Self {
        Running::enter(&self.0)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, AcqRel) == 1 {
            self.0.none.notify_waiters();
        }
    }
}
