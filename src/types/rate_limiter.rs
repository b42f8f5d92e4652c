//! A limit of requests over time that refuses with the exact wait (the generic cell rate algorithm).

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter as Governor};
use tokio::time::Instant;

/// A burst of `requests` at once, then one request for each equal share of the period.
#[derive(Debug)]
pub struct RateLimiter(Governor<NotKeyed, InMemoryState, RuntimeClock, NoOpMiddleware<Nanos>>);

impl RateLimiter {
    /// A limiter of `requests` in each period `per`; zero counts as one.
    pub fn new(requests: u32, per: Duration) -> Self {
        let burst = NonZeroU32::new(requests).unwrap_or(NonZeroU32::MIN);
        // No caller reaches one request per nanosecond.
        let share = (per / burst.get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(share).unwrap_or(Quota::per_second(burst)).allow_burst(burst);
        RateLimiter(Governor::direct_with_clock(quota, RuntimeClock(Instant::now())))
    }

    /// Admits one request.
    ///
    /// # Errors
    /// The time until the next request is admitted.
    pub fn check(&self) -> Result<(), Duration> {
        self.0.check().map_err(|refused| refused.wait_time_from(self.0.clock().now()))
    }
}

/// Time since the limiter was made, by the runtime's clock, which tests can pause.
#[derive(Debug, Clone)]
struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}
