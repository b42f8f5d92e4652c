//! The pooled client: one request out, one whole answer in, and the truth about what was sent.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::Service;

use super::connect::{ConnectFault, Connector};
use super::trouble::{Kind, Trouble};
use crate::body::{self, ReadError};
use crate::problem::Applied;
use crate::settings;

/// Bytes of an answer's head (and of the read buffer behind it) that are taken at most.
const MAX_HEAD: usize = 256 * 1024;
/// Header lines of an answer that are taken at most.
const MAX_HEADERS: usize = 128;

/// One request and the moment at which its answer must be whole.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The request, credential and all.
    pub request: Request<Bytes>,
    /// When to give up.
    pub deadline: Instant,
    /// The vendor named a time for this very request, and that time has come.
    pub invited: bool,
}

impl Exchange {
    /// The first attempt at a request.
    pub fn new(request: Request<Bytes>, deadline: Instant) -> Self {
        Exchange { request, deadline, invited: false }
    }
}

/// A vendor's whole answer.
pub type Reply = Response<Bytes>;

type Pool = legacy::Client<Connector, Outgoing>;

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
    pub(super) fn connections(&self) -> (u64, u64) {
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
        .http1_max_headers(MAX_HEADERS)
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

    async fn exchange(self: Arc<Self>, exchange: Exchange) -> Result<Reply, Trouble> {
        let Exchange { request, deadline, .. } = exchange;
        let deadline = tokio::time::Instant::from_std(deadline);
        // Without a body there is nothing to watch, and a read does no harm: it counts as sent.
        let sent = Arc::new(AtomicBool::new(request.body().is_empty()));
        let request = request.map(|data| Outgoing {
            data: Some(data).filter(|data| !data.is_empty()),
            taken: Arc::clone(&sent),
        });
        let answer = self.pool().1.request(request);
        let answer = tokio::time::timeout_at(deadline, answer).await;
        let sent = sent.load(Ordering::Acquire);
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(no_answer(&error, sent)),
            Err(_) if sent => {
                return Err(Trouble::new(
                    Kind::Timeout,
                    Applied::Unknown,
                    "http_response_timeout",
                    "The vendor did not answer in time; whether it applied the update is not known.",
                ));
            }
            Err(_) => return Err(Trouble::not_sent_in_time()),
        };
        self.collect(response, deadline).await
    }

    /// Reads the answer to its end. Of an unsuccessful one the status says enough: its body may be cut.
    async fn collect(
        &self,
        response: Response<Incoming>,
        deadline: tokio::time::Instant,
    ) -> Result<Reply, Trouble> {
        let (head, incoming) = response.into_parts();
        let mut so_far = BytesMut::new();
        let read =
            tokio::time::timeout_at(deadline, body::read(incoming, self.max_response, &mut so_far)).await;
        let trouble = match read {
            Ok(Ok(body)) => return Ok(Response::from_parts(head, body)),
            _ if !head.status.is_success() => return Ok(Response::from_parts(head, so_far.freeze())),
            Ok(Err(ReadError::TooLarge)) => Trouble::new(
                Kind::TooLarge,
                Applied::Yes,
                "http_response_body_size",
                format!(
                    "The vendor's answer is longer than {} bytes; the update was applied.",
                    self.max_response
                ),
            ),
            Ok(Err(ReadError::Broken(_))) => Trouble::new(
                Kind::Invalid,
                Applied::Yes,
                "http_response_incomplete",
                "The vendor's answer was cut off after its status said success; the update was applied.",
            ),
            Err(_) => Trouble::new(
                Kind::Timeout,
                Applied::Yes,
                "http_response_timeout",
                "The vendor's answer stalled after its status said success; the update was applied.",
            ),
        };
        Err(Trouble { status: Some(head.status.as_u16()), ..trouble })
    }
}

/// What it means that no head of an answer came.
fn no_answer(error: &legacy::Error, sent: bool) -> Trouble {
    if error.is_connect() {
        let fault = ConnectFault::find(error);
        let kind = if fault.is_timeout() { Kind::Timeout } else { Kind::Unreachable };
        let detail = format!("No connection to the vendor: {fault}; nothing was sent.");
        return Trouble::new(kind, Applied::No, fault.proxy_error(), detail);
    }
    let hyper = find::<hyper::Error>(error);
    if !sent || hyper.is_some_and(hyper::Error::is_canceled) {
        let detail = "The connection to the vendor broke before the update was sent.";
        return Trouble::new(Kind::Unreachable, Applied::No, "connection_terminated", detail);
    }
    if find::<h2::Error>(error).is_some_and(was_not_processed) {
        let detail = "The vendor refused the request's stream; by HTTP/2 it has not looked at the update.";
        return Trouble::new(Kind::Unreachable, Applied::No, "connection_terminated", detail);
    }
    if hyper.is_some_and(|error| error.is_parse() || error.is_parse_too_large()) {
        let detail = "The vendor's answer is not HTTP that can be understood; whether it applied the update is not known.";
        return Trouble::new(Kind::Invalid, Applied::Unknown, "http_protocol_error", detail);
    }
    let detail =
        "The connection to the vendor broke before it answered; whether it applied the update is not known.";
    Trouble::new(Kind::Unreachable, Applied::Unknown, "connection_terminated", detail)
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

impl Service<Exchange> for Client {
    type Response = Reply;
    type Error = Trouble;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Trouble>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, exchange: Exchange) -> Self::Future {
        Box::pin(Arc::clone(&self.0).exchange(exchange))
    }
}

/// A request's body that remembers whether a connection took it: until then the vendor cannot have acted on it.
#[derive(Debug)]
pub(super) struct Outgoing {
    data: Option<Bytes>,
    taken: Arc<AtomicBool>,
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.taken.store(true, Ordering::Release);
        Poll::Ready(self.data.take().map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}
