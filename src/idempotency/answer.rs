//! An answer that can be given twice.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use http_body_util::BodyExt;

use crate::types::body::{self, Body};
use crate::types::code::{Applied, Code};

/// The headers of an answer that belong to it and not to one exchange. A record with any other is not ours.
pub(super) const KEPT: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::RETRY_AFTER,
    HeaderName::from_static("preference-applied"),
    HeaderName::from_static("proxy-status"),
];

/// A whole answer, but for what belongs to one exchange (request id, times).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponse {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// The problem's code, if it is a problem.
    pub code: Option<Code>,
    /// What a problem says about the update.
    pub applied: Option<Applied>,
}

impl StoredResponse {
    /// Takes an answer as it would be given.
    pub async fn of(response: Response<Body>) -> Self {
        let (mut head, body) = response.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(never) => match never {},
        };
        let headers = KEPT.into_iter().filter_map(|name| Some((head.headers.remove(&name)?, name)));
        StoredResponse {
            status: head.status,
            headers: headers.map(|(value, name)| (name, value)).collect(),
            body,
            code: head.extensions.get::<Code>().copied(),
            applied: head.extensions.get::<Applied>().copied(),
        }
    }

    /// The answer for a caller.
    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(body::full(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    /// Whether it is the answer to every further request with the key. It is not where nothing was done and the same
    /// request may succeed later.
    pub fn is_final(&self) -> bool {
        !(self.code.is_some_and(Code::retryable) && self.applied == Some(Applied::No))
    }

    /// About how many bytes of memory it takes.
    pub(super) fn weight(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
        256 + headers + self.body.len()
    }
}
