//! Access log: one line for each request.

use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use parlance_adapters::json::quote;

use super::log::LogQueue;
use crate::types::code::{AnsweredBy, Applied, Code};

/// Fields of one line: a request and its response.
#[derive(Debug)]
pub struct Access<'a> {
    /// Request id.
    pub id: &'a str,
    /// Method of the request.
    pub method: &'a Method,
    /// Status of the response; 499 if the caller hung up.
    pub status: u16,
    /// Time from the head of the request to the head of the response.
    pub took: Duration,
    /// Time spent waiting for the vendor.
    pub waited: Duration,
    /// Producer of the response.
    pub answered_by: AnsweredBy,
    /// Vendor of the conversation.
    pub vendor: Option<&'static str>,
    /// Chosen upstream.
    pub upstream: Option<&'a str>,
    /// Reason why that upstream was chosen: `prefix`, a rule such as `routes[0]`, or `default_upstream`.
    pub route: Option<&'a str>,
    /// Name of the caller.
    pub caller: Option<&'a str>,
    /// Code of the problem.
    pub code: Option<Code>,
    /// State of the update that the problem reports.
    pub applied: Option<Applied>,
}

/// Access log, or a switched-off one.
#[derive(Debug, Clone)]
pub struct AccessLog {
    queue: Option<LogQueue>,
    requests: bool,
}

impl AccessLog {
    /// Creates a log that writes to `queue`; `None` writes nothing.
    pub fn new(queue: Option<LogQueue>) -> Self {
        AccessLog { queue, requests: true }
    }

    /// Creates a log that is switched off; `queue` still serves other events.
    pub fn without_requests(queue: LogQueue) -> Self {
        AccessLog { queue: Some(queue), requests: false }
    }

    /// Lines of the queue that were dropped because it was full.
    pub fn dropped(&self) -> u64 {
        self.queue.as_ref().map_or(0, LogQueue::dropped)
    }

    /// Queues the line of a request. The line holds no body, no path and no header: conversation ids are personal data.
    pub fn write(&self, access: &Access<'_>) {
        let Some(queue) = self.queue.as_ref().filter(|_| self.requests) else { return };
        let mut line = Vec::with_capacity(384);
        let text = |line: &mut Vec<u8>, name: &str, value: &str| {
            line.extend_from_slice(name.as_bytes());
            quote(value, line);
        };
        text(&mut line, "{\"timestamp\":", &format!("{:.6}", Timestamp::now()));
        text(&mut line, ",\"level\":\"INFO\",\"target\":\"access\",\"request_id\":", access.id);
        text(&mut line, ",\"method\":", access.method.as_str());
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1000.0;
        let numbers = format!(
            ",\"status\":{},\"duration_ms\":{:.3},\"upstream_ms\":{:.3}",
            access.status,
            milliseconds(access.took),
            milliseconds(access.waited)
        );
        line.extend_from_slice(numbers.as_bytes());
        text(&mut line, ",\"origin\":", access.answered_by.as_str());
        let optional = [
            (",\"vendor\":", access.vendor),
            (",\"upstream\":", access.upstream),
            (",\"route\":", access.route),
            (",\"caller\":", access.caller),
            (",\"code\":", access.code.map(|code| code.as_str())),
            (",\"update_applied\":", access.applied.map(|applied| applied.as_str())),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                text(&mut line, name, value);
            }
        }
        line.extend_from_slice(b"}\n");
        queue.write(line);
    }
}
