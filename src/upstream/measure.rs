//! Middleware that counts and times each attempt at a vendor.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http::{Method, StatusCode};
use pin_project_lite::pin_project;
use tower::Service;

use super::transport::{Reply, TransportError, UpstreamRequest};
use crate::telemetry::traffic::Traffic;

/// Error type of an attempt that was cancelled.
const CANCELLED: &str = "cancelled";

/// Counts and times every request of the inner service.
#[derive(Debug)]
pub(super) struct Measured<S> {
    pub(super) inner: S,
    pub(super) traffic: Arc<Traffic>,
}

impl<'a, S> Service<UpstreamRequest> for &'a Measured<S>
where
    &'a S: Service<UpstreamRequest, Response = Reply, Error = TransportError>,
{
    type Response = Reply;
    type Error = TransportError;
    type Future = Measuring<'a, <&'a S as Service<UpstreamRequest>>::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        (&self.inner).poll_ready(cx)
    }

    fn call(&mut self, exchange: UpstreamRequest) -> Self::Future {
        let method = exchange.request.method().clone();
        let started = Instant::now();
        let inner = (&self.inner).call(exchange);
        Measuring { inner, traffic: &self.traffic, started, method, done: false }
    }
}

pin_project! {
    /// A request in progress. Dropped before its end it counts as cancelled.
    #[derive(Debug)]
    pub(super) struct Measuring<'a, F> {
        #[pin]
        inner: F,
        traffic: &'a Traffic,
        started: Instant,
        method: Method,
        done: bool,
    }

    impl<F> PinnedDrop for Measuring<'_, F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if !*this.done {
                this.traffic.sent(this.method, None, Some(CANCELLED), this.started.elapsed());
            }
        }
    }
}

impl<F: Future<Output = Result<Reply, TransportError>>> Future for Measuring<'_, F> {
    type Output = Result<Reply, TransportError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        *this.done = true;
        let (status, error) = match &result {
            Ok(reply) => (Some(reply.status()), None),
            Err(error) => {
                let status = error.status.and_then(|status| StatusCode::from_u16(status).ok());
                (status, Some(error.proxy_error.as_str()))
            }
        };
        this.traffic.sent(this.method, status, error, this.started.elapsed());
        Poll::Ready(result)
    }
}
