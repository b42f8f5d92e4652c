//! When a connection is to end: idle, too old, or because the listener stops.

use std::time::{Duration, Instant};

use super::activity::ConnectionActivity;
use super::{Limits, Phase};

/// How long an idle HTTP/1 connection is kept once the listener stops: a request that is on its way when the
/// connection is closed would be lost.
const LAST_CALL: Duration = Duration::from_millis(250);
/// How long a peer has to agree to the end of an idle connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// What to do with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Ask again then.
    Wait(Instant),
    /// Close it gracefully, and call again.
    Close,
    /// End it.
    Drop,
}

/// Watches over one connection. It has no clock of its own.
#[derive(Debug)]
pub(super) struct Lifetime {
    idle_timeout: Duration,
    /// When the connection has become too old.
    old: Instant,
    /// Since when the listener stops.
    stopping: Option<Instant>,
    /// Since when the connection is being ended, and how long that may take once nothing runs on it.
    closing: Option<(Instant, Duration)>,
}

impl Lifetime {
    /// `jitter_seed` is from 0 to 255: it spreads the ends of connections that began together.
    pub(super) fn new(limits: &Limits, started: Instant, jitter_seed: u8) -> Self {
        let share = 0.9 + 0.1 * f64::from(jitter_seed) / 255.0;
        Lifetime {
            idle_timeout: limits.idle_timeout,
            old: started + limits.max_age.mul_f64(share),
            stopping: None,
            closing: None,
        }
    }

    /// What to do now.
    pub(super) fn step(&mut self, activity: &ConnectionActivity, phase: Phase, now: Instant) -> Action {
        let old = now >= self.old;
        if phase >= Phase::Leaving || old {
            activity.set_last();
        }
        let stopping = (phase == Phase::Stopping).then(|| *self.stopping.get_or_insert(now));
        let (busy, idle_since) = (activity.busy(), activity.idle_since());
        if let Some((since, patience)) = self.closing {
            let patience = if stopping.is_some() { patience.min(PATIENCE) } else { patience };
            let due = if busy { now + patience } else { idle_since.max(since) + patience };
            return if due <= now { Action::Drop } else { Action::Wait(due) };
        }
        // GOAWAY loses nothing: the peer learns which requests were taken.
        if activity.http2() && (stopping.is_some() || old) {
            let patience = if stopping.is_some() { PATIENCE } else { self.idle_timeout };
            return self.close(now, patience);
        }
        let due = match stopping {
            Some(_) if busy => now + LAST_CALL,
            Some(since) => since.max(idle_since) + LAST_CALL,
            None if busy => now + self.idle_timeout,
            None => idle_since + self.idle_timeout,
        };
        if due <= now {
            return self.close(now, PATIENCE);
        }
        Action::Wait(if old { due } else { due.min(self.old) })
    }

    fn close(&mut self, now: Instant, patience: Duration) -> Action {
        self.closing = Some((now, patience));
        Action::Close
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn watch() -> (Lifetime, ConnectionActivity, Instant) {
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
        let (mut watch, activity, started) = watch();
        assert_eq!(watch.step(&activity, Phase::Serving, started), Action::Wait(started + 60 * SECOND));
        let at = started + 60 * SECOND;
        assert_eq!(watch.step(&activity, Phase::Serving, at), Action::Close);
        assert_eq!(watch.step(&activity, Phase::Serving, at + SECOND), Action::Wait(at + PATIENCE));
        assert_eq!(watch.step(&activity, Phase::Serving, at + PATIENCE), Action::Drop);
    }

    #[test]
    fn an_old_http2_connection_is_ended_and_an_old_http1_connection_says_so_in_its_next_answer() {
        let (mut watch, activity, started) = watch();
        let at = started + 600 * SECOND;
        activity.set_http2();
        assert_eq!(watch.step(&activity, Phase::Serving, at), Action::Close);
        assert_eq!(watch.step(&activity, Phase::Serving, at), Action::Wait(at + 60 * SECOND));
        let (mut watch, activity, started) = self::watch();
        // It asked something just before it became too old.
        let just_now = started + 599 * SECOND;
        activity.set_idle_since(just_now);
        assert_eq!(watch.step(&activity, Phase::Serving, just_now), Action::Wait(started + 600 * SECOND));
        assert!(!activity.last());
        let at = started + 600 * SECOND;
        assert_eq!(watch.step(&activity, Phase::Serving, at), Action::Wait(just_now + 60 * SECOND));
        assert!(activity.last());
    }

    #[test]
    fn leaving_marks_answers_and_stopping_closes_what_is_idle_but_not_at_once() {
        let (mut watch, activity, started) = watch();
        let at = started + SECOND;
        assert_eq!(watch.step(&activity, Phase::Leaving, at), Action::Wait(started + 60 * SECOND));
        assert!(activity.last());
        assert_eq!(watch.step(&activity, Phase::Stopping, at), Action::Wait(at + LAST_CALL));
        let at = at + LAST_CALL;
        assert_eq!(watch.step(&activity, Phase::Stopping, at), Action::Close);
        assert_eq!(watch.step(&activity, Phase::Stopping, at + PATIENCE), Action::Drop);
    }

    #[test]
    fn stopping_ends_http2_at_once_and_gently() {
        let (mut watch, activity, started) = watch();
        activity.set_http2();
        assert_eq!(watch.step(&activity, Phase::Stopping, started), Action::Close);
        assert_eq!(watch.step(&activity, Phase::Stopping, started), Action::Wait(started + PATIENCE));
    }

    #[test]
    fn ages_are_spread_over_a_tenth() {
        let (_, activity, started) = watch();
        let limits = |max_age| Limits {
            header_timeout: SECOND,
            idle_timeout: SECOND,
            max_age,
            max_connections: 1,
            grace: SECOND,
        };
        assert_eq!(Lifetime::new(&limits(100 * SECOND), activity.started(), 255).old, started + 100 * SECOND);
        assert_eq!(Lifetime::new(&limits(100 * SECOND), activity.started(), 0).old, started + 90 * SECOND);
    }
}
