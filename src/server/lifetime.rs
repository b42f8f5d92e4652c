//! Lifetime of a connection: it ends when it is idle, too old, or its listener stops.

use std::time::{Duration, Instant};

use super::activity::ConnectionActivity;
use super::{Limits, Phase};

/// Time for which an idle HTTP/1 connection stays open after the listener stops. A request that is in transit when its
/// connection is closed would be lost.
const TRANSIT_GRACE: Duration = Duration::from_millis(250);
/// Time limit on the peer's reaction to a graceful close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Next step with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Call again at this time.
    Wait(Instant),
    /// Close it gracefully, and call again.
    Close,
    /// Drop it.
    Drop,
}

/// Lifetime of one connection. A function of time: it reads no clock.
#[derive(Debug)]
pub(super) struct Lifetime {
    idle_timeout: Duration,
    /// Time from which the connection is too old.
    max_age_at: Instant,
    /// Time at which the listener was first seen stopping.
    stopping: Option<Instant>,
    /// Start of the graceful close, and its time limit once no request runs.
    closing: Option<(Instant, Duration)>,
}

impl Lifetime {
    /// Creates the lifetime of a connection. `jitter` shortens its maximum age by up to a tenth, so that connections that
    /// started together do not end together.
    pub(super) fn new(limits: &Limits, started: Instant, jitter: u8) -> Self {
        let share = 0.9 + 0.1 * f64::from(jitter) / 255.0;
        Lifetime {
            idle_timeout: limits.idle_timeout,
            max_age_at: started + limits.max_age.mul_f64(share),
            stopping: None,
            closing: None,
        }
    }

    /// Returns the next step.
    pub(super) fn step(&mut self, activity: &ConnectionActivity, phase: Phase, now: Instant) -> Action {
        let old = now >= self.max_age_at;
        if phase >= Phase::Leaving || old {
            activity.set_last();
        }
        let stopping = (phase == Phase::Stopping).then(|| *self.stopping.get_or_insert(now));
        let (busy, idle_since) = (activity.busy(), activity.idle_since());
        if let Some((since, timeout)) = self.closing {
            let timeout = if stopping.is_some() { timeout.min(CLOSE_TIMEOUT) } else { timeout };
            let due = if busy { now + timeout } else { idle_since.max(since) + timeout };
            return if due <= now { Action::Drop } else { Action::Wait(due) };
        }
        // GOAWAY loses no request: it names the last one that was accepted.
        if activity.http2() && (stopping.is_some() || old) {
            let timeout = if stopping.is_some() { CLOSE_TIMEOUT } else { self.idle_timeout };
            return self.close(now, timeout);
        }
        let due = match stopping {
            Some(_) if busy => now + TRANSIT_GRACE,
            Some(since) => since.max(idle_since) + TRANSIT_GRACE,
            None if busy => now + self.idle_timeout,
            None => idle_since + self.idle_timeout,
        };
        if due <= now {
            return self.close(now, CLOSE_TIMEOUT);
        }
        Action::Wait(if old { due } else { due.min(self.max_age_at) })
    }

    fn close(&mut self, now: Instant, timeout: Duration) -> Action {
        self.closing = Some((now, timeout));
        Action::Close
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lifetime() -> (Lifetime, ConnectionActivity, Instant) {
        let activity = ConnectionActivity::new();
        let started = activity.started();
        let limits = Limits {
            header_timeout: 5 * SECOND,
            idle_timeout: 60 * SECOND,
            max_age: 600 * SECOND,
            max_connections: 1,
            grace: 25 * SECOND,
        };
        (Lifetime::new(&limits, started, 255), activity, started)
    }

    #[test]
    fn an_idle_connection_ends_after_its_time_and_a_silent_peer_is_not_waited_for() {
        let (mut lifetime, activity, started) = lifetime();
        assert_eq!(lifetime.step(&activity, Phase::Serving, started), Action::Wait(started + 60 * SECOND));
        let at = started + 60 * SECOND;
        assert_eq!(lifetime.step(&activity, Phase::Serving, at), Action::Close);
        assert_eq!(lifetime.step(&activity, Phase::Serving, at + SECOND), Action::Wait(at + CLOSE_TIMEOUT));
        assert_eq!(lifetime.step(&activity, Phase::Serving, at + CLOSE_TIMEOUT), Action::Drop);
    }

    #[test]
    fn an_old_http2_connection_is_ended_and_an_old_http1_connection_says_so_in_its_next_answer() {
        let (mut lifetime, activity, started) = lifetime();
        let at = started + 600 * SECOND;
        activity.set_http2();
        assert_eq!(lifetime.step(&activity, Phase::Serving, at), Action::Close);
        assert_eq!(lifetime.step(&activity, Phase::Serving, at), Action::Wait(at + 60 * SECOND));
        let (mut lifetime, activity, started) = self::lifetime();
        // Its latest request came just before it became too old.
        let just_now = started + 599 * SECOND;
        activity.set_idle_since(just_now);
        assert_eq!(lifetime.step(&activity, Phase::Serving, just_now), Action::Wait(started + 600 * SECOND));
        assert!(!activity.last());
        let at = started + 600 * SECOND;
        assert_eq!(lifetime.step(&activity, Phase::Serving, at), Action::Wait(just_now + 60 * SECOND));
        assert!(activity.last());
    }

    #[test]
    fn leaving_marks_answers_and_stopping_closes_what_is_idle_but_not_at_once() {
        let (mut lifetime, activity, started) = lifetime();
        let at = started + SECOND;
        assert_eq!(lifetime.step(&activity, Phase::Leaving, at), Action::Wait(started + 60 * SECOND));
        assert!(activity.last());
        assert_eq!(lifetime.step(&activity, Phase::Stopping, at), Action::Wait(at + TRANSIT_GRACE));
        let at = at + TRANSIT_GRACE;
        assert_eq!(lifetime.step(&activity, Phase::Stopping, at), Action::Close);
        assert_eq!(lifetime.step(&activity, Phase::Stopping, at + CLOSE_TIMEOUT), Action::Drop);
    }

    #[test]
    fn stopping_ends_http2_at_once_and_gently() {
        let (mut lifetime, activity, started) = lifetime();
        activity.set_http2();
        assert_eq!(lifetime.step(&activity, Phase::Stopping, started), Action::Close);
        assert_eq!(lifetime.step(&activity, Phase::Stopping, started), Action::Wait(started + CLOSE_TIMEOUT));
    }

    #[test]
    fn ages_are_spread_over_a_tenth() {
        let (_, activity, started) = lifetime();
        let limits = |max_age| Limits {
            header_timeout: SECOND,
            idle_timeout: SECOND,
            max_age,
            max_connections: 1,
            grace: SECOND,
        };
        assert_eq!(
            Lifetime::new(&limits(100 * SECOND), activity.started(), 255).max_age_at,
            started + 100 * SECOND
        );
        assert_eq!(
            Lifetime::new(&limits(100 * SECOND), activity.started(), 0).max_age_at,
            started + 90 * SECOND
        );
    }
}
