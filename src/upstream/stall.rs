//! Notices that this process did not run for a while: it was stopped, its machine was, or it got no time. What was late
//! then was late here, and says nothing about a vendor.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// How often a thread of its own looks at the clock.
const TICK: Duration = Duration::from_millis(250);
/// How much later than that is a sleep.
const LATE: Duration = Duration::from_millis(500);

/// Whether this process did not run for more than [`TICK`] and [`LATE`] at some time after `since`. The first call
/// begins to watch; where there is no thread for it, nothing is ever noticed.
pub(super) fn slept_since(since: Instant) -> bool {
    watch().is_some_and(|awake| awake.slept(since, Instant::now()))
}

/// Begins to watch, the first time.
pub(super) fn watch() -> Option<&'static Awake> {
    static AWAKE: OnceLock<Option<Awake>> = OnceLock::new();
    let awake = AWAKE.get_or_init(|| {
        let looks = || {
            loop {
                thread::sleep(TICK);
                if let Some(awake) = watch() {
                    awake.tick(Instant::now());
                }
            }
        };
        thread::Builder::new()
            .name("awake".to_owned())
            .stack_size(64 * 1024)
            .spawn(looks)
            .ok()
            .map(|_| Awake::new(Instant::now()))
    });
    awake.as_ref()
}

/// When the process ran, in milliseconds from the first look.
#[derive(Debug)]
pub(super) struct Awake {
    begun: Instant,
    /// The last look.
    seen: AtomicU64,
    /// The end of the last sleep; 0 for none.
    woke: AtomicU64,
}

impl Awake {
    fn new(begun: Instant) -> Self {
        Awake { begun, seen: AtomicU64::new(0), woke: AtomicU64::new(0) }
    }

    fn at(&self, moment: Instant) -> u64 {
        u64::try_from(moment.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX)
    }

    fn tick(&self, now: Instant) {
        let now = self.at(now);
        let before = self.seen.load(Relaxed);
        if is_late(before, now) {
            self.woke.store(now, Relaxed);
        }
        self.seen.store(now, Relaxed);
    }

    /// Whoever asks may be up before the thread is.
    fn slept(&self, since: Instant, now: Instant) -> bool {
        is_late(self.seen.load(Relaxed), self.at(now)) || self.woke.load(Relaxed) > self.at(since)
    }
}

fn is_late(seen: u64, now: u64) -> bool {
    u128::from(now.saturating_sub(seen)) > (TICK + LATE).as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_noticed_during_it_and_after_it_and_not_blamed_on_what_came_later() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let awake = Awake::new(begun);
        for tick in 1..=10 {
            awake.tick(at(250 * tick));
        }
        assert!(!awake.slept(begun, at(2600)), "it looked all the time");
        assert!(!awake.slept(begun, at(3250)) && awake.slept(begun, at(3251)), "its next look is overdue");
        awake.tick(at(5000));
        assert!(awake.slept(at(2400), at(5001)) && awake.slept(at(4999), at(5001)));
        assert!(!awake.slept(at(5000), at(5100)), "it came after the sleep");
    }

    #[test]
    fn this_process_is_awake() {
        let begun = Instant::now();
        assert!(watch().is_some());
        // As often as it takes on a machine that may be busy.
        while slept_since(Instant::now()) {
            assert!(begun.elapsed() < Duration::from_secs(30));
            thread::sleep(TICK);
        }
    }
}
