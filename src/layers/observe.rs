//! The outermost layer: a request gets its id and its clock, an answer its id, its times and its log line.

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
use uuid::Uuid;

use crate::body::Body;
use crate::facts::{Facts, RequestId};
use crate::telemetry::{Access, AccessLog};
use crate::wishes;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Puts [`Observe`] around a service.
#[derive(Debug, Clone)]
pub struct ObserveLayer {
    log: AccessLog,
}

impl ObserveLayer {
    /// With this log.
    pub fn new(log: AccessLog) -> Self {
        ObserveLayer { log }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, log: self.log.clone() }
    }
}

/// Sees every request first and every answer last.
#[derive(Debug, Clone)]
pub struct Observe<S> {
    inner: S,
    log: AccessLog,
}

impl<S, B> Service<Request<B>> for Observe<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Observing<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let started = Instant::now();
        let id: Arc<str> = match wishes::request_id(request.headers()) {
            Some(id) => Arc::from(id),
            None => Arc::from(&*Uuid::now_v7().hyphenated().encode_lower(&mut Uuid::encode_buffer())),
        };
        request.extensions_mut().insert(RequestId(Arc::clone(&id)));
        let method = request.method().clone();
        Observing { inner: self.inner.call(request), log: self.log.clone(), started, id, method, done: false }
    }
}

pin_project! {
    /// The answer on its way.
    #[derive(Debug)]
    pub struct Observing<F> {
        #[pin]
        inner: F,
        log: AccessLog,
        started: Instant,
        id: Arc<str>,
        method: Method,
        done: bool,
    }

    impl<F> PinnedDrop for Observing<F> {
        fn drop(this: Pin<&mut Self>) {
            // A caller that hangs up ends its request in the middle: that is a line in the log too.
            let this = this.project();
            if !*this.done {
                let (id, took) = (&**this.id, this.started.elapsed());
                this.log.write(&Access { id, method: this.method, status: 499, took, facts: &Facts::default() });
            }
        }
    }
}

impl<F> Future for Observing<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.inner.poll(cx));
        *this.done = true;
        let took = this.started.elapsed();
        let facts = response.extensions_mut().remove::<Facts>().unwrap_or_default();
        let status = response.status().as_u16();
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(this.id) {
            headers.insert(X_REQUEST_ID, id);
        }
        headers.insert(SERVER_TIMING, server_timing(took, facts.waited));
        this.log.write(&Access { id: this.id, method: this.method, status, took, facts: &facts });
        Poll::Ready(Ok(response))
    }
}

/// `upstream;dur=12.3, gateway;dur=0.1`, in milliseconds.
fn server_timing(took: Duration, waited: Duration) -> HeaderValue {
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1000.0;
    let mut value = String::with_capacity(48);
    let own = milliseconds(took.saturating_sub(waited));
    // Writing to a string cannot fail.
    let _ = write!(value, "upstream;dur={:.3}, gateway;dur={own:.3}", milliseconds(waited));
    HeaderValue::from_maybe_shared(bytes::Bytes::from(value)).unwrap_or_else(|_| HeaderValue::from_static(""))
}
