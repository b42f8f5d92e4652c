use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn rules() -> Circuit {
    Circuit {
        failures: 3,
        window: Duration::from_secs(10),
        min_requests: 6,
        success_rate: 0.5,
        open_for: Duration::from_secs(1),
        open_for_max: Duration::from_secs(5),
    }
}

/// A breaker, and a clock that moves by [`Bench::pass`] only.
struct Bench {
    breaker: Breaker,
    now: Instant,
}

impl Bench {
    fn new(rules: Circuit) -> Self {
        let now = Instant::now();
        Bench { breaker: Breaker::new(rules, now), now }
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    fn admit(&mut self) -> Result<Admission, Refused> {
        self.breaker.admit(self.now, false)
    }

    fn call(&mut self, verdict: Verdict) -> Option<Duration> {
        let admission = self.admit().expect("the call is let through");
        self.breaker.record(self.now, admission, verdict, 0.0)
    }

    fn state(&self) -> CircuitState {
        self.breaker.state(self.now)
    }
}

#[test]
fn failures_in_a_row_open_it_and_the_pause_doubles() {
    let mut bench = Bench::new(rules());
    assert_eq!(bench.call(Verdict::Failure), None);
    assert_eq!(bench.call(Verdict::Failure), None);
    assert_eq!(bench.call(Verdict::Success), None);
    assert_eq!(bench.call(Verdict::Failure), None);
    assert_eq!(bench.call(Verdict::Failure), None);
    assert_eq!(bench.call(Verdict::Failure), Some(Duration::from_secs(1)));
    bench.pass(400);
    assert_eq!(bench.admit(), Err(Refused { reason: OpenReason::Failing, wait: Duration::from_millis(600) }));
    for (pause, next) in [(1000, 2), (2000, 4), (4000, 5), (5000, 5)] {
        bench.pass(pause);
        assert_eq!(bench.state(), CircuitState::HalfOpen);
        assert_eq!(bench.call(Verdict::Failure), Some(Duration::from_secs(next)));
    }
    bench.pass(5000);
    bench.call(Verdict::Success);
    assert_eq!(bench.state(), CircuitState::Closed);
}

#[test]
fn an_upstream_that_comes_and_goes_pays_more_each_time() {
    let mut bench = Bench::new(rules());
    let fail = |bench: &mut Bench| (0..3).find_map(|_| bench.call(Verdict::Failure));
    assert_eq!(fail(&mut bench), Some(Duration::from_secs(1)));
    bench.pass(1000);
    bench.call(Verdict::Success);
    assert_eq!(fail(&mut bench), Some(Duration::from_secs(2)), "back within the window");
    bench.pass(2000);
    bench.call(Verdict::Success);
    bench.pass(10_000);
    assert_eq!(fail(&mut bench), Some(Duration::from_secs(1)), "good for a whole window");
}

#[test]
fn a_low_share_of_successes_opens_it() {
    let mut bench = Bench::new(Circuit { failures: 0, ..rules() });
    // A success rate of exactly one half is enough.
    for _ in 0..50 {
        assert_eq!(bench.call(Verdict::Success), None);
        assert_eq!(bench.call(Verdict::Failure), None);
    }
    assert!(bench.call(Verdict::Failure).is_some());

    let mut bench = Bench::new(Circuit { failures: 0, ..rules() });
    assert!((0..5).all(|_| bench.call(Verdict::Failure).is_none()), "too few to judge by");
    assert!(bench.call(Verdict::Failure).is_some());

    let mut bench = Bench::new(Circuit { failures: 0, ..rules() });
    for _ in 0..40 {
        bench.pass(2500);
        assert_eq!(bench.call(Verdict::Failure), None, "never six within ten seconds");
    }
}

#[test]
fn one_probe_at_a_time_and_none_is_lost() {
    let mut bench = Bench::new(rules());
    while bench.call(Verdict::Failure).is_none() {}
    bench.pass(1000);
    let probe = bench.admit().unwrap();
    assert_eq!(bench.admit(), Err(Refused { reason: OpenReason::Failing, wait: Duration::ZERO }));
    // The caller hung up: the next one is the probe.
    bench.breaker.record(bench.now, probe, Verdict::Ignored, 0.0);
    let probe = bench.admit().unwrap();
    assert!(bench.admit().is_err());
    // A vendor that limits its callers is alive.
    bench.breaker.record(bench.now, probe, Verdict::RateLimited, 0.0);
    assert_eq!(bench.state(), CircuitState::Closed);
}

#[test]
fn calls_from_before_say_nothing_about_after() {
    let mut bench = Bench::new(rules());
    let old: Vec<Admission> = (0..5).map(|_| bench.admit().unwrap()).collect();
    while bench.call(Verdict::Failure).is_none() {}
    bench.pass(1000);
    let probe = bench.admit().unwrap();
    for admission in old {
        assert_eq!(bench.breaker.record(bench.now, admission, Verdict::Failure, 0.0), None);
    }
    assert_eq!(bench.state(), CircuitState::HalfOpen);
    bench.breaker.record(bench.now, probe, Verdict::Success, 0.0);
    assert_eq!(bench.state(), CircuitState::Closed);
}

#[test]
fn the_vendors_own_pause_is_kept_and_ends_without_a_probe() {
    let mut bench = Bench::new(rules());
    for _ in 0..2 {
        bench.breaker.hold(bench.now, Duration::from_secs(2), OpenReason::RateLimited);
        assert!(bench.admit().is_ok(), "one or two responses do not open it");
    }
    bench.call(Verdict::Success);
    for _ in 0..2 {
        bench.breaker.hold(bench.now, Duration::from_secs(2), OpenReason::RateLimited);
        assert!(bench.admit().is_ok(), "a success between starts the count anew");
    }
    bench.breaker.hold(bench.now, Duration::from_secs(2), OpenReason::RateLimited);
    bench.breaker.hold(bench.now, Duration::from_secs(1), OpenReason::Unavailable);
    bench.pass(500);
    assert_eq!(
        bench.admit(),
        Err(Refused { reason: OpenReason::RateLimited, wait: Duration::from_millis(1500) })
    );
    assert_eq!(bench.state(), CircuitState::Open);
    assert!(bench.breaker.admit(bench.now, true).is_ok(), "it waited for a time of its own");
    assert!(bench.admit().is_err());
    bench.pass(1500);
    assert!((0..9).all(|_| bench.admit().is_ok()));
    // `open_for_max` bounds the vendor's pause.
    bench.breaker.hold(bench.now, Duration::from_secs(3600), OpenReason::RateLimited);
    bench.pass(5000);
    assert!(bench.admit().is_ok());
}

#[test]
fn honoring_retry_after_does_not_pass_a_failing_circuit() {
    let mut bench = Bench::new(rules());
    while bench.call(Verdict::Failure).is_none() {}
    assert!(bench.breaker.admit(bench.now, true).is_err());
}

#[test]
fn switched_off_it_lets_everything_through() {
    let mut bench = Bench::new(Circuit { failures: 0, success_rate: 0.0, ..rules() });
    bench.breaker.hold(bench.now, Duration::from_secs(1), OpenReason::Unavailable);
    assert!((0..1000).all(|_| bench.call(Verdict::Failure).is_none()));
}

#[test]
fn jitter_makes_the_pause_at_most_a_tenth_longer() {
    for (jitter, millis) in [(0.0, 1000), (0.5, 1050), (1.0, 1100)] {
        let mut bench = Bench::new(Circuit { failures: 1, ..rules() });
        let admission = bench.admit().unwrap();
        let pause = bench.breaker.record(bench.now, admission, Verdict::Failure, jitter);
        assert_eq!(pause, Some(Duration::from_millis(millis)));
    }
}

/// Naive model of the same rules: keeps every call since the circuit closed. Times are milliseconds; calls do not
/// overlap.
#[derive(Default)]
struct Model {
    closed_at: u64,
    calls: Vec<(u64, bool)>,
    open_until: Option<u64>,
    penalty: u64,
}

impl Model {
    fn admits(&self, now: u64) -> bool {
        self.open_until.is_none_or(|until| now >= until)
    }

    fn ends(&mut self, now: u64, good: bool) {
        if self.open_until.is_some() && good {
            *self = Model { closed_at: now, penalty: self.penalty, ..Model::default() };
            return;
        }
        self.calls.push((now, good));
        let recent: Vec<bool> =
            self.calls.iter().filter(|(at, _)| slot(self, *at) + 10 > slot(self, now)).map(|c| c.1).collect();
        let streak = self.calls.iter().rev().take_while(|(_, good)| !good).count();
        let goods = recent.iter().filter(|good| **good).count();
        let fails = self.open_until.is_some();
        if fails || (!good && (streak >= 3 || (recent.len() >= 6 && goods * 2 < recent.len()))) {
            let again = self.penalty > 0 && (fails || now - self.closed_at < 10_000);
            self.penalty = if again { (self.penalty * 2).min(5_000) } else { 1_000 };
            self.open_until = Some(now + self.penalty);
        }
    }
}

fn slot(model: &Model, at: u64) -> u64 {
    (at - model.closed_at) / 1_000
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(steps in vec((0u64..3_000, any::<bool>()), 1..300)) {
        let (mut bench, mut model, mut now) = (Bench::new(rules()), Model::default(), 0);
        for (millis, good) in steps {
            now += millis;
            bench.pass(millis);
            let admitted = bench.admit();
            prop_assert_eq!(admitted.is_ok(), model.admits(now), "at {}", now);
            if let Ok(admission) = admitted {
                let verdict = if good { Verdict::Success } else { Verdict::Failure };
                bench.breaker.record(bench.now, admission, verdict, 0.0);
                model.ends(now, good);
            }
        }
    }

    /// Holds for all outcomes in any order: while half open at most one call is admitted, and no refusal is longer than
    /// `open_for_max`.
    #[test]
    fn nothing_wedges_it(steps in vec((0u64..2_000, 0usize..4, 0u8..5), 1..300)) {
        let mut bench = Bench::new(rules());
        let mut under_way: Vec<Admission> = Vec::new();
        for (millis, which, what) in steps {
            bench.pass(millis);
            if what == 0 || under_way.is_empty() {
                match bench.admit() {
                    Ok(admission) => under_way.push(admission),
                    Err(refused) => prop_assert!(refused.wait <= Duration::from_secs(5)),
                }
            } else {
                let admission = under_way.swap_remove(which % under_way.len());
                let verdict = [Verdict::Success, Verdict::Failure, Verdict::RateLimited, Verdict::Ignored][what as usize - 1];
                bench.breaker.record(bench.now, admission, verdict, 0.0);
            }
            let epoch = Admission(bench.breaker.epoch);
            if let State::HalfOpen { probing } = bench.breaker.state {
                let probes = under_way.iter().filter(|admission| **admission == epoch).count();
                prop_assert_eq!(probes, usize::from(probing));
            }
        }
        for admission in under_way {
            bench.breaker.record(bench.now, admission, Verdict::Ignored, 0.0);
        }
        bench.pass(5_000);
        prop_assert!(bench.admit().is_ok());
    }
}
