//! The circuit breaker's arithmetic: when an upstream that fails is left alone, and when it is tried again. No clock,
//! no lock, no randomness: what it needs is an argument.

use std::time::Duration;

use tokio::time::Instant;

use crate::settings::Circuit;

/// Parts of the window that are forgotten one after the other.
const SLOTS: u64 = 10;
/// The share of the pause by which it may be longer, so that many gateways do not come back together.
const JITTER: f64 = 0.1;

/// What a call says about the vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It answered.
    Good,
    /// It failed.
    Bad,
    /// It answered that it wants fewer requests: neither good nor bad, but alive.
    Limited,
    /// Nothing: the call did not get so far, or nobody waited for its end.
    Nothing,
}

/// OpenReason the upstream is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenReason {
    /// It failed too often.
    Failing,
    /// It asked for it with a 503.
    Unavailable,
    /// It asked for it with a 429.
    RateLimited,
}

/// No call now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) why: OpenReason,
    /// When to come back.
    pub(super) wait: Duration,
}

/// What the machine does just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitState {
    /// Calls go through.
    Closed,
    /// Calls are refused.
    Open,
    /// One call at a time is let through to see.
    HalfOpen,
}

/// A call was let through. A ticket from before the last change of state says nothing about the state after it.
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
    /// Rises with every change of state.
    era: u64,
    /// Failures without a success between them.
    streak: u32,
    window: Window,
    /// How long it was open the last time.
    penalty: Option<Duration>,
    /// Until when the vendor asked to be left alone.
    held: Option<(Instant, OpenReason)>,
    /// How often it asked without a success between.
    asked: u32,
}

impl Breaker {
    pub(super) fn new(rules: Circuit, now: Instant) -> Self {
        Breaker {
            rules,
            state: State::Closed { since: now },
            era: 0,
            streak: 0,
            window: Window::new(rules.window, now),
            penalty: None,
            held: None,
            asked: 0,
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

    /// Asks for a call. Whoever gets a ticket says in the end what became of it. A pause that the vendor asked for is
    /// not for who was honors_retry_after: others were told of a later time, but this one waited for its own.
    pub(super) fn admit(&mut self, now: Instant, honors_retry_after: bool) -> Result<Admission, Refused> {
        if let Some((until, why)) = self.held.filter(|_| !honors_retry_after) {
            if now < until {
                return Err(Refused { why, wait: until - now });
            }
            // The vendor named the moment: from then on it is asked as before, not tried out.
            self.held = None;
        }
        match &mut self.state {
            State::Closed { .. } => {}
            State::Open { until } if now < *until => {
                return Err(Refused { why: OpenReason::Failing, wait: *until - now });
            }
            State::Open { .. } => self.change(State::HalfOpen { probing: true }),
            State::HalfOpen { probing: true } => {
                return Err(Refused { why: OpenReason::Failing, wait: Duration::ZERO });
            }
            State::HalfOpen { probing } => *probing = true,
        }
        Ok(Admission(self.era))
    }

    /// The vendor asked to be left alone for so long; `open_for_max` is the most that it gets. It speaks to whoever it
    /// answers: only when it has said so to `failures` requests in a row is it taken to mean everybody.
    pub(super) fn hold(&mut self, now: Instant, wait: Duration, why: OpenReason) {
        self.asked = self.asked.saturating_add(1);
        let until = now + wait.min(self.rules.open_for_max);
        let means_everybody = self.rules.failures > 0 && self.asked >= self.rules.failures;
        if means_everybody && self.held.is_none_or(|(other, _)| other < until) {
            self.held = Some((until, why));
        }
    }

    /// Takes the end of a call; `jitter` is a random number from 0 to 1. Says for how long the circuit opened, if it
    /// did.
    pub(super) fn record(
        &mut self,
        now: Instant,
        ticket: Admission,
        verdict: Verdict,
        jitter: f64,
    ) -> Option<Duration> {
        if ticket != Admission(self.era) {
            return None;
        }
        if verdict == Verdict::Good {
            self.asked = 0;
        }
        match (&mut self.state, verdict) {
            (State::HalfOpen { probing }, Verdict::Nothing) => *probing = false,
            (State::HalfOpen { .. }, Verdict::Bad) => return Some(self.open(now, true, jitter)),
            (State::HalfOpen { .. }, Verdict::Good | Verdict::Limited) => self.close(now),
            (State::Closed { .. }, Verdict::Good) => {
                self.streak = 0;
                self.window.add(now, true);
            }
            (State::Closed { since }, Verdict::Bad) => {
                self.streak = self.streak.saturating_add(1);
                let soon = now - *since < self.rules.window;
                self.window.add(now, false);
                if self.trips() {
                    return Some(self.open(now, soon, jitter));
                }
            }
            (State::Closed { .. }, Verdict::Limited | Verdict::Nothing) | (State::Open { .. }, _) => {}
        }
        None
    }

    fn trips(&self) -> bool {
        let (good, all) = self.window.sums();
        (self.rules.failures > 0 && self.streak >= self.rules.failures)
            || (all >= u64::from(self.rules.min_requests)
                && (good as f64) < self.rules.success_rate * all as f64)
    }

    /// Opens, for twice as long as the last time if that was not long ago: an upstream that comes and goes is not
    /// taken for a new one each time.
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
        self.streak = 0;
        self.window = Window::new(self.rules.window, now);
        self.change(State::Closed { since: now });
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.era += 1;
    }
}

/// Counts of the last while.
#[derive(Debug)]
struct Window {
    start: Instant,
    slot: Duration,
    /// The slot of the last addition, counted from the start.
    at: u64,
    /// Good and bad; the slot's number modulo their count is the place.
    slots: [(u32, u32); SLOTS as usize],
}

impl Window {
    fn new(length: Duration, start: Instant) -> Self {
        let slot = (length / SLOTS as u32).max(Duration::from_nanos(1));
        Window { start, slot, at: 0, slots: [(0, 0); SLOTS as usize] }
    }

    fn add(&mut self, now: Instant, good: bool) {
        let at = (now - self.start).as_nanos() / self.slot.as_nanos();
        let at = u64::try_from(at).unwrap_or(u64::MAX).max(self.at);
        for gone in (self.at + 1..=at).take(SLOTS as usize) {
            if let Some(slot) = self.slots.get_mut((gone % SLOTS) as usize) {
                *slot = (0, 0);
            }
        }
        self.at = at;
        if let Some((goods, bads)) = self.slots.get_mut((at % SLOTS) as usize) {
            let count = if good { goods } else { bads };
            *count = count.saturating_add(1);
        }
    }

    /// Good ones, and all.
    fn sums(&self) -> (u64, u64) {
        self.slots.iter().fold((0, 0), |(goods, all), (good, bad)| {
            (goods + u64::from(*good), all + u64::from(*good) + u64::from(*bad))
        })
    }
}

#[cfg(test)]
mod tests;
