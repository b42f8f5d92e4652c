//! The series of one histogram.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

/// Upper bounds in seconds: those that OpenTelemetry advises for HTTP, and more of them, as vendors with models behind
/// them are slow. The same on both sides, so that one can be laid over the other.
const BOUNDS: [f64; 17] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0];

fn empty() -> Histogram {
    Histogram::new(BOUNDS)
}

/// Times by key. The usual key's are at hand: nothing is hashed, looked up or locked for it but its own numbers.
#[derive(Debug)]
pub(super) struct HistogramFamily<K> {
    usual: (K, Histogram),
    rest: RwLock<BTreeMap<K, Histogram>>,
}

impl<K: Copy + Ord> HistogramFamily<K> {
    pub(super) fn new(usual: K) -> Self {
        HistogramFamily { usual: (usual, empty()), rest: RwLock::default() }
    }

    pub(super) fn observe(&self, key: K, took: Duration) {
        let seconds = took.as_secs_f64();
        if key == self.usual.0 {
            return self.usual.1.observe(seconds);
        }
        let known = self.rest.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let times = known.unwrap_or_else(|| {
            let mut rest = self.rest.write().unwrap_or_else(PoisonError::into_inner);
            rest.entry(key).or_insert_with(empty).clone()
        });
        times.observe(seconds);
    }

    /// All of them, in the keys' order but for the usual one.
    pub(super) fn all(&self) -> Vec<(K, Histogram)> {
        let rest = self.rest.read().unwrap_or_else(PoisonError::into_inner);
        let rest = rest.iter().map(|(key, times)| (*key, times.clone()));
        std::iter::once(self.usual.clone()).chain(rest).collect()
    }
}
