//! How much may be repeated: a share of the requests, and a little in any case. Without it a vendor that is down gets
//! several times its usual load just when it can bear none.
//!
//! (`tower::retry::budget::TpsBudget` lets up to twice its floor through, because its slots may be skipped.)

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What one request adds: a fifth of an attempt.
const SHARE: f64 = 0.2;
/// Attempts in a second, and at once after a quiet while, that are always allowed.
const FLOOR: f64 = 10.0;
/// The most that requests can save up, for when many connections break together.
const SAVED: f64 = 100.0;

/// One upstream's budget.
#[derive(Debug)]
pub(super) struct RetryBudget(Mutex<Tokens>);

#[derive(Debug)]
struct Tokens {
    left: f64,
    at: Instant,
}

impl Tokens {
    fn refill(&mut self, now: Instant) {
        let passed: Duration = now.saturating_duration_since(self.at);
        self.at = now;
        if self.left < FLOOR {
            self.left = (self.left + passed.as_secs_f64() * FLOOR).min(FLOOR);
        }
    }
}

impl RetryBudget {
    pub(super) fn new(now: Instant) -> Self {
        RetryBudget(Mutex::new(Tokens { left: FLOOR, at: now }))
    }

    /// A request came.
    pub(super) fn deposit(&self) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.left = (tokens.left + SHARE).min(SAVED);
    }

    /// Attempts that could be made now.
    pub(super) fn left(&self, now: Instant) -> u64 {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.refill(now);
        tokens.left as u64
    }

    /// Whether one more attempt may be made; if so it is paid for.
    pub(super) fn withdraw(&self, now: Instant) -> bool {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.refill(now);
        let enough = tokens.left >= 1.0;
        if enough {
            tokens.left -= 1.0;
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
        assert_eq!(budget.left(start), 10);
        assert_eq!(spend(start), 10);
        assert_eq!(budget.left(start), 0);
        assert_eq!(spend(start + Duration::from_millis(500)), 5);
        assert_eq!(spend(start + Duration::from_secs(3600)), 10, "a quiet while is not saved up");
        (0..50).for_each(|_| budget.deposit());
        assert!((9..=10).contains(&spend(start + Duration::from_secs(3600))));
        (0..10_000).for_each(|_| budget.deposit());
        assert!((99..=100).contains(&spend(start + Duration::from_secs(3600))));
    }

    proptest! {
        /// However requests and attempts follow each other.
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
                let most = SHARE * requests as f64 + FLOOR * ((now - start).as_secs_f64() + 1.0);
                prop_assert!(repeated as f64 <= most + 1e-6, "{} of at most {}", repeated, most);
            }
        }
    }
}
