//! What the gateway counts, as a scraper reads it: OpenMetrics text on the admin listener.
//!
//! Two histograms are counted here, one where answers leave and one where requests to vendors do; everything else is
//! read from the parts that count it anyway, at the moment of the scrape. `docs/metrics.md` says what each is for.
//!
//! Labels are bounded: they come from the code or the configuration, never from a caller or a vendor.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use super::collect::RuntimeCollector;
use super::vitals::RuntimeState;

/// The media type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one gateway. A clone is the same.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Registry>);

impl Metrics {
    /// Over what these parts count.
    pub fn new(vitals: Arc<RuntimeState>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(RuntimeCollector::new(vitals)));
        Metrics(Arc::new(registry))
    }

    /// All of them as they are now.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(32 * 1024);
        text::encode(&mut text, &self.0)?;
        Ok(text)
    }
}
