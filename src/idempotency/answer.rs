//! Stored responses: what a key's first request was answered, for the requests that repeat it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use parlance_adapters::canonical::WarningCode;
use serde::Serialize;

use crate::types::body::{self, Body};
use crate::types::code::{Applied, Code};
use crate::types::problem::{PROXY_STATUS, Problem};

/// Header that names the preferences that were applied (RFC 7240).
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Headers that are stored with a response. A record with any other is not valid.
pub(super) const KEPT: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::RETRY_AFTER,
    header::ETAG,
    PREFERENCE_APPLIED,
    PROXY_STATUS,
];

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

    /// The response where only its outcome was kept: the conversation's id and a warning, or the problem without its
    /// details, for the request of this id.
    pub(super) fn without_body(mut self, conversation: &str, request_id: &str) -> Self {
        if self.status.is_success() {
            let body = BriefBody {
                id: conversation,
                warnings: [Warning {
                    code: WarningCode::BodyNotKept.as_str(),
                    detail: "The update was done and answered; the answer's body is not kept any more. Read the \
                             conversation to see it.",
                }],
            };
            self.status = StatusCode::OK;
            self.headers.remove(header::ETAG);
            self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            // Strings alone: nothing of it can fail to be written.
            self.body = serde_json::to_vec(&body).unwrap_or_default().into();
            return self;
        }
        let detail = "The details of this answer are not kept any more.";
        let mut problem = Problem::new(self.code.unwrap_or(Code::Internal), detail).kept_for_key();
        problem.applied = self.applied.unwrap_or(Applied::Unknown);
        (_, _, self.body) = problem.into_parts(request_id);
        self
    }
}

/// Body of a replay whose own body was not kept.
#[derive(Serialize)]
struct BriefBody<'a> {
    id: &'a str,
    warnings: [Warning; 1],
}

/// Entry of `warnings`.
#[derive(Serialize)]
struct Warning {
    code: &'static str,
    detail: &'static str,
}
