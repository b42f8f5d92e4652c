//! Series of one histogram.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

/// Upper bounds of the buckets, in seconds: OpenTelemetry's recommendation for HTTP, and larger ones for vendors with
/// language models. Requests and vendor calls share them, so that their distributions can be compared.
const BOUNDS: [f64; 17] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0];

fn empty() -> Histogram {
    Histogram::new(BOUNDS)
}

/// Histograms by label set. The most frequent label set has a dedicated slot and skips the map.
#[derive(Debug)]
pub(super) struct HistogramFamily<K> {
    frequent: (K, Histogram),
    rest: RwLock<BTreeMap<K, Histogram>>,
}

impl<K: Copy + Ord> HistogramFamily<K> {
    pub(super) fn new(frequent: K) -> Self {
        HistogramFamily { frequent: (frequent, empty()), rest: RwLock::default() }
    }

    pub(super) fn observe(&self, key: K, took: Duration) {
        let seconds = took.as_secs_f64();
        if key == self.frequent.0 {
            return self.frequent.1.observe(seconds);
        }
        let histogram = self.rest.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let histogram = histogram.unwrap_or_else(|| {
            let mut rest = self.rest.write().unwrap_or_else(PoisonError::into_inner);
            rest.entry(key).or_insert_with(empty).clone()
        });
        histogram.observe(seconds);
    }

    /// All series: the frequent one, then the rest in the order of keys.
    pub(super) fn all(&self) -> Vec<(K, Histogram)> {
        let rest = self.rest.read().unwrap_or_else(PoisonError::into_inner);
        let rest = rest.iter().map(|(key, histogram)| (*key, histogram.clone()));
        std::iter::once(self.frequent.clone()).chain(rest).collect()
    }
}
