//! Metrics as OpenMetrics text, for scrapers of the admin listener.
//!
//! `telemetry` holds two histograms, one of responses to callers and one of requests to vendors. Everything else is read
//! at the scrape from the modules that count it. `docs/metrics.md` describes each metric.
//!
//! The number of series is bounded: label values come from the code or the configuration, never from a caller or a vendor.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use super::collect::RuntimeCollector;
use super::vitals::RuntimeState;

/// Media type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Metrics of one gateway. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Registry>);

impl Metrics {
    /// Creates the metrics of `state`.
    pub fn new(state: Arc<RuntimeState>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(RuntimeCollector::new(state)));
        Metrics(Arc::new(registry))
    }

    /// Reads all metrics.
    ///
    /// # Errors
    /// A formatting error of the encoder.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(32 * 1024);
        text::encode(&mut text, &self.0)?;
        Ok(text)
    }
}
