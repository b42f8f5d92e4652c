//! What is known about a request when it is answered: for the log line, the metrics and `Server-Timing`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::metrics::Traffic;
use crate::problem::{Applied, Code};

/// The id under which a request is known, in answers, logs and problems.
#[derive(Debug, Clone)]
pub struct RequestId(pub Arc<str>);

/// When a request came in.
#[derive(Debug, Clone, Copy)]
pub struct Arrived(pub Instant);

/// Whose word an answer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The gateway's own: refused before the vendor was asked, or answered without it.
    #[default]
    Gateway,
    /// The vendor's: its answer, or its failure to give one.
    Vendor,
}

impl Origin {
    /// The word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Gateway => "gateway",
            Origin::Vendor => "vendor",
        }
    }
}

/// Rides on the response from the API to the outer layers.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The problem's code, if there was a problem.
    pub code: Option<Code>,
    /// What a problem says about the update.
    pub applied: Option<Applied>,
    /// Whose word the answer is.
    pub origin: Origin,
    /// The vendor that serves the conversation.
    pub vendor: Option<&'static str>,
    /// The upstream that was chosen.
    pub upstream: Option<Arc<str>>,
    /// Where its answers are counted.
    pub traffic: Option<Arc<Traffic>>,
    /// Who asked.
    pub caller: Option<Arc<str>>,
    /// Time spent waiting for the vendor.
    pub waited: Duration,
}
