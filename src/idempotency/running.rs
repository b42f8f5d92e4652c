//! Count of work that runs. It outlives a caller that hangs up, and shutdown waits for it.

use std::sync::Arc;

use tokio::sync::watch;

/// Number of keyed updates, or of turns, that run.
#[derive(Debug)]
pub(super) struct Running(watch::Sender<usize>);

impl Default for Running {
    fn default() -> Self {
        Running(watch::Sender::new(0))
    }
}

/// One of them, counted until dropped.
#[derive(Debug)]
pub(super) struct Ticket(Arc<Running>);

impl Running {
    pub(super) fn enter(running: &Arc<Self>) -> Ticket {
        running.0.send_modify(|count| *count += 1);
        Ticket(Arc::clone(running))
    }

    pub(super) fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until none runs.
    pub(super) async fn none(&self) {
        // The channel stays open, because `self` holds its sender.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Clone for Ticket {
    fn clone(&self) -> Self {
        Running::enter(&self.0)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}
