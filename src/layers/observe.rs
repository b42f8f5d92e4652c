//! The outermost layer: a request gets its id and its clock, an answer its id, its times, its log line and its place in the
//! metrics.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Method, Request, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::body::Body;
use crate::facts::{Facts, Identified, RequestId, Told};
use crate::metrics::{Answers, Asked};
use crate::telemetry::{Access, AccessLog};
use crate::wishes::X_REQUEST_ID;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Puts [`Observe`] around a service.
#[derive(Debug, Clone)]
pub struct ObserveLayer {
    book: Arc<Book>,
}

/// Where answers are written down.
#[derive(Debug)]
struct Book {
    log: AccessLog,
    /// Those to requests for which no upstream was chosen; an upstream counts its own.
    answers: Arc<Answers>,
}

impl Book {
    fn note(&self, asked: Asked, access: &Access<'_>) {
        let answers = access.facts.traffic.as_ref().map_or(&*self.answers, |traffic| &traffic.answers);
        answers.observe(asked, access.status, access.facts, access.took);
        self.log.write(access);
    }
}

impl ObserveLayer {
    /// With this log; `answers` counts what no upstream does.
    pub fn new(log: AccessLog, answers: Arc<Answers>) -> Self {
        ObserveLayer { book: Arc::new(Book { log, answers }) }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, book: Arc::clone(&self.book) }
    }
}

/// Sees every request first and every answer last.
#[derive(Debug, Clone)]
pub struct Observe<S> {
    inner: S,
    book: Arc<Book>,
}

impl<S, B> Service<Request<B>> for Observe<S>
where
    S: Service<Identified<B>, Response = Told, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Observing<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let started = Instant::now();
        let id = RequestId::of(request.headers());
        let method = request.method().clone();
        let asked = Asked::new(&method, request.uri().path());
        let book = Arc::clone(&self.book);
        let inner = self.inner.call(Identified { request, id: id.clone() });
        Observing { inner, book, started, id, method, asked, done: false }
    }
}

pin_project! {
    /// The answer on its way.
    #[derive(Debug)]
    pub struct Observing<F> {
        #[pin]
        inner: F,
        book: Arc<Book>,
        started: Instant,
        id: RequestId,
        method: Method,
        asked: Asked,
        done: bool,
    }

    impl<F> PinnedDrop for Observing<F> {
        fn drop(this: Pin<&mut Self>) {
            // A caller that hangs up ends its request in the middle: that is a line in the log too.
            let this = this.project();
            if !*this.done {
                let (id, took) = (this.id.as_str(), this.started.elapsed());
                let facts = &Facts::default();
                this.book.note(*this.asked, &Access { id, method: this.method, status: 499, took, facts });
            }
        }
    }
}

impl<F> Future for Observing<F>
where
    F: Future<Output = Result<Told, Infallible>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(Told { mut response, facts }) = ready!(this.inner.poll(cx));
        *this.done = true;
        let took = this.started.elapsed();
        let status = response.status().as_u16();
        let headers = response.headers_mut();
        headers.insert(X_REQUEST_ID, this.id.header());
        headers.insert(SERVER_TIMING, server_timing(took, facts.waited));
        let id = this.id.as_str();
        this.book.note(*this.asked, &Access { id, method: this.method, status, took, facts: &facts });
        Poll::Ready(Ok(response))
    }
}

/// `upstream;dur=12.345, gateway;dur=0.123`, in milliseconds.
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
