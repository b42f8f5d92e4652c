//! Outermost layer: gives a request its id and its clock, and a response its id, times, log line and place in the metrics.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Method, Response};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::context::{ContextResponse, IdentifiedRequest, RequestContext};
use super::resource::Resource;
use crate::gateway::routing::SelectedBy;
use crate::server::IncomingRequest;
use crate::telemetry::access::{Access, AccessLog};
use crate::telemetry::labels::RequestLabels;
use crate::telemetry::traffic::{Answers, CALLER_GONE_STATUS, Traffic};
use crate::types::body::Body;
use crate::types::request_id::{RequestId, X_REQUEST_ID};

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Puts [`Observe`] around a service.
#[derive(Debug, Clone)]
pub(super) struct ObserveLayer {
    recorder: Arc<Recorder>,
}

/// Destination of what is observed.
#[derive(Debug)]
struct Recorder {
    log: AccessLog,
    /// Responses to requests without an upstream; an upstream counts its own.
    answers: Arc<Answers>,
}

impl Recorder {
    fn record(&self, head: &Head, status: u16, took: Duration, context: &RequestContext) {
        let traffic = context.traffic.as_deref();
        let answers = traffic.map_or(&*self.answers, |traffic| &traffic.answers);
        let labels = RequestLabels::new(&head.method, head.resource.template());
        answers.observe(labels, status, context.answered_by, context.code, took);
        self.log.write(&Access {
            id: head.id.as_str(),
            method: &head.method,
            status,
            took,
            waited: context.waited,
            answered_by: context.answered_by,
            vendor: traffic.map(Traffic::vendor),
            upstream: traffic.map(|traffic| &**traffic.upstream()),
            route: context.route.map(SelectedBy::text).as_deref(),
            caller: context.caller.as_deref(),
            code: context.code,
            applied: context.applied,
        });
    }
}

/// Parts of a request that are recorded with its response.
#[derive(Debug)]
struct Head {
    started: Instant,
    id: RequestId,
    method: Method,
    resource: Resource,
}

impl ObserveLayer {
    /// Creates the layer; `answers` counts the responses to requests without an upstream.
    pub(super) fn new(log: AccessLog, answers: Arc<Answers>) -> Self {
        ObserveLayer { recorder: Arc::new(Recorder { log, answers }) }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, recorder: Arc::clone(&self.recorder) }
    }
}

/// Sees every request first and every response last.
#[derive(Debug, Clone)]
pub(super) struct Observe<S> {
    inner: S,
    recorder: Arc<Recorder>,
}

impl<S> Service<IncomingRequest> for Observe<S>
where
    S: Service<IdentifiedRequest<Incoming>, Response = ContextResponse, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Observing<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, IncomingRequest { request, client }: IncomingRequest) -> Self::Future {
        let head = Head {
            started: Instant::now(),
            id: RequestId::of(request.headers()),
            method: request.method().clone(),
            resource: Resource::of(request.uri().path()),
        };
        let recorder = Arc::clone(&self.recorder);
        let identified = IdentifiedRequest { request, id: head.id.clone(), resource: head.resource, client };
        let inner = self.inner.call(identified);
        Observing { inner, recorder, head, done: false }
    }
}

pin_project! {
    /// Future of a response.
    #[derive(Debug)]
    pub(super) struct Observing<F> {
        #[pin]
        inner: F,
        recorder: Arc<Recorder>,
        head: Head,
        done: bool,
    }

    impl<F> PinnedDrop for Observing<F> {
        fn drop(this: Pin<&mut Self>) {
            // A caller that hangs up ends its request before the response: that is a line in the log too.
            let this = this.project();
            if !*this.done {
                let took = this.head.started.elapsed();
                this.recorder.record(this.head, CALLER_GONE_STATUS, took, &RequestContext::default());
            }
        }
    }
}

impl<F> Future for Observing<F>
where
    F: Future<Output = Result<ContextResponse, Infallible>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(ContextResponse { mut response, context }) = ready!(this.inner.poll(cx));
        *this.done = true;
        let took = this.head.started.elapsed();
        let status = response.status().as_u16();
        let headers = response.headers_mut();
        headers.insert(X_REQUEST_ID, this.head.id.header());
        headers.insert(SERVER_TIMING, server_timing(took, context.waited));
        this.recorder.record(this.head, status, took, &context);
        Poll::Ready(Ok(response))
    }
}

/// Formats `upstream;dur=12.345, gateway;dur=0.123`, in milliseconds.
fn server_timing(took: Duration, waited: Duration) -> HeaderValue {
    let own = took.saturating_sub(waited);
    let (waited, own) = (waited.as_micros(), own.as_micros());
    let mut value = String::with_capacity(64);
    // Writing to a string cannot fail.
    let _ = write!(
        value,
        "upstream;dur={}.{:03}, gateway;dur={}.{:03}",
        waited / 1000,
        waited % 1000,
        own / 1000,
        own % 1000
    );
    HeaderValue::from_maybe_shared(bytes::Bytes::from(value)).unwrap_or_else(|_| HeaderValue::from_static(""))
}
