//! Which attempts are worth another, and when.
//!
//! | came to nothing because of | another attempt |
//! | --- | --- |
//! | connecting, or the connection broke before the request was sent | yes |
//! | 429 or 503 with a `Retry-After` that fits the deadline | after that time |
//! | an outcome that is unknown: broken or not HTTP after sending, 5xx | where `retry_unknown` says so, and for reads |
//! | anything else: refused by the vendor, applied but unreadable, refused by the gateway itself | no |

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

/// The first pause is at most this long, each further one at most twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// RetryReason an attempt is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RetryReason {
    Unsent,
    Asked(Duration),
    Unknown,
}

/// How often each reason led to another attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetryStats {
    /// Nothing had been sent.
    pub unsent: u64,
    /// The vendor had named a time to come back.
    pub asked: u64,
    /// The outcome was not known.
    pub unknown: u64,
    /// There would have been another attempt, had the budget allowed it.
    pub over_budget: u64,
}

/// One upstream's rules, budget and counters.
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

    /// Further attempts that could be made just now.
    pub(super) fn budget(&self) -> u64 {
        self.budget.left(Instant::now())
    }

    fn reason(&self, safe: bool, result: &Result<Reply, TransportError>) -> Option<RetryReason> {
        // A read changes nothing, however often it is done.
        let retry_unknown = self.retry_unknown || safe;
        match result {
            Err(trouble) => match (trouble.applied, trouble.kind) {
                (Applied::No, TransportErrorKind::Unreachable | TransportErrorKind::Timeout) => {
                    Some(RetryReason::Unsent)
                }
                (Applied::Unknown, _) if retry_unknown => Some(RetryReason::Unknown),
                _ => None,
            },
            Ok(reply) => {
                let status = reply.status();
                if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
                    && let Some(seconds) = retry_after::seconds(reply.response.headers())
                {
                    return Some(RetryReason::Asked(Duration::from_secs(seconds)));
                }
                (retry_unknown && status.is_server_error()).then_some(RetryReason::Unknown)
            }
        }
    }
}

/// The policy of one exchange: tower makes a copy for each.
#[derive(Debug, Clone)]
pub(super) struct Policy<'a> {
    retries: &'a Retries,
    /// Attempts made.
    attempts: u32,
    /// One of them may have been applied.
    maybe_applied: bool,
}

impl<'a> Policy<'a> {
    pub(super) fn new(retries: &'a Retries) -> Self {
        Policy { retries, attempts: 0, maybe_applied: false }
    }

    /// How long to wait before another attempt, if there is to be one.
    fn pause(
        &mut self,
        exchange: &mut UpstreamRequest,
        result: &Result<Reply, TransportError>,
    ) -> Option<Duration> {
        let why = self.retries.reason(exchange.request.method().is_safe(), result)?;
        if self.attempts >= self.retries.max_attempts {
            return None;
        }
        let jitter =
            (FIRST_PAUSE * 2u32.saturating_pow(self.attempts.saturating_sub(1))).mul_f64(fastrand::f64());
        let pause = match why {
            RetryReason::Asked(wait) => wait + jitter,
            RetryReason::Unsent | RetryReason::Unknown => jitter,
        };
        // A wait that would pass the deadline is not begun.
        let now = Instant::now();
        if exchange.deadline.expired().is_some() || now + pause >= exchange.deadline.at().into() {
            return None;
        }
        if !self.retries.budget.withdraw(now) {
            self.retries.over_budget.fetch_add(1, Relaxed);
            return None;
        }
        let count = match why {
            RetryReason::Unsent => &self.retries.unsent,
            RetryReason::Asked(_) => &self.retries.asked,
            RetryReason::Unknown => &self.retries.unknown,
        };
        count.fetch_add(1, Relaxed);
        exchange.honors_retry_after = matches!(why, RetryReason::Asked(_));
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
                    Err(trouble) => trouble.applied == Applied::Unknown,
                };
            let deadline = exchange.deadline.clone();
            // Cut off, the pause ends at once, and so does the attempt after it.
            return Some(Box::pin(async move { _ = deadline.within(tokio::time::sleep(pause)).await }));
        }
        // What the last attempt says of itself must not hide what an earlier one may have done.
        if self.maybe_applied {
            match result {
                Err(trouble) if trouble.applied == Applied::No => {
                    trouble.applied = Applied::Unknown;
                    trouble.detail.push_str(" An earlier attempt may have been applied.");
                }
                Ok(reply) if !reply.status().is_success() => {
                    reply.maybe_applied = true;
                }
                _ => {}
            }
        }
        None
    }

    /// The same bytes and the same headers for every attempt, `Idempotency-Key` included.
    fn clone_request(&mut self, exchange: &UpstreamRequest) -> Option<UpstreamRequest> {
        if self.attempts == 0 {
            self.retries.budget.deposit();
        }
        self.attempts += 1;
        // The last attempt keeps a copy too, or tower would not show its result to this policy.
        (self.retries.max_attempts > 1).then(|| exchange.clone())
    }
}

#[cfg(test)]
mod tests;
