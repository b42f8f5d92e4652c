//! Retry policy: which attempts are repeated, and when.
//!
//! | outcome of an attempt | repeated |
//! | --- | --- |
//! | not connected, or the connection broke before the request was sent | yes |
//! | 429 or 503 with a `Retry-After` that fits the deadline | after that time |
//! | unknown: the connection broke or the response was not HTTP after sending, 5xx | with `retry_unknown`, and reads |
//! | anything else: refused by the vendor or the gateway, or applied but unreadable | no |

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::retry_budget::RetryBudget;
use super::transport::{Reply, TransportError, TransportErrorKind, UpstreamRequest};
use crate::settings;
use crate::types::code::Applied;
use crate::types::retry_after;

/// Maximum of the first pause; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Reason for repeating an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RetryReason {
    Unsent,
    RetryAfter(Duration),
    Unknown,
}

/// Numbers of repeated attempts, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetryStats {
    /// Nothing was sent.
    pub unsent: u64,
    /// The vendor sent `Retry-After`.
    pub asked: u64,
    /// The outcome was unknown.
    pub unknown: u64,
    /// Not repeated, because the retry budget was used up.
    pub over_budget: u64,
}

/// Retry rules, budget and counters of one upstream.
#[derive(Debug)]
pub(super) struct Retries {
    max_attempts: u32,
    retry_unknown: bool,
    budget: RetryBudget,
    unsent: AtomicU64,
    asked: AtomicU64,
    unknown: AtomicU64,
    over_budget: AtomicU64,
}

impl Retries {
    pub(super) fn new(settings: &settings::Upstream) -> Self {
        Retries {
            max_attempts: settings.max_attempts,
            retry_unknown: settings.retry_unknown,
            budget: RetryBudget::new(Instant::now()),
            unsent: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            over_budget: AtomicU64::new(0),
        }
    }

    pub(super) fn stats(&self) -> RetryStats {
        RetryStats {
            unsent: self.unsent.load(Relaxed),
            asked: self.asked.load(Relaxed),
            unknown: self.unknown.load(Relaxed),
            over_budget: self.over_budget.load(Relaxed),
        }
    }

    /// Number of retries that the budget allows now.
    pub(super) fn budget(&self) -> u64 {
        self.budget.available(Instant::now())
    }

    fn reason(&self, safe: bool, result: &Result<Reply, TransportError>) -> Option<RetryReason> {
        // A read changes nothing.
        let retry_unknown = self.retry_unknown || safe;
        match result {
            Err(error) => match (error.applied, error.kind) {
                (Applied::No, TransportErrorKind::Unreachable | TransportErrorKind::Timeout) => {
                    Some(RetryReason::Unsent)
                }
                (Applied::Unknown, _) if retry_unknown => Some(RetryReason::Unknown),
                // The answer to a read was cut off.
                (Applied::Yes, TransportErrorKind::Invalid) if safe => Some(RetryReason::Unknown),
                _ => None,
            },
            Ok(reply) => {
                let status = reply.status();
                if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
                    && let Some(seconds) = retry_after::seconds(reply.response.headers())
                {
                    return Some(RetryReason::RetryAfter(Duration::from_secs(seconds)));
                }
                (retry_unknown && status.is_server_error()).then_some(RetryReason::Unknown)
            }
        }
    }
}

/// Retry state of one request.
#[derive(Debug, Clone)]
pub(super) struct Policy<'a> {
    retries: &'a Retries,
    /// Number of attempts made.
    attempts: u32,
    /// An attempt may have been applied.
    maybe_applied: bool,
}

impl<'a> Policy<'a> {
    pub(super) fn new(retries: &'a Retries) -> Self {
        Policy { retries, attempts: 0, maybe_applied: false }
    }

    /// Pause before the next attempt; `None` to stop.
    fn pause(
        &mut self,
        exchange: &mut UpstreamRequest,
        result: &Result<Reply, TransportError>,
    ) -> Option<Duration> {
        let reason = self.retries.reason(exchange.request.method().is_safe(), result)?;
        if self.attempts >= self.retries.max_attempts {
            return None;
        }
        let jitter =
            (FIRST_PAUSE * 2u32.saturating_pow(self.attempts.saturating_sub(1))).mul_f64(fastrand::f64());
        let pause = match reason {
            RetryReason::RetryAfter(wait) => wait + jitter,
            RetryReason::Unsent | RetryReason::Unknown => jitter,
        };
        // A pause that would end after the deadline is not begun.
        let now = Instant::now();
        if exchange.deadline.expired().is_some() || now + pause >= exchange.deadline.at().into() {
            return None;
        }
        if !self.retries.budget.withdraw(now) {
            self.retries.over_budget.fetch_add(1, Relaxed);
            return None;
        }
        let count = match reason {
            RetryReason::Unsent => &self.retries.unsent,
            RetryReason::RetryAfter(_) => &self.retries.asked,
            RetryReason::Unknown => &self.retries.unknown,
        };
        count.fetch_add(1, Relaxed);
        exchange.honors_retry_after = matches!(reason, RetryReason::RetryAfter(_));
        Some(pause)
    }
}

impl tower::retry::Policy<UpstreamRequest, Reply, TransportError> for Policy<'_> {
    type Future = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn retry(
        &mut self,
        exchange: &mut UpstreamRequest,
        result: &mut Result<Reply, TransportError>,
    ) -> Option<Self::Future> {
        if let Some(pause) = self.pause(exchange, result) {
            let safe = exchange.request.method().is_safe();
            self.maybe_applied |= !safe
                && match result {
                    Ok(reply) => reply.status().is_server_error(),
                    Err(error) => error.applied == Applied::Unknown,
                };
            let deadline = exchange.deadline.clone();
            // A shutdown ends the pause and the next attempt.
            return Some(Box::pin(async move { _ = deadline.within(tokio::time::sleep(pause)).await }));
        }
        // The outcome of the last attempt must not hide that an earlier one may have been applied.
        if self.maybe_applied {
            match result {
                Err(error) if error.applied == Applied::No => {
                    error.applied = Applied::Unknown;
                    error.detail.push_str(" An earlier attempt may have been applied.");
                }
                Ok(reply) if !reply.status().is_success() => {
                    reply.maybe_applied = true;
                }
                _ => {}
            }
        }
        None
    }

    /// Clones the request, so that every attempt has the same body and headers, `Idempotency-Key` included.
    fn clone_request(&mut self, exchange: &UpstreamRequest) -> Option<UpstreamRequest> {
        if self.attempts == 0 {
            self.retries.budget.deposit();
        }
        self.attempts += 1;
        // Also for the last attempt: without a clone tower does not call `retry`.
        (self.retries.max_attempts > 1).then(|| exchange.clone())
    }
}

#[cfg(test)]
mod tests;
