//! Instruments of responses to callers and of requests to vendors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use parlance_adapters::canonical::{Fault, FaultCode};
use prometheus_client::metrics::histogram::Histogram;

use super::labels::{ClientLabels, EndReason, RequestLabels, ResponseLabels, ServerLabels, Status, known};
use super::series::HistogramFamily;
use crate::types::code::{AnsweredBy, Code};

/// Label `error_type` of a caller that hung up before its response.
const CALLER_GONE: &str = "caller-gone";
/// Status that logs and metrics report for a caller that hung up.
pub const CALLER_GONE_STATUS: u16 = 499;

/// Durations of responses to callers, for one upstream or for requests without one.
#[derive(Debug)]
pub struct Answers {
    upstream: Option<Arc<str>>,
    series: HistogramFamily<ResponseLabels>,
}

impl Answers {
    /// Creates the instrument of responses without an upstream. The frequent series is `overloaded`: the one that occurs
    /// under load.
    pub fn without_upstream() -> Self {
        let code = Code::Overloaded;
        let overloaded = ResponseLabels {
            request: RequestLabels::update(),
            status: code.status().as_u16(),
            answered_by: AnsweredBy::Gateway,
            error: Some(code.as_str()),
        };
        Answers { upstream: None, series: HistogramFamily::new(overloaded) }
    }

    /// Counts a response. Status 499 is a caller that hung up.
    pub fn observe(
        &self,
        request: RequestLabels,
        status: u16,
        answered_by: AnsweredBy,
        code: Option<Code>,
        took: Duration,
    ) {
        let error = match code {
            Some(code) => Some(code.as_str()),
            None => (status == CALLER_GONE_STATUS).then_some(CALLER_GONE),
        };
        self.series.observe(ResponseLabels { request, status, answered_by, error }, took);
    }

    /// Durations of responses, by labels.
    pub fn series(&self) -> impl Iterator<Item = (ServerLabels, Histogram)> {
        let served = |kind| ServerLabels { upstream: self.upstream.clone(), kind };
        self.series.all().into_iter().map(move |(kind, durations)| (served(kind), durations))
    }
}

/// Instruments of one upstream. They are kept when the configuration is reloaded.
#[derive(Debug)]
pub struct Traffic {
    upstream: Arc<str>,
    vendor: &'static str,
    /// Responses to requests for which the upstream was chosen.
    pub answers: Answers,
    sent: HistogramFamily<EndReason>,
    refusals: [AtomicU64; FaultCode::ALL.len()],
}

impl Traffic {
    /// Creates the instruments of an upstream.
    pub fn new(upstream: Arc<str>, vendor: &'static str) -> Self {
        let request = RequestLabels::update();
        let status = StatusCode::OK.as_u16();
        let updated = ResponseLabels { request, status, answered_by: AnsweredBy::Vendor, error: None };
        let answered =
            EndReason { method: known(&Method::PATCH), status: Some(StatusCode::OK.into()), error: None };
        Traffic {
            answers: Answers { upstream: Some(Arc::clone(&upstream)), series: HistogramFamily::new(updated) },
            upstream,
            vendor,
            sent: HistogramFamily::new(answered),
            refusals: Default::default(),
        }
    }

    /// Name of the upstream.
    pub fn upstream(&self) -> &Arc<str> {
        &self.upstream
    }

    /// Name of the vendor.
    pub fn vendor(&self) -> &'static str {
        self.vendor
    }

    /// Returns true if the upstream belongs to `vendor`.
    pub fn is_of(&self, vendor: &str) -> bool {
        self.vendor == vendor
    }

    /// Counts a request to the vendor, also one that got no connection: with the status if there was a response, with the
    /// error if the response was incomplete or missing.
    pub fn sent(
        &self,
        method: &Method,
        status: Option<StatusCode>,
        error: Option<&'static str>,
        took: Duration,
    ) {
        self.sent.observe(EndReason { method: known(method), status: status.map(Status::from), error }, took);
    }

    /// Counts a refused body: once under each code of its faults.
    pub fn refused(&self, faults: &[Fault]) {
        for (code, count) in FaultCode::ALL.iter().zip(&self.refusals) {
            if faults.iter().any(|fault| fault.code == *code) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Durations of requests to the vendor, by labels.
    pub fn exchanges(&self) -> impl Iterator<Item = (ClientLabels, Histogram)> {
        let sent = |end| ClientLabels { upstream: Arc::clone(&self.upstream), vendor: self.vendor, end };
        self.sent.all().into_iter().map(move |(end, durations)| (sent(end), durations))
    }

    /// Refused bodies, by fault code.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let possible: Vec<FaultCode> = parlance_adapters::fault_codes().collect();
        FaultCode::ALL
            .iter()
            .zip(&self.refusals)
            .filter(move |(code, _)| possible.contains(code))
            .map(|(code, count)| (code.as_str(), count.load(Ordering::Relaxed)))
    }
}
