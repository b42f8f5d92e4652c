//! The one place where an error or a panic becomes a response.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::api::Refused;
use crate::body::Body;
use crate::facts::{Facts, RequestId};
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

impl<S, B> Service<Request<B>> for Rescue<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Refused>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Rescuing<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The limit below is always ready; an error here would be said by `call` again.
        self.inner.poll_ready(cx).map(|_| Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let id =
            request.extensions().get::<RequestId>().map_or_else(|| Arc::from("none"), |id| Arc::clone(&id.0));
        Rescuing { inner: self.inner.call(request), id }
    }
}

pin_project! {
    /// The answer on its way.
    #[derive(Debug)]
    pub struct Rescuing<F> {
        #[pin]
        inner: F,
        id: Arc<str>,
    }
}

impl<F> Future for Rescuing<F>
where
    F: Future<Output = Result<Response<Body>, Refused>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let inner = this.inner;
        let polled = catch_unwind(AssertUnwindSafe(|| inner.poll(cx)));
        let refused = match polled {
            Ok(polled) => match ready!(polled) {
                Ok(response) => return Poll::Ready(Ok(response)),
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
        let mut response = problem.into_response(this.id);
        response.extensions_mut().insert(facts);
        Poll::Ready(Ok(response))
    }
}
