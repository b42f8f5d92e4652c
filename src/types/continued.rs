//! Work that goes on when the request that waits for it is dropped.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// Future whose work ends even if the future is dropped: a task takes over the rest.
///
/// ```
/// use std::time::Duration;
///
/// use parlance::types::continued::Continued;
/// use tokio::sync::oneshot;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (answer, answered) = oneshot::channel();
/// let (done, seen) = oneshot::channel();
/// let work = Continued::new(async { done.send(answered.await) });
/// assert!(tokio::time::timeout(Duration::from_millis(1), work).await.is_err());
/// // The work was dropped before its answer came, and yet it ends.
/// answer.send("an answer").unwrap();
/// assert_eq!(seen.await, Ok(Ok("an answer")));
/// # }
/// ```
pub struct Continued<T: Send + 'static>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T: Send + 'static> Continued<T> {
    /// Prepares `work`, which the first poll begins.
    pub fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Continued(Some(Box::pin(work)))
    }
}

impl<T: Send + 'static> Future for Continued<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.0 else { return Poll::Pending };
        let polled = work.as_mut().poll(cx);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Continued<T> {
    fn drop(&mut self) {
        // Without a runtime the process ends.
        if let Some(work) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(work);
        }
    }
}

impl<T: Send + 'static> fmt::Debug for Continued<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Continued").field(&self.0.is_some()).finish()
    }
}
