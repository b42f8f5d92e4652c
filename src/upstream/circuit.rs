//! The circuit breaker as middleware: asks before each attempt, judges its end.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::breaker::{Admission, Breaker, CircuitState, OpenReason, Refused, Verdict};
use super::gate::Gated;
use super::stall;
use super::transport::{Reply, TransportError, TransportErrorKind, UpstreamRequest};
use crate::settings;
use crate::types::code::ProxyError;
use crate::types::retry_after;

/// One upstream's circuit. A clone is the same circuit.
#[derive(Debug, Clone)]
pub(super) struct Circuit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    upstream: Arc<str>,
    breaker: Mutex<Breaker>,
    opened: AtomicU64,
    refused: AtomicU64,
}

impl Circuit {
    pub(super) fn new(upstream: Arc<str>, rules: settings::Circuit) -> Self {
        // From now on it is known when this process sleeps.
        let _ = stall::watch();
        let breaker = Mutex::new(Breaker::new(rules, Instant::now()));
        Circuit(Arc::new(Shared { upstream, breaker, opened: AtomicU64::new(0), refused: AtomicU64::new(0) }))
    }

    /// What it does just now, how often it opened, and how many calls it refused.
    pub(super) fn stats(&self) -> (CircuitState, u64, u64) {
        let state = self.breaker().state(Instant::now());
        (state, self.0.opened.load(Relaxed), self.0.refused.load(Relaxed))
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.0.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, honors_retry_after: bool) -> Result<Call<'_>, TransportError> {
        let admitted = self.breaker().admit(Instant::now(), honors_retry_after);
        match admitted {
            Ok(ticket) => Ok(Call { circuit: self, ticket: Some(ticket) }),
            Err(refused) => {
                self.0.refused.fetch_add(1, Relaxed);
                Err(trouble(refused))
            }
        }
    }
}

fn trouble(refused: Refused) -> TransportError {
    let seconds = retry_after::ceil_secs(refused.wait);
    let (kind, detail) = match refused.why {
        OpenReason::Failing => (
            TransportErrorKind::Unavailable,
            "The vendor failed too often of late and is left alone for a while",
        ),
        OpenReason::Unavailable => {
            (TransportErrorKind::Unavailable, "The vendor asked to be left alone for a while (503)")
        }
        OpenReason::RateLimited => {
            (TransportErrorKind::RateLimited, "The vendor asked for fewer requests (429)")
        }
    };
    TransportError::shed(kind, ProxyError::DestinationUnavailable, seconds, detail)
}

/// A call that was let through. Dropped before its end (the caller hung up), it frees its place and says nothing.
#[derive(Debug)]
struct Call<'a> {
    circuit: &'a Circuit,
    ticket: Option<Admission>,
}

impl Call<'_> {
    fn end(&mut self, verdict: Verdict, hold: Option<(Duration, OpenReason)>) {
        let Some(ticket) = self.ticket.take() else { return };
        let now = Instant::now();
        let jitter = if verdict == Verdict::Bad { fastrand::f64() } else { 0.0 };
        let mut breaker = self.circuit.breaker();
        let before = breaker.state(now);
        let opened = breaker.record(now, ticket, verdict, jitter);
        if let Some((wait, why)) = hold {
            breaker.hold(now, wait, why);
        }
        let after = breaker.state(now);
        drop(breaker);
        let upstream = &*self.circuit.0.upstream;
        if after == CircuitState::Open && before != CircuitState::Open {
            self.circuit.0.opened.fetch_add(1, Relaxed);
            let pause = opened.or(hold.map(|(wait, _)| wait)).unwrap_or_default();
            tracing::warn!(upstream, pause_ms = pause.as_millis(), "circuit opened");
        } else if after == CircuitState::Closed && before == CircuitState::HalfOpen {
            tracing::info!(upstream, "circuit closed");
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.end(Verdict::Nothing, None);
    }
}

/// What the end of a call says about the vendor, and for how long it asked to be left alone.
fn judge(
    result: &Result<Reply, TransportError>,
    begun: std::time::Instant,
) -> (Verdict, Option<(Duration, OpenReason)>) {
    let wait = |reply: &Reply, why| {
        Some((Duration::from_secs(retry_after::seconds(reply.response.headers())?), why))
    };
    match result {
        Ok(reply) => match reply.status() {
            StatusCode::TOO_MANY_REQUESTS => (Verdict::Limited, wait(reply, OpenReason::RateLimited)),
            StatusCode::SERVICE_UNAVAILABLE => (Verdict::Bad, wait(reply, OpenReason::Unavailable)),
            status if status.as_u16() >= 500 => (Verdict::Bad, None),
            // The caller's faults, and the credential's: the vendor works.
            _ => (Verdict::Good, None),
        },
        Err(trouble) => {
            let verdict = match trouble.kind {
                // Ours or the token endpoint's, not the vendor's.
                TransportErrorKind::Full
                | TransportErrorKind::RateLimited
                | TransportErrorKind::Unauthenticated
                | TransportErrorKind::UnexpectedStatus
                | TransportErrorKind::Shutdown => Verdict::Nothing,
                // Said at once and at no cost to anyone: an open circuit would only hide the reason.
                TransportErrorKind::Unreachable if trouble.is_immediate_refusal() => Verdict::Nothing,
                // It may have answered in time, and nobody was there to see it.
                TransportErrorKind::Timeout if stall::slept_since(begun) => Verdict::Nothing,
                TransportErrorKind::Timeout
                | TransportErrorKind::Unreachable
                | TransportErrorKind::Invalid
                | TransportErrorKind::Unavailable
                | TransportErrorKind::Failed => Verdict::Bad,
                TransportErrorKind::TooLarge => Verdict::Good,
            };
            (verdict, None)
        }
    }
}

/// Puts [`Guarded`] around a service.
#[derive(Debug, Clone)]
pub(super) struct CircuitLayer(pub(super) Circuit);

impl<S> Layer<S> for CircuitLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, circuit: self.0.clone() }
    }
}

/// Calls what is inside only while the circuit lets it.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    inner: S,
    circuit: Circuit,
}

impl<'a, S> Service<UpstreamRequest> for &'a Guarded<S>
where
    &'a S: Service<UpstreamRequest, Response = Reply, Error = TransportError>,
{
    type Response = Reply;
    type Error = TransportError;
    type Future = Gated<WatchedFile<'a, <&'a S as Service<UpstreamRequest>>::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        (&self.inner).poll_ready(cx)
    }

    fn call(&mut self, exchange: UpstreamRequest) -> Self::Future {
        match self.circuit.admit(exchange.honors_retry_after) {
            Err(trouble) => Gated::refused(trouble),
            Ok(call) => {
                let begun = std::time::Instant::now();
                let inner = WatchedFile { inner: (&self.inner).call(exchange), call, begun };
                Gated::Passed { inner }
            }
        }
    }
}

pin_project! {
    /// A call whose end will be judged.
    #[derive(Debug)]
    pub(super) struct WatchedFile<'a, F> {
        #[pin]
        inner: F,
        call: Call<'a>,
        begun: std::time::Instant,
    }
}

impl<F: Future<Output = Result<Reply, TransportError>>> Future for WatchedFile<'_, F> {
    type Output = Result<Reply, TransportError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        let (verdict, hold) = judge(&result, *this.begun);
        this.call.end(verdict, hold);
        Poll::Ready(result)
    }
}
