//! Limit of requests in flight over all connections. A request above it is refused at once: a queue would answer
//! callers that have hung up.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use arc_swap::ArcSwap;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::context::{Rejection, RequestContext};
use crate::gateway::snapshot::Snapshot;
use crate::types::code::Code;
use crate::types::problem::Problem;

/// Puts [`Limit`] around a service. Clones share the count.
#[derive(Debug, Clone)]
pub(super) struct LimitLayer {
    current: Arc<ArcSwap<Snapshot>>,
    in_flight: Arc<InFlight>,
}

/// Counters of the limit.
#[derive(Debug, Default)]
pub struct InFlight {
    running: AtomicUsize,
    shed: AtomicU64,
}

impl InFlight {
    /// Requests in flight.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Requests refused because too many were in flight.
    pub fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }
}

impl LimitLayer {
    /// Creates the layer; each request meets the limit of the configuration that is current when it comes.
    pub(super) fn new(current: Arc<ArcSwap<Snapshot>>, in_flight: Arc<InFlight>) -> Self {
        LimitLayer { current, in_flight }
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limit<S>;

    fn layer(&self, inner: S) -> Limit<S> {
        Limit { inner, current: Arc::clone(&self.current), in_flight: Arc::clone(&self.in_flight) }
    }
}

/// Passes requests on up to the limit.
#[derive(Debug, Clone)]
pub(super) struct Limit<S> {
    inner: S,
    current: Arc<ArcSwap<Snapshot>>,
    in_flight: Arc<InFlight>,
}

impl<S, R> Service<R> for Limit<S>
where
    S: Service<R, Error = Rejection>,
{
    type Response = S::Response;
    type Error = Rejection;
    type Future = Limited<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let permit = InFlightPermit::take(&self.in_flight, self.current.load().settings.server.max_in_flight);
        let inner = permit.as_ref().map(|_| self.inner.call(request));
        Limited { inner, _permit: permit }
    }
}

/// One request in flight, until it is dropped.
#[derive(Debug)]
struct InFlightPermit(Arc<InFlight>);

impl InFlightPermit {
    fn take(in_flight: &Arc<InFlight>, limit: usize) -> Option<Self> {
        let one_more = |running| (running < limit).then_some(running + 1);
        if in_flight.running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            in_flight.shed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(InFlightPermit(Arc::clone(in_flight)))
    }
}

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

pin_project! {
    /// Future of the response; without `inner` the request was refused.
    #[derive(Debug)]
    pub(super) struct Limited<F> {
        #[pin]
        inner: Option<F>,
        _permit: Option<InFlightPermit>,
    }
}

impl<F, T> Future for Limited<F>
where
    F: Future<Output = Result<T, Rejection>>,
{
    type Output = Result<T, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(inner) = self.project().inner.as_pin_mut() {
            return Poll::Ready(ready!(inner.poll(cx)));
        }
        let problem = Problem::new(Code::Overloaded, "The gateway has as many requests in flight as it may.")
            .retry_after(1);
        Poll::Ready(Err(Rejection { problem, context: RequestContext::default() }))
    }
}
