//! What is known about a request when it is answered: for the log line, the metrics and `Server-Timing`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::problem::{Applied, Code};

/// The id under which a request is known, in answers, logs and problems.
#[derive(Debug, Clone)]
pub struct RequestId(pub Arc<str>);

/// When a request came in.
#[derive(Debug, Clone, Copy)]
pub struct Arrived(pub Instant);

/// Rides on the response from the API to the outer layers.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The problem's code, if there was a problem.
    pub code: Option<Code>,
    /// What a problem says about the update.
    pub applied: Option<Applied>,
    /// The vendor that serves the conversation.
    pub vendor: Option<&'static str>,
    /// The upstream that was chosen.
    pub upstream: Option<Arc<str>>,
    /// Who asked.
    pub caller: Option<Arc<str>>,
    /// Time spent waiting for the vendor.
    pub waited: Duration,
}
