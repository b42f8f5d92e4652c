//! `Retry-After` (RFC 9110 section 10.2.3): reading either form, and rounding a wait to whole seconds.

use std::time::Duration;

use http::{HeaderMap, header};
use jiff::Timestamp;

/// Longest accepted `Retry-After`, in seconds.
const MAX_SECONDS: u64 = 3600;

/// `wait` in whole seconds, rounded up: a moment too early would be refused again.
pub fn ceil_secs(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Seconds of a response's `Retry-After`, from 1 to 3600; `None` without a readable one.
pub fn seconds(headers: &HeaderMap) -> Option<u64> {
    headers
        .get_all(header::RETRY_AFTER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .find_map(|value| parse(value, Timestamp::now()))
}

fn parse(value: &str, now: Timestamp) -> Option<u64> {
    let value = value.trim();
    let seconds = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        value.parse().unwrap_or(MAX_SECONDS)
    } else {
        let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
        // A time in the past is a negative duration.
        Duration::try_from(at.duration_since(now)).map_or(0, ceil_secs)
    };
    Some(seconds.clamp(1, MAX_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_and_nonsense() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let table = [
            ("30", Some(30)),
            ("0", Some(1)),
            ("1000000000000", Some(3600)),
            ("99999999999999999999999999", Some(3600)),
            ("Thu, 01 Jan 2026 00:01:00 GMT", Some(60)),
            ("Thu, 01 Jan 2026 00:00:01 GMT", Some(1)),
            ("Wed, 31 Dec 2025 23:59:00 GMT", Some(1)),
            ("-5", None),
            ("soon", None),
            ("", None),
            ("1.5", None),
        ];
        for (value, expected) in table {
            assert_eq!(parse(value, now), expected, "{value}");
        }
    }
}
