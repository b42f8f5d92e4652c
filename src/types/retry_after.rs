//! `Retry-After`, in either form, as whole seconds from now.

use http::{HeaderMap, header};
use jiff::Timestamp;

/// Nobody is sent away for longer.
const MAX_SECONDS: i64 = 3600;

/// The seconds of a vendor's `Retry-After`, 1 to 3600; `None` where it gave none that can be understood.
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
        // Rounded up: a moment before the vendor's would be refused again.
        let wait = at.duration_since(now);
        wait.as_secs() + i64::from(wait.subsec_nanos() > 0)
    };
    u64::try_from(seconds.clamp(1, MAX_SECONDS)).ok()
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
