//! State machine of the circuit breaker: opens after failures, and tries again after a pause. Pure: time and jitter are
//! arguments.

use std::time::Duration;

use tokio::time::Instant;

use crate::settings::Circuit;

/// Number of slots of the sliding window.
const SLOTS: u64 = 10;
/// Maximum jitter as a fraction of the pause, so that many gateways do not try again at the same time.
const JITTER: f64 = 0.1;

/// Judgement of a call's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The vendor answered.
    Success,
    /// The vendor failed.
    Failure,
    /// The vendor answered 429: it works, and is not counted.
    RateLimited,
    /// The call says nothing about the vendor: it was not sent, or was cancelled.
    Ignored,
}

/// Reason for refusing calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenReason {
    /// The vendor failed too often.
    Failing,
    /// The vendor answered 503 with `Retry-After`.
    Unavailable,
    /// The vendor answered 429 with `Retry-After`.
    RateLimited,
}

/// Refusal of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) reason: OpenReason,
    /// Time until the next call may be admitted.
    pub(super) wait: Duration,
}

/// State of a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitState {
    /// Calls are admitted.
    Closed,
    /// Calls are refused.
    Open,
    /// One call at a time is admitted as a probe.
    HalfOpen,
}

/// An admitted call. Its outcome is ignored if the state has changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admission(u64);

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { since: Instant },
    Open { until: Instant },
    HalfOpen { probing: bool },
}

#[derive(Debug)]
pub(super) struct Breaker {
    rules: Circuit,
    state: State,
    /// Number of changes of state.
    epoch: u64,
    /// Consecutive failures.
    failures: u32,
    window: Window,
    /// Last pause, without its jitter.
    penalty: Option<Duration>,
    /// End and reason of a pause that the vendor asked for.
    held: Option<(Instant, OpenReason)>,
    /// Consecutive responses with `Retry-After`.
    holds: u32,
}

impl Breaker {
    pub(super) fn new(rules: Circuit, now: Instant) -> Self {
        Breaker {
            rules,
            state: State::Closed { since: now },
            epoch: 0,
            failures: 0,
            window: Window::new(rules.window, now),
            penalty: None,
            held: None,
            holds: 0,
        }
    }

    pub(super) fn state(&self, now: Instant) -> CircuitState {
        match self.state {
            _ if self.held.is_some_and(|(until, _)| now < until) => CircuitState::Open,
            State::Closed { .. } => CircuitState::Closed,
            State::Open { until } if now < until => CircuitState::Open,
            State::Open { .. } | State::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }

    /// Requests admission. The holder must report the outcome. `honors_retry_after` skips a pause that the vendor asked
    /// for, because this request already waited for its own.
    pub(super) fn admit(&mut self, now: Instant, honors_retry_after: bool) -> Result<Admission, Refused> {
        if let Some((until, reason)) = self.held.filter(|_| !honors_retry_after) {
            if now < until {
                return Err(Refused { reason, wait: until - now });
            }
            // The vendor named the end of its pause, so no probe is needed.
            self.held = None;
        }
        match &mut self.state {
            State::Closed { .. } => {}
            State::Open { until } if now < *until => {
                return Err(Refused { reason: OpenReason::Failing, wait: *until - now });
            }
            State::Open { .. } => self.change(State::HalfOpen { probing: true }),
            State::HalfOpen { probing: true } => {
                return Err(Refused { reason: OpenReason::Failing, wait: Duration::ZERO });
            }
            State::HalfOpen { probing } => *probing = true,
        }
        Ok(Admission(self.epoch))
    }

    /// Pauses for the vendor's `Retry-After`, at most `open_for_max`, once `failures` consecutive responses had one: a
    /// single one may be meant for its request only.
    pub(super) fn hold(&mut self, now: Instant, wait: Duration, reason: OpenReason) {
        self.holds = self.holds.saturating_add(1);
        let until = now + wait.min(self.rules.open_for_max);
        let is_general = self.rules.failures > 0 && self.holds >= self.rules.failures;
        if is_general && self.held.is_none_or(|(other, _)| other < until) {
            self.held = Some((until, reason));
        }
    }

    /// Records the outcome of a call; `jitter` is a random number from 0 to 1. Returns the pause if the circuit opens.
    pub(super) fn record(
        &mut self,
        now: Instant,
        admission: Admission,
        verdict: Verdict,
        jitter: f64,
    ) -> Option<Duration> {
        if admission != Admission(self.epoch) {
            return None;
        }
        if verdict == Verdict::Success {
            self.holds = 0;
        }
        match (&mut self.state, verdict) {
            (State::HalfOpen { probing }, Verdict::Ignored) => *probing = false,
            (State::HalfOpen { .. }, Verdict::Failure) => return Some(self.open(now, true, jitter)),
            (State::HalfOpen { .. }, Verdict::Success | Verdict::RateLimited) => self.close(now),
            (State::Closed { .. }, Verdict::Success) => {
                self.failures = 0;
                self.window.add(now, true);
            }
            (State::Closed { since }, Verdict::Failure) => {
                self.failures = self.failures.saturating_add(1);
                let again = now - *since < self.rules.window;
                self.window.add(now, false);
                if self.is_tripped() {
                    return Some(self.open(now, again, jitter));
                }
            }
            (State::Closed { .. }, Verdict::RateLimited | Verdict::Ignored) | (State::Open { .. }, _) => {}
        }
        None
    }

    fn is_tripped(&self) -> bool {
        let (successes, all) = self.window.sums();
        (self.rules.failures > 0 && self.failures >= self.rules.failures)
            || (all >= u64::from(self.rules.min_requests)
                && (successes as f64) < self.rules.success_rate * all as f64)
    }

    /// Opens; `again` doubles the last pause, so that a vendor that keeps failing is tried less often.
    fn open(&mut self, now: Instant, again: bool, jitter: f64) -> Duration {
        let penalty = match self.penalty {
            Some(last) if again => (last * 2).min(self.rules.open_for_max),
            _ => self.rules.open_for,
        };
        self.penalty = Some(penalty);
        let pause = penalty + penalty.mul_f64(JITTER * jitter);
        self.change(State::Open { until: now + pause });
        pause
    }

    fn close(&mut self, now: Instant) {
        self.failures = 0;
        self.window = Window::new(self.rules.window, now);
        self.change(State::Closed { since: now });
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}

/// Counts of a sliding window of time.
#[derive(Debug)]
struct Window {
    start: Instant,
    slot: Duration,
    /// Number of the newest slot, counted from the start.
    at: u64,
    /// Successes and failures; a slot's index is its number modulo [`SLOTS`].
    slots: [(u32, u32); SLOTS as usize],
}

impl Window {
    fn new(length: Duration, start: Instant) -> Self {
        let slot = (length / SLOTS as u32).max(Duration::from_nanos(1));
        Window { start, slot, at: 0, slots: [(0, 0); SLOTS as usize] }
    }

    fn add(&mut self, now: Instant, success: bool) {
        let at = (now - self.start).as_nanos() / self.slot.as_nanos();
        let at = u64::try_from(at).unwrap_or(u64::MAX).max(self.at);
        for expired in (self.at + 1..=at).take(SLOTS as usize) {
            if let Some(slot) = self.slots.get_mut((expired % SLOTS) as usize) {
                *slot = (0, 0);
            }
        }
        self.at = at;
        if let Some((successes, failures)) = self.slots.get_mut((at % SLOTS) as usize) {
            let count = if success { successes } else { failures };
            *count = count.saturating_add(1);
        }
    }

    /// Numbers of successes and of all calls.
    fn sums(&self) -> (u64, u64) {
        self.slots.iter().fold((0, 0), |(successes, all), (success, failure)| {
            (successes + u64::from(*success), all + u64::from(*success) + u64::from(*failure))
        })
    }
}

#[cfg(test)]
mod tests;
