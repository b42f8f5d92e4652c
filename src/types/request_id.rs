//! Request ids: the caller's own, or a UUID of version 7.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Header that carries the request id, in both directions.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id under which a request is known, in answers, logs and problems: visible ASCII. A clone costs next to nothing.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The caller's own, where it is one that may be kept; else a UUID of version 7, which sorts by time.
    pub fn of(headers: &HeaderMap) -> Self {
        RequestId(given(headers).cloned().unwrap_or_else(made))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// As a header.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// An id that nobody has: the time, and a counter that is scrambled with a key of this process. The kernel is asked for
/// the key only.
fn made() -> HeaderValue {
    static PROCESS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let scrambled = [PROCESS.hash_one((count, 0)), PROCESS.hash_one((count, 1))];
    let mut random = [0; 10];
    random
        .iter_mut()
        .zip(scrambled.iter().flat_map(|half| half.to_be_bytes()))
        .for_each(|(to, from)| *to = from);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let milliseconds = u64::try_from(now.as_millis()).unwrap_or_default();
    let id = uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid();
    let mut text = uuid::Uuid::encode_buffer();
    let text = id.hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

/// The request's own id if it is one that may be kept.
fn given(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut ids = headers.get_all(X_REQUEST_ID).iter();
    let (Some(id), None) = (ids.next(), ids.next()) else { return None };
    let fits = (1..=128).contains(&id.len())
        && id.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    fits.then_some(id)
}
