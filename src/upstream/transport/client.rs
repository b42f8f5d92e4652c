//! The pooled client: one request out, one whole answer in, and the truth about what was sent.

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
use super::error::{TransportError, TransportErrorKind};
use crate::settings;
use crate::types::body::{self, ReadError};
use crate::types::code::{Applied, ProxyError};
use crate::types::deadline::{Deadline, Expired};

/// Bytes of an answer's head (and of the read buffer behind it) that are taken at most. Header lines: hyper's own 100,
/// for which it needs no memory of its own.
const MAX_HEAD: usize = 64 * 1024;

/// One request and the moment at which its answer must be whole.
#[derive(Debug, Clone)]
pub struct UpstreamRequest {
    /// The request, credential and all.
    pub request: Request<Bytes>,
    /// When to give up.
    pub deadline: Deadline,
    /// The vendor named a time for this very request, and that time has come.
    pub honors_retry_after: bool,
}

impl UpstreamRequest {
    /// The first attempt at a request.
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

/// The client of one upstream. A clone is the same client.
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
    /// A client for this upstream; connects to nothing yet.
    pub fn new(settings: &settings::Upstream) -> Result<Self, String> {
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

    /// Connections made, and attempts to make one that failed.
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
        // Repeats only what was never written: a pooled connection that was found closed.
        .retry_canceled_requests(true)
        .http1_max_buf_size(MAX_HEAD)
        .http2_adaptive_window(true)
        .build(connector.clone())
}

impl Inner {
    /// The pool in use. After the maximum age a new one takes its place, so that changes of DNS are seen: the old
    /// one's idle connections close with it, those in use when they are done.
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
        let answer = self.pool().1.request(request);
        let response = match deadline.within(answer).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(no_answer(&error, permit.withdraw(), deadline.expired())),
            Err(expired) if permit.withdraw() => return Err(TransportError::not_answered(expired)),
            Err(expired) => return Err(TransportError::not_sent(expired)),
        };
        self.collect(response, &deadline).await
    }

    /// Reads the answer to its end. Of an unsuccessful one the status says enough: its body may be cut.
    async fn collect(
        &self,
        response: Response<Incoming>,
        deadline: &Deadline,
    ) -> Result<Reply, TransportError> {
        let (head, incoming) = response.into_parts();
        let mut so_far = BytesMut::new();
        let read = deadline.within(body::read(incoming, self.max_response, &mut so_far)).await;
        let trouble = match read {
            Ok(Ok(body)) => return Ok(Response::from_parts(head, body).into()),
            _ if !head.status.is_success() => return Ok(Response::from_parts(head, so_far.freeze()).into()),
            Ok(Err(ReadError::TooLarge)) => TransportError::new(
                TransportErrorKind::TooLarge,
                Applied::Yes,
                ProxyError::HttpResponseBodySize,
                format!(
                    "The vendor's answer is longer than {} bytes; the update was applied.",
                    self.max_response
                ),
            ),
            Ok(Err(ReadError::Broken(_))) => TransportError::new(
                TransportErrorKind::Invalid,
                Applied::Yes,
                ProxyError::HttpResponseIncomplete,
                "The vendor's answer was cut off after its status said success; the update was applied.",
            ),
            Err(expired) => TransportError::stalled(expired),
        };
        Err(TransportError { status: Some(head.status.as_u16()), ..trouble })
    }
}

/// What it means that no head of an answer came; `expired`: and that there is no more time either.
fn no_answer(error: &legacy::Error, sent: bool, expired: Option<Expired>) -> TransportError {
    if error.is_connect() {
        let fault = ConnectError::find(error);
        let kind =
            if fault.is_timeout() { TransportErrorKind::Timeout } else { TransportErrorKind::Unreachable };
        let detail = format!("No connection to the vendor: {fault}; nothing was sent.");
        return TransportError::new(kind, Applied::No, fault.proxy_error(), detail);
    }
    if let Some(expired) = expired.filter(|_| !sent) {
        return TransportError::not_sent(expired);
    }
    let hyper = find::<hyper::Error>(error);
    if !sent || hyper.is_some_and(hyper::Error::is_canceled) {
        let detail = "The connection to the vendor broke before the update was sent.";
        return TransportError::new(
            TransportErrorKind::Unreachable,
            Applied::No,
            ProxyError::ConnectionTerminated,
            detail,
        );
    }
    if find::<h2::Error>(error).is_some_and(was_not_processed) {
        let detail = "The vendor refused the request's stream; by HTTP/2 it has not looked at the update.";
        return TransportError::new(
            TransportErrorKind::Unreachable,
            Applied::No,
            ProxyError::ConnectionTerminated,
            detail,
        );
    }
    if hyper.is_some_and(|error| error.is_parse() || error.is_parse_too_large()) {
        let detail = "The vendor's answer is not HTTP that can be understood; whether it applied the update is not known.";
        return TransportError::new(
            TransportErrorKind::Invalid,
            Applied::Unknown,
            ProxyError::HttpProtocolError,
            detail,
        );
    }
    let detail =
        "The connection to the vendor broke before it answered; whether it applied the update is not known.";
    TransportError::new(
        TransportErrorKind::Unreachable,
        Applied::Unknown,
        ProxyError::ConnectionTerminated,
        detail,
    )
}

/// The vendor promised that it did nothing (RFC 9113, 8.7): the stream was refused, or it is later than the last one
/// that a GOAWAY names. Streams that the GOAWAY covers do not end with this error.
fn was_not_processed(error: &h2::Error) -> bool {
    error.is_remote()
        && (error.is_go_away() || error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

/// The first error of this type among the sources.
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

/// Whether a request's body may go out. It is decided once: what was told to a caller stays true, whichever thread holds
/// the connection.
#[derive(Debug)]
struct Permit {
    deadline: Deadline,
    state: AtomicU8,
}

/// Nobody has asked yet.
const OPEN: u8 = 0;
/// A connection took the body: from now on the vendor may act on it.
const TAKEN: u8 = 1;
/// No connection gets it any more.
const WITHDRAWN: u8 = 2;

impl Permit {
    /// Without a body there is nothing to hold back, and a read does no harm: it counts as sent.
    fn new(request: &Request<Bytes>, deadline: Deadline) -> Self {
        let state = if request.body().is_empty() { TAKEN } else { OPEN };
        Permit { deadline, state: AtomicU8::new(state) }
    }

    fn decide(&self, state: u8) -> u8 {
        let decided = self.state.compare_exchange(OPEN, state, Ordering::AcqRel, Ordering::Acquire);
        decided.map_or_else(|decided| decided, |_| state)
    }

    /// Asks for it. After the deadline nothing goes out, although the connection may only now be there.
    fn take(&self) -> bool {
        self.decide(if self.deadline.expired().is_some() { WITHDRAWN } else { TAKEN }) == TAKEN
    }

    /// Ends it. Gives whether it had been taken.
    fn withdraw(&self) -> bool {
        self.decide(WITHDRAWN) == TAKEN
    }
}

/// A request's body that goes out by permission only, and so remembers whether a connection took it: until then the
/// vendor cannot have acted on it.
#[derive(Debug)]
pub(super) struct PermittedBody {
    data: Option<Bytes>,
    permit: Arc<Permit>,
}

/// Nobody waits for the answer any more.
#[derive(Debug)]
pub(super) struct TooLate;

impl std::fmt::Display for TooLate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nobody waits for the answer any more")
    }
}

impl StdError for TooLate {}

impl Body for PermittedBody {
    type Data = Bytes;
    type Error = TooLate;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TooLate>>> {
        let Some(data) = self.data.take() else { return Poll::Ready(None) };
        Poll::Ready(Some(if self.permit.take() { Ok(Frame::data(data)) } else { Err(TooLate) }))
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
    fn a_body_goes_out_while_somebody_waits_and_is_not_told_otherwise() {
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
        let cut_off = permit("{}", long);
        shutdown.trigger();
        assert!(!cut_off.take() && !cut_off.withdraw());
    }
}
