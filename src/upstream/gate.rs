//! The answer of a middleware that either lets an exchange through or refuses it at once; no box, no allocation.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::transport::{Reply, TransportError};

pin_project! {
    /// A refusal, or the answer of what is inside.
    #[project = GatedProjection]
    #[derive(Debug)]
    pub(super) enum Gated<F> {
        Refused { trouble: Option<TransportError> },
        Passed { #[pin] inner: F },
    }
}

impl<F> Gated<F> {
    pub(super) fn refused(trouble: TransportError) -> Self {
        Gated::Refused { trouble: Some(trouble) }
    }
}

impl<F: Future<Output = Result<Reply, TransportError>>> Future for Gated<F> {
    type Output = Result<Reply, TransportError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            GatedProjection::Passed { inner } => inner.poll(cx),
            // Taken once: a future that is done is not polled again.
            GatedProjection::Refused { trouble } => {
                trouble.take().map_or(Poll::Pending, |trouble| Poll::Ready(Err(trouble)))
            }
        }
    }
}
