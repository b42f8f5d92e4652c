//! Circuit breaker as middleware: requests admission for each attempt, and judges its outcome.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::Service;

use super::breaker::{Admission, Breaker, CircuitState, OpenReason, Refused, Verdict};
use super::gate::Gated;
use super::stall;
use super::transport::{Reply, TransportError, TransportErrorKind, UpstreamRequest};
use crate::settings;
use crate::types::code::ProxyError;
use crate::types::retry_after;

/// Circuit of one upstream. Clones share it.
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
        // Stalls before the first call to `judge` must be seen too.
        let _ = stall::detector();
        let breaker = Mutex::new(Breaker::new(rules, Instant::now()));
        Circuit(Arc::new(Shared { upstream, breaker, opened: AtomicU64::new(0), refused: AtomicU64::new(0) }))
    }

    /// Current state, number of times it opened, and number of refused calls.
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
            Ok(admission) => Ok(Call { circuit: self, admission: Some(admission) }),
            Err(refused) => {
                self.0.refused.fetch_add(1, Relaxed);
                Err(refused.into())
            }
        }
    }
}

impl From<Refused> for TransportError {
    fn from(refused: Refused) -> Self {
        let seconds = retry_after::ceil_secs(refused.wait);
        let (kind, detail) = match refused.reason {
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
}

/// An admitted call. Dropped before its end, because the caller hung up, it counts as [`Verdict::Ignored`].
#[derive(Debug)]
struct Call<'a> {
    circuit: &'a Circuit,
    admission: Option<Admission>,
}

impl Call<'_> {
    fn end(&mut self, verdict: Verdict, hold: Option<(Duration, OpenReason)>) {
        let Some(admission) = self.admission.take() else { return };
        let now = Instant::now();
        let jitter = if verdict == Verdict::Failure { fastrand::f64() } else { 0.0 };
        let mut breaker = self.circuit.breaker();
        let before = breaker.state(now);
        let opened = breaker.record(now, admission, verdict, jitter);
        if let Some((wait, reason)) = hold {
            breaker.hold(now, wait, reason);
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
        self.end(Verdict::Ignored, None);
    }
}

/// Verdict on the outcome of a call that began at `begun`, and the vendor's `Retry-After` with its reason.
fn judge(
    result: &Result<Reply, TransportError>,
    begun: std::time::Instant,
) -> (Verdict, Option<(Duration, OpenReason)>) {
    let wait = |reply: &Reply, reason| {
        Some((Duration::from_secs(retry_after::seconds(reply.response.headers())?), reason))
    };
    match result {
        Ok(reply) => match reply.status() {
            StatusCode::TOO_MANY_REQUESTS => (Verdict::RateLimited, wait(reply, OpenReason::RateLimited)),
            StatusCode::SERVICE_UNAVAILABLE => (Verdict::Failure, wait(reply, OpenReason::Unavailable)),
            status if status.as_u16() >= 500 => (Verdict::Failure, None),
            // Faults of the caller or of the credential.
            _ => (Verdict::Success, None),
        },
        Err(error) => {
            let verdict = match error.kind {
                // Errors of the gateway or of the token endpoint.
                TransportErrorKind::Full
                | TransportErrorKind::RateLimited
                | TransportErrorKind::Unauthenticated
                | TransportErrorKind::UnexpectedStatus
                | TransportErrorKind::Shutdown => Verdict::Ignored,
                // Costs no time: an open circuit would only hide the reason.
                TransportErrorKind::Unreachable if error.is_immediate_refusal() => Verdict::Ignored,
                // The vendor may have answered in time while this process stood still.
                TransportErrorKind::Timeout if stall::since(begun) => Verdict::Ignored,
                TransportErrorKind::Timeout
                | TransportErrorKind::Unreachable
                | TransportErrorKind::Invalid
                | TransportErrorKind::Unavailable
                | TransportErrorKind::Failed => Verdict::Failure,
                TransportErrorKind::TooLarge => Verdict::Success,
            };
            (verdict, None)
        }
    }
}

/// Calls the inner service only while the circuit admits it.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    pub(super) inner: S,
    pub(super) circuit: Circuit,
}

impl<'a, S> Service<UpstreamRequest> for &'a Guarded<S>
where
    &'a S: Service<UpstreamRequest, Response = Reply, Error = TransportError>,
{
    type Response = Reply;
    type Error = TransportError;
    type Future = Gated<Guarding<'a, <&'a S as Service<UpstreamRequest>>::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        (&self.inner).poll_ready(cx)
    }

    fn call(&mut self, exchange: UpstreamRequest) -> Self::Future {
        match self.circuit.admit(exchange.honors_retry_after) {
            Err(error) => Gated::refused(error),
            Ok(call) => {
                let begun = std::time::Instant::now();
                let inner = Guarding { inner: (&self.inner).call(exchange), call, begun };
                Gated::Passed { inner }
            }
        }
    }
}

pin_project! {
    /// An admitted call in progress.
    #[derive(Debug)]
    pub(super) struct Guarding<'a, F> {
        #[pin]
        inner: F,
        call: Call<'a>,
        begun: std::time::Instant,
    }
}

impl<F: Future<Output = Result<Reply, TransportError>>> Future for Guarding<'_, F> {
    type Output = Result<Reply, TransportError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        let (verdict, hold) = judge(&result, *this.begun);
        this.call.end(verdict, hold);
        Poll::Ready(result)
    }
}
