//! Retry budget: limits retries to a fraction of requests plus a fixed reserve (Finagle's design), so that a failing
//! vendor does not get a multiple of its usual load.
//!
//! `tower::retry::budget::TpsBudget` admits up to twice its reserve, because its slots may be skipped.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Retries added by each request.
const PER_REQUEST: f64 = 0.2;
/// Retries per second that are always allowed, and the burst of them.
const RESERVE: f64 = 10.0;
/// Maximum of retries that requests save up, for many connections that break together.
const MAX_SAVED: f64 = 100.0;

/// Retry budget of one upstream.
#[derive(Debug)]
pub(super) struct RetryBudget(Mutex<Tokens>);

#[derive(Debug)]
struct Tokens {
    available: f64,
    refilled: Instant,
}

impl Tokens {
    fn refill(&mut self, now: Instant) {
        let passed: Duration = now.saturating_duration_since(self.refilled);
        self.refilled = now;
        if self.available < RESERVE {
            self.available = (self.available + passed.as_secs_f64() * RESERVE).min(RESERVE);
        }
    }
}

impl RetryBudget {
    pub(super) fn new(now: Instant) -> Self {
        RetryBudget(Mutex::new(Tokens { available: RESERVE, refilled: now }))
    }

    /// Adds one request's share.
    pub(super) fn deposit(&self) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.available = (tokens.available + PER_REQUEST).min(MAX_SAVED);
    }

    /// Number of retries that are allowed now.
    pub(super) fn available(&self, now: Instant) -> u64 {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.refill(now);
        tokens.available as u64
    }

    /// Takes one retry from the budget. Returns false if it is used up.
    pub(super) fn withdraw(&self, now: Instant) -> bool {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.refill(now);
        let enough = tokens.available >= 1.0;
        if enough {
            tokens.available -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_fifth_and_ten_a_second() {
        let start = Instant::now();
        let budget = RetryBudget::new(start);
        let spend = |now| (0..1_000).take_while(|_| budget.withdraw(now)).count();
        assert_eq!(budget.available(start), 10);
        assert_eq!(spend(start), 10);
        assert_eq!(budget.available(start), 0);
        assert_eq!(spend(start + Duration::from_millis(500)), 5);
        assert_eq!(spend(start + Duration::from_secs(3600)), 10, "a quiet while is not saved up");
        (0..50).for_each(|_| budget.deposit());
        assert!((9..=10).contains(&spend(start + Duration::from_secs(3600))));
        (0..10_000).for_each(|_| budget.deposit());
        assert!((99..=100).contains(&spend(start + Duration::from_secs(3600))));
    }

    proptest! {
        /// Holds for every order of requests and retries.
        #[test]
        fn never_more_than_promised(steps in vec((0u64..400, 0usize..9, 0usize..9), 1..200)) {
            let start = Instant::now();
            let (mut now, budget) = (start, RetryBudget::new(start));
            let (mut requests, mut repeated) = (0, 0);
            for (millis, came, wanted) in steps {
                now += Duration::from_millis(millis);
                (0..came).for_each(|_| budget.deposit());
                requests += came;
                repeated += (0..wanted).filter(|_| budget.withdraw(now)).count();
                let most = PER_REQUEST * requests as f64 + RESERVE * ((now - start).as_secs_f64() + 1.0);
                prop_assert!(repeated as f64 <= most + 1e-6, "{} of at most {}", repeated, most);
            }
        }
    }
}
