//! Access log: one line for each request.

use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use parlance_adapters::json::quote;

use super::log::LogQueue;
use crate::types::code::{AnsweredBy, Applied, Code};

/// One answered request.
#[derive(Debug)]
pub struct Access<'a> {
    /// Request id.
    pub id: &'a str,
    /// Method.
    pub method: &'a Method,
    /// Status of the answer; 499 where the caller hung up.
    pub status: u16,
    /// Time from the head of the request to the head of the answer.
    pub took: Duration,
    /// Time spent waiting for the vendor.
    pub waited: Duration,
    /// Who answered.
    pub answered_by: AnsweredBy,
    /// Vendor of the conversation.
    pub vendor: Option<&'static str>,
    /// Upstream that was chosen.
    pub upstream: Option<&'a str>,
    /// Caller's name.
    pub caller: Option<&'a str>,
    /// Code of the problem.
    pub code: Option<Code>,
    /// State of the update that the problem reports.
    pub applied: Option<Applied>,
}

/// One line for each request, or none.
#[derive(Debug, Clone)]
pub struct AccessLog {
    lines: Option<LogQueue>,
    requests: bool,
}

impl AccessLog {
    /// Writes to `lines`, or nothing at all.
    pub fn new(lines: Option<LogQueue>) -> Self {
        AccessLog { lines, requests: true }
    }

    /// Writes none, though `lines` are there for other things.
    pub fn without_requests(lines: LogQueue) -> Self {
        AccessLog { lines: Some(lines), requests: false }
    }

    /// LogQueue of any sort that found no room.
    pub fn dropped(&self) -> u64 {
        self.lines.as_ref().map_or(0, LogQueue::dropped)
    }

    /// Queues the line of a request. It holds no body, no path and no header: ids of conversations are personal data.
    pub fn write(&self, access: &Access<'_>) {
        let Some(lines) = self.lines.as_ref().filter(|_| self.requests) else { return };
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
        lines.write(line);
    }
}
