//! The one place where an error or a panic becomes a response.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::api::Refused;
use crate::facts::{Facts, Identified, RequestId, Told};
use crate::problem::{Code, Problem};

/// Puts [`Rescue`] around a service.
#[derive(Debug, Clone, Copy)]
pub struct RescueLayer;

impl<S> Layer<S> for RescueLayer {
    type Service = Rescue<S>;

    fn layer(&self, inner: S) -> Rescue<S> {
        Rescue { inner }
    }
}

/// Answers where the service inside fails.
#[derive(Debug, Clone)]
pub struct Rescue<S> {
    inner: S,
}

impl<S, B> Service<Identified<B>> for Rescue<S>
where
    S: Service<Identified<B>, Response = Told, Error = Refused>,
{
    type Response = Told;
    type Error = Infallible;
    type Future = Rescuing<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The limit below is always ready; an error here would be said by `call` again.
        self.inner.poll_ready(cx).map(|_| Ok(()))
    }

    fn call(&mut self, request: Identified<B>) -> Self::Future {
        let id = request.id.clone();
        Rescuing { inner: self.inner.call(request), id }
    }
}

pin_project! {
    /// The answer on its way.
    #[derive(Debug)]
    pub struct Rescuing<F> {
        #[pin]
        inner: F,
        id: RequestId,
    }
}

impl<F> Future for Rescuing<F>
where
    F: Future<Output = Result<Told, Refused>>,
{
    type Output = Result<Told, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let inner = this.inner;
        let polled = catch_unwind(AssertUnwindSafe(|| inner.poll(cx)));
        let refused = match polled {
            Ok(polled) => match ready!(polled) {
                Ok(told) => return Poll::Ready(Ok(told)),
                Err(refused) => refused,
            },
            Err(_) => Refused {
                problem: Problem::new(
                    Code::Internal,
                    "A defect of the gateway; its log says more under this request id.",
                ),
                facts: Facts::default(),
            },
        };
        let Refused { problem, mut facts } = refused;
        facts.code = Some(problem.code);
        facts.applied = Some(problem.applied);
        facts.origin = problem.origin;
        Poll::Ready(Ok(Told { response: problem.into_response(this.id.as_str()), facts }))
    }
}
