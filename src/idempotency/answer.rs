//! Stored responses: what a key's first request was answered, for the requests that repeat it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode, header};

use crate::types::body::{self, Body};
use crate::types::code::{Applied, Code};
use crate::types::problem::{PROXY_STATUS, Problem};

/// Header that names the preferences that were applied (RFC 7240).
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Headers that are stored with a response. A record with any other is not valid.
pub(super) const KEPT: [HeaderName; 5] =
    [header::CONTENT_TYPE, header::CACHE_CONTROL, header::RETRY_AFTER, PREFERENCE_APPLIED, PROXY_STATUS];

/// A whole response without what belongs to one request: request id and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponse {
    /// Status.
    pub status: StatusCode,
    /// Headers, those that are stored.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// Code of the problem, if it is one.
    pub code: Option<Code>,
    /// State of the update that the problem reports.
    pub applied: Option<Applied>,
}

impl StoredResponse {
    /// Renders a problem.
    pub fn of_problem(problem: Problem, request_id: &str) -> Self {
        let (code, applied) = (Some(problem.code), Some(problem.applied));
        let (status, mut all, body) = problem.into_parts(request_id);
        let headers = KEPT.into_iter().filter_map(|name| Some((all.remove(&name)?, name)));
        let headers = headers.map(|(value, name)| (name, value)).collect();
        StoredResponse { status, headers, body, code, applied }
    }

    /// The response for a caller.
    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(body::full(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    /// True if it answers every further request with the key. False if nothing was done and the same request may
    /// succeed later.
    pub fn is_final(&self) -> bool {
        !(self.code.is_some_and(Code::retryable) && self.applied == Some(Applied::No))
    }

    /// Estimated size in memory, in bytes.
    pub(super) fn weight(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
        256 + headers + self.body.len()
    }
}
