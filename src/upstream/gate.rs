//! Future of a middleware that either passes a request on or refuses it at once, without an allocation.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::transport::{Reply, TransportError};

pin_project! {
    /// A refusal, or the future of the inner service.
    #[project = GatedProjection]
    #[derive(Debug)]
    pub(super) enum Gated<F> {
        Refused { error: Option<TransportError> },
        Passed { #[pin] inner: F },
    }
}

impl<F> Gated<F> {
    pub(super) fn refused(error: TransportError) -> Self {
        Gated::Refused { error: Some(error) }
    }
}

impl<F: Future<Output = Result<Reply, TransportError>>> Future for Gated<F> {
    type Output = Result<Reply, TransportError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            GatedProjection::Passed { inner } => inner.poll(cx),
            // A future that is ready is not polled again.
            GatedProjection::Refused { error } => {
                error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error)))
            }
        }
    }
}
