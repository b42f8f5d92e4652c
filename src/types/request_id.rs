//! Request ids: the caller's, or a UUID of version 7.

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// Header of the request id, in requests and responses.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Id of a request in responses, logs and problems: visible ASCII. A clone is cheap.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Takes the caller's id if it is valid, else generates a UUID of version 7, which sorts by time.
    pub fn of(headers: &HeaderMap) -> Self {
        RequestId(given(headers).cloned().unwrap_or_else(generate))
    }

    /// Text of the id.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// Header value of the id.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// Generates a UUID of version 7 (RFC 9562 section 5.7).
fn generate() -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    let text = Uuid::now_v7().hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

/// Returns the caller's id if there is one, of 1 to 128 letters, digits, `.`, `_` and `-`.
fn given(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut ids = headers.get_all(X_REQUEST_ID).iter();
    let (Some(id), None) = (ids.next(), ids.next()) else { return None };
    let fits = (1..=128).contains(&id.len())
        && id.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    fits.then_some(id)
}
