//! Detection of stalls: times in which this process did not run, because it or its machine was stopped or starved of
//! CPU. A timeout during a stall says nothing about a vendor.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Time between two ticks of the detector's thread.
const TICK: Duration = Duration::from_millis(250);
/// Delay of a tick from which it counts as a stall.
const LATE: Duration = Duration::from_millis(500);

/// True if the process stalled, longer than [`TICK`] and [`LATE`] together, at some time after `start`.
pub(super) fn since(start: Instant) -> bool {
    detector().is_some_and(|detector| detector.stalled(start, Instant::now()))
}

/// The detector of the process, started by the first call. `None` if its thread cannot be started: no stall is detected.
pub(super) fn detector() -> Option<&'static StallDetector> {
    static DETECTOR: OnceLock<Option<StallDetector>> = OnceLock::new();
    let detector = DETECTOR.get_or_init(|| {
        let ticks = || {
            loop {
                thread::sleep(TICK);
                if let Some(detector) = detector() {
                    detector.tick(Instant::now());
                }
            }
        };
        thread::Builder::new()
            .name("stall-detector".to_owned())
            .stack_size(64 * 1024)
            .spawn(ticks)
            .ok()
            .map(|_| StallDetector::new(Instant::now()))
    });
    detector.as_ref()
}

/// Times of ticks and stalls, in milliseconds from the start.
#[derive(Debug)]
pub(super) struct StallDetector {
    started: Instant,
    /// Time of the last tick.
    ticked: AtomicU64,
    /// End of the last stall; 0 without one.
    resumed: AtomicU64,
}

impl StallDetector {
    fn new(started: Instant) -> Self {
        StallDetector { started, ticked: AtomicU64::new(0), resumed: AtomicU64::new(0) }
    }

    fn at(&self, moment: Instant) -> u64 {
        u64::try_from(moment.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    fn tick(&self, now: Instant) {
        let now = self.at(now);
        let before = self.ticked.load(Relaxed);
        if is_late(before, now) {
            self.resumed.store(now, Relaxed);
        }
        self.ticked.store(now, Relaxed);
    }

    /// True for a stall after `since`, also one that the thread has not noticed yet.
    fn stalled(&self, since: Instant, now: Instant) -> bool {
        is_late(self.ticked.load(Relaxed), self.at(now)) || self.resumed.load(Relaxed) > self.at(since)
    }
}

fn is_late(ticked: u64, now: u64) -> bool {
    u128::from(now.saturating_sub(ticked)) > (TICK + LATE).as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_noticed_during_it_and_after_it_and_not_by_calls_that_began_later() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let detector = StallDetector::new(begun);
        for tick in 1..=10 {
            detector.tick(at(250 * tick));
        }
        assert!(!detector.stalled(begun, at(2600)), "it ticked all the time");
        assert!(
            !detector.stalled(begun, at(3250)) && detector.stalled(begun, at(3251)),
            "its next tick is overdue"
        );
        detector.tick(at(5000));
        assert!(detector.stalled(at(2400), at(5001)) && detector.stalled(at(4999), at(5001)));
        assert!(!detector.stalled(at(5000), at(5100)), "it began after the stall");
    }

    #[test]
    fn this_process_is_not_stalled() {
        let begun = Instant::now();
        assert!(detector().is_some());
        // A busy machine may stall the process for a while.
        while since(Instant::now()) {
            assert!(begun.elapsed() < Duration::from_secs(30));
            thread::sleep(TICK);
        }
    }
}
