//! State shared by a connection's socket, its requests and its lifetime.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use pin_project_lite::pin_project;

use super::IncomingRequest;
use crate::server::tls::ClientIdentity;
use crate::types::body::Body;

/// Activity of one connection.
#[derive(Debug)]
pub(super) struct ConnectionActivity {
    started: Instant,
    /// Requests without a response yet.
    running: AtomicUsize,
    /// Complete heads.
    heads: AtomicU64,
    /// Time of the latest request, in milliseconds after `started`.
    idle_since_ms: AtomicU64,
    /// True once HTTP/1 responses carry `Connection: close`.
    last: AtomicBool,
    http2: AtomicBool,
    /// True if the latest response refused its request, perhaps before the end of the request's body.
    refused: AtomicBool,
}

impl ConnectionActivity {
    pub(super) fn new() -> Self {
        ConnectionActivity {
            started: Instant::now(),
            running: AtomicUsize::new(0),
            heads: AtomicU64::new(0),
            idle_since_ms: AtomicU64::new(0),
            last: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            refused: AtomicBool::new(false),
        }
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn busy(&self) -> bool {
        self.running.load(Ordering::Acquire) > 0
    }

    pub(super) fn heads(&self) -> u64 {
        self.heads.load(Ordering::Acquire)
    }

    pub(super) fn idle_since(&self) -> Instant {
        self.started + Duration::from_millis(self.idle_since_ms.load(Ordering::Acquire))
    }

    /// Sets the time of the latest request to now.
    pub(super) fn touch(&self) {
        let passed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.idle_since_ms.store(passed, Ordering::Release);
    }

    pub(super) fn set_last(&self) {
        self.last.store(true, Ordering::Release);
    }

    pub(super) fn http2(&self) -> bool {
        self.http2.load(Ordering::Acquire)
    }

    pub(super) fn set_http2(&self) {
        self.http2.store(true, Ordering::Release);
    }

    pub(super) fn refused(&self) -> bool {
        self.refused.load(Ordering::Acquire)
    }

    #[cfg(test)]
    pub(super) fn last(&self) -> bool {
        self.last.load(Ordering::Acquire)
    }

    #[cfg(test)]
    pub(super) fn set_idle_since(&self, at: Instant) {
        let passed = u64::try_from((at - self.started).as_millis()).unwrap_or(u64::MAX);
        self.idle_since_ms.store(passed, Ordering::Release);
    }

    fn begin(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::AcqRel);
        self.heads.fetch_add(1, Ordering::AcqRel);
        Running(Arc::clone(self))
    }
}

/// Guard of a request without a response yet.
#[derive(Debug)]
struct Running(Arc<ConnectionActivity>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.touch();
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The listener's service on one connection. Counts running requests, adds the client's identity and marks last responses.
#[derive(Debug)]
pub(super) struct Tracked<S> {
    inner: TowerToHyperService<S>,
    activity: Arc<ConnectionActivity>,
    client: Option<Arc<ClientIdentity>>,
}

impl<S> Tracked<S> {
    pub(super) fn new(
        inner: S,
        activity: Arc<ConnectionActivity>,
        client: Option<Arc<ClientIdentity>>,
    ) -> Self {
        Tracked { inner: TowerToHyperService::new(inner), activity, client }
    }
}

impl<S> Service<Request<Incoming>> for Tracked<S>
where
    S: tower::Service<IncomingRequest, Response = Response<Body>, Error = Infallible> + Clone,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Tracking<S>;

    fn call(&self, request: Request<Incoming>) -> Tracking<S> {
        let running = self.activity.begin();
        let http1 = request.version() <= Version::HTTP_11;
        let inner = self.inner.call(IncomingRequest { request, client: self.client.clone() });
        Tracking { inner, running: Some(running), http1 }
    }
}

pin_project! {
    /// Future of a response.
    pub(super) struct Tracking<S>
    where
        S: tower::Service<IncomingRequest>,
    {
        #[pin]
        inner: TowerToHyperServiceFuture<S, IncomingRequest>,
        running: Option<Running>,
        http1: bool,
    }
}

impl<S> Future for Tracking<S>
where
    S: tower::Service<IncomingRequest, Response = Response<Body>, Error = Infallible>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.inner.poll(cx));
        if let Some(Running(activity)) = this.running {
            let refused =
                response.status().is_client_error() || response.headers().contains_key(header::CONNECTION);
            activity.refused.store(refused, Ordering::Release);
            if *this.http1 && activity.last.load(Ordering::Acquire) {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
        }
        *this.running = None;
        Poll::Ready(Ok(response))
    }
}
