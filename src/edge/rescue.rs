//! Only place where a rejection or a panic becomes a response.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::context::{ContextResponse, IdentifiedRequest, Rejection, RequestContext};
use crate::types::problem::Problem;
use crate::types::request_id::RequestId;

/// Puts [`Rescue`] around a service.
#[derive(Debug, Clone, Copy)]
pub(super) struct RescueLayer;

impl<S> Layer<S> for RescueLayer {
    type Service = Rescue<S>;

    fn layer(&self, inner: S) -> Rescue<S> {
        Rescue { inner }
    }
}

/// Turns errors and panics of the inner service into responses.
#[derive(Debug, Clone)]
pub(super) struct Rescue<S> {
    inner: S,
}

impl<S, B> Service<IdentifiedRequest<B>> for Rescue<S>
where
    S: Service<IdentifiedRequest<B>, Response = ContextResponse, Error = Rejection>,
{
    type Response = ContextResponse;
    type Error = Infallible;
    type Future = Rescuing<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The limit below is always ready; its `call` would repeat an error of this.
        self.inner.poll_ready(cx).map(|_| Ok(()))
    }

    fn call(&mut self, request: IdentifiedRequest<B>) -> Self::Future {
        let id = request.id.clone();
        Rescuing { inner: self.inner.call(request), id }
    }
}

pin_project! {
    /// Future of a response.
    #[derive(Debug)]
    pub(super) struct Rescuing<F> {
        #[pin]
        inner: F,
        id: RequestId,
    }
}

impl<F> Future for Rescuing<F>
where
    F: Future<Output = Result<ContextResponse, Rejection>>,
{
    type Output = Result<ContextResponse, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let inner = this.inner;
        let polled = catch_unwind(AssertUnwindSafe(|| inner.poll(cx)));
        let rejection = match polled {
            Ok(polled) => match ready!(polled) {
                Ok(response) => return Poll::Ready(Ok(response)),
                Err(rejection) => rejection,
            },
            Err(_) => Rejection { problem: Problem::defect(), context: RequestContext::default() },
        };
        let Rejection { problem, mut context } = rejection;
        context.code = Some(problem.code);
        context.applied = Some(problem.applied);
        context.answered_by = problem.answered_by;
        Poll::Ready(Ok(ContextResponse { response: problem.into_response(this.id.as_str()), context }))
    }
}
