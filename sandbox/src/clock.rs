//! The two texts of the present that answers carry.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

/// Now, as the vendors write times: whole seconds in UTC.
pub(crate) fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Now for a `Date` field. Formatted once a second, because every answer carries it.
pub(crate) fn http_date() -> String {
    static LAST: Mutex<(i64, String)> = Mutex::new((i64::MIN, String::new()));
    let now = Timestamp::now();
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.0 != now.as_second() {
        *last =
            (now.as_second(), DateTimePrinter::new().timestamp_to_rfc9110_string(&now).unwrap_or_default());
    }
    last.1.clone()
}
