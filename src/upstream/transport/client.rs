//! The pooled HTTP client: sends one request, reads the complete response, and knows whether the body was sent.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::Service;

use super::connect::Connector;
use super::connect_error::ConnectError;
use super::error::TransportError;
use crate::settings;
use crate::types::body::{self, ReadError};
use crate::types::build_error::BuildError;
use crate::types::code::{Applied, ProxyError};
use crate::types::deadline::{Deadline, Expired};

/// Maximum size of a response's head and of hyper's read buffer, in bytes. The number of headers stays at hyper's 100,
/// which it parses without an allocation.
const MAX_HEAD: usize = 64 * 1024;

/// A request, and the deadline of its complete response.
#[derive(Debug, Clone)]
pub struct UpstreamRequest {
    /// The request. Below the authorize layer it has the credential.
    pub request: Request<Bytes>,
    /// End of the time for sending and reading.
    pub deadline: Deadline,
    /// True for an attempt that waited as long as the vendor's `Retry-After` asked.
    pub honors_retry_after: bool,
}

impl UpstreamRequest {
    /// The first attempt of a request.
    pub fn new(request: Request<Bytes>, deadline: impl Into<Deadline>) -> Self {
        UpstreamRequest { request, deadline: deadline.into(), honors_retry_after: false }
    }
}

/// A vendor's complete response.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The response with its whole body.
    pub response: Response<Bytes>,
    /// An earlier attempt may have been applied, whatever this response says. Set by the retries.
    pub maybe_applied: bool,
}

impl Reply {
    /// Status of the response.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }
}

impl From<Response<Bytes>> for Reply {
    fn from(response: Response<Bytes>) -> Self {
        Reply { response, maybe_applied: false }
    }
}

type Pool = legacy::Client<Connector, PermittedBody>;

/// HTTP client of one upstream. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connector: Connector,
    pool: ArcSwap<(Instant, Pool)>,
    idle_timeout: Duration,
    max_age: Duration,
    max_idle: usize,
    max_response: usize,
}

impl Client {
    /// A client for this upstream, without a connection yet.
    ///
    /// # Errors
    /// A `ca_file` that cannot be used.
    pub fn new(settings: &settings::Upstream) -> Result<Self, BuildError> {
        let connector = Connector::new(settings)?;
        let pool = pool(&connector, settings.pool_idle_timeout, settings.max_in_flight);
        Ok(Client(Arc::new(Inner {
            connector,
            pool: ArcSwap::from_pointee((Instant::now(), pool)),
            idle_timeout: settings.pool_idle_timeout,
            max_age: settings.max_connection_age,
            max_idle: settings.max_in_flight,
            max_response: settings.max_response,
        })))
    }

    /// Numbers of connections made and of failed attempts to connect.
    pub(crate) fn connections(&self) -> (u64, u64) {
        let counters = self.0.connector.counters();
        (counters.made.load(Ordering::Relaxed), counters.failed.load(Ordering::Relaxed))
    }
}

fn pool(connector: &Connector, idle_timeout: Duration, max_idle: usize) -> Pool {
    legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(idle_timeout)
        .pool_max_idle_per_host(max_idle)
        // Repeats only requests that were never written, because a pooled connection was closed.
        .retry_canceled_requests(true)
        .http1_max_buf_size(MAX_HEAD)
        .http2_adaptive_window(true)
        .build(connector.clone())
}

impl Inner {
    /// The current pool, replaced after `max_connection_age` so that changes of DNS are seen. Connections of the old
    /// pool close when they are idle.
    fn pool(&self) -> arc_swap::Guard<Arc<(Instant, Pool)>> {
        let current = self.pool.load();
        if current.0.elapsed() < self.max_age {
            return current;
        }
        let fresh = pool(&self.connector, self.idle_timeout, self.max_idle);
        self.pool.store(Arc::new((Instant::now(), fresh)));
        self.pool.load()
    }

    async fn exchange(&self, exchange: UpstreamRequest) -> Result<Reply, TransportError> {
        let UpstreamRequest { request, deadline, .. } = exchange;
        if let Some(expired) = deadline.expired() {
            return Err(TransportError::not_sent(expired));
        }
        let permit = Arc::new(Permit::new(&request, deadline.clone()));
        let request = request.map(|data| PermittedBody {
            data: Some(data).filter(|data| !data.is_empty()),
            permit: Arc::clone(&permit),
        });
        let response = self.pool().1.request(request);
        let response = match deadline.within(response).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(no_response(&error, permit.withdraw(), deadline.expired())),
            Err(expired) if permit.withdraw() => return Err(TransportError::not_answered(expired)),
            Err(expired) => return Err(TransportError::not_sent(expired)),
        };
        self.collect(response, &deadline).await
    }

    /// Reads the response to its end. The body of an unsuccessful response may be incomplete: its status is enough.
    async fn collect(
        &self,
        response: Response<Incoming>,
        deadline: &Deadline,
    ) -> Result<Reply, TransportError> {
        let (head, incoming) = response.into_parts();
        let mut so_far = BytesMut::new();
        let read = deadline.within(body::read(incoming, self.max_response, &mut so_far)).await;
        let error = match read {
            Ok(Ok(body)) => return Ok(Response::from_parts(head, body).into()),
            _ if !head.status.is_success() => return Ok(Response::from_parts(head, so_far.freeze()).into()),
            Ok(Err(ReadError::TooLarge)) => TransportError::new(
                Applied::Yes,
                ProxyError::HttpResponseBodySize,
                format!("The vendor's answer is longer than {} bytes.", self.max_response),
            ),
            Ok(Err(ReadError::Broken(_))) => TransportError::new(
                Applied::Yes,
                ProxyError::HttpResponseIncomplete,
                "The vendor's answer was cut off after its status said success.",
            ),
            Err(expired) => TransportError::stalled(expired),
        };
        Err(TransportError { status: Some(head.status.as_u16()), ..error })
    }
}

/// Error of a request without a response. `expired` is set if its time has ended too.
fn no_response(error: &legacy::Error, sent: bool, expired: Option<Expired>) -> TransportError {
    if error.is_connect() {
        let reason = ConnectError::find(error);
        let detail = format!("No connection to the vendor: {reason}; nothing was sent.");
        return TransportError::new(Applied::No, reason.proxy_error(), detail);
    }
    if let Some(expired) = expired.filter(|_| !sent) {
        return TransportError::not_sent(expired);
    }
    let hyper = find::<hyper::Error>(error);
    let (applied, proxy_error, detail) = if !sent || hyper.is_some_and(hyper::Error::is_canceled) {
        (
            Applied::No,
            ProxyError::ConnectionTerminated,
            "The connection to the vendor broke before the request was sent.",
        )
    } else if find::<h2::Error>(error).is_some_and(was_not_processed) {
        (
            Applied::No,
            ProxyError::ConnectionTerminated,
            "The vendor refused the request's stream; by HTTP/2 it has not looked at the request.",
        )
    } else if hyper.is_some_and(|error| error.is_parse() || error.is_parse_too_large()) {
        (
            Applied::Unknown,
            ProxyError::HttpProtocolError,
            "The vendor's answer is not HTTP that can be understood.",
        )
    } else {
        (
            Applied::Unknown,
            ProxyError::ConnectionTerminated,
            "The connection to the vendor broke before it answered.",
        )
    };
    TransportError::new(applied, proxy_error, detail)
}

/// True if the vendor guarantees that it did not process the request (RFC 9113 section 8.7): it reset the stream with
/// `REFUSED_STREAM`, or sent a `GOAWAY` for an earlier stream.
fn was_not_processed(error: &h2::Error) -> bool {
    error.is_remote()
        && (error.is_go_away() || error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

/// First error of type `E` among the sources.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut at = error.source();
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        at = error.source();
    }
    None
}

impl<'a> Service<UpstreamRequest> for &'a Client {
    type Response = Reply;
    type Error = TransportError;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, TransportError>> + Send + 'a>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, exchange: UpstreamRequest) -> Self::Future {
        Box::pin(self.0.exchange(exchange))
    }
}

/// One-shot permission to send a request body. Exactly one of sender and timeout wins, so that the answer to the caller
/// stays true.
#[derive(Debug)]
struct Permit {
    deadline: Deadline,
    state: AtomicU8,
}

/// Undecided.
const OPEN: u8 = 0;
/// A connection took the body; the vendor may act on it.
const TAKEN: u8 = 1;
/// The caller was answered; no connection may take the body.
const WITHDRAWN: u8 = 2;

impl Permit {
    /// A permit for `request`. One without a body, a read, counts as sent from the start.
    fn new(request: &Request<Bytes>, deadline: Deadline) -> Self {
        let state = if request.body().is_empty() { TAKEN } else { OPEN };
        Permit { deadline, state: AtomicU8::new(state) }
    }

    fn decide(&self, state: u8) -> u8 {
        let decided = self.state.compare_exchange(OPEN, state, Ordering::AcqRel, Ordering::Acquire);
        decided.map_or_else(|decided| decided, |_| state)
    }

    /// Takes the permission, unless the deadline has passed or it was withdrawn. Returns true if it is taken.
    fn take(&self) -> bool {
        self.decide(if self.deadline.expired().is_some() { WITHDRAWN } else { TAKEN }) == TAKEN
    }

    /// Withdraws the permission. Returns true if it had been taken before.
    fn withdraw(&self) -> bool {
        self.decide(WITHDRAWN) == TAKEN
    }
}

/// Request body that is sent by permission only. Until a connection takes it the vendor cannot have acted on it.
#[derive(Debug)]
pub(super) struct PermittedBody {
    data: Option<Bytes>,
    permit: Arc<Permit>,
}

/// Error of a body whose permit was withdrawn.
#[derive(Debug)]
pub(super) struct Withdrawn;

impl std::fmt::Display for Withdrawn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the permission to send the body was withdrawn")
    }
}

impl StdError for Withdrawn {}

impl Body for PermittedBody {
    type Data = Bytes;
    type Error = Withdrawn;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Withdrawn>>> {
        let Some(data) = self.data.take() else { return Poll::Ready(None) };
        Poll::Ready(Some(if self.permit.take() { Ok(Frame::data(data)) } else { Err(Withdrawn) }))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::deadline::Shutdown;

    #[test]
    fn a_body_is_sent_only_by_a_permit_that_was_not_withdrawn() {
        let shutdown = Shutdown::default();
        let permit = |body: &'static str, timeout| {
            Permit::new(
                &Request::new(Bytes::from_static(body.as_bytes())),
                Deadline::after(timeout, &shutdown),
            )
        };
        let (long, none) = (Duration::from_secs(60), Duration::ZERO);
        let taken = permit("{}", long);
        assert!(taken.take() && taken.take() && taken.withdraw() && taken.take());
        let withdrawn = permit("{}", long);
        assert!(!withdrawn.withdraw() && !withdrawn.take() && !withdrawn.withdraw());
        let late = permit("{}", none);
        assert!(!late.take() && !late.withdraw());
        assert!(permit("", none).withdraw(), "a read counts as sent");
        let expired = permit("{}", long);
        shutdown.trigger();
        assert!(!expired.take() && !expired.withdraw());
    }
}
