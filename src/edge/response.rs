//! Responses of the API.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::context::RequestContext;
use super::headers::Preferences;
use crate::gateway::Answer;
use crate::idempotency::{IdempotentOutcome, PREFERENCE_APPLIED, StoredResponse};
use crate::types::body::{self, Body};
use crate::types::code::Code;
use crate::types::etag::Condition;
use crate::types::problem::Problem;

/// Methods of a conversation.
pub(super) const ALLOW: &str = "GET, HEAD, PATCH, OPTIONS";
/// Media types of an update.
pub(super) const PATCH_TYPES: &str = "application/json, application/merge-patch+json";
/// Header that names the media types of an update (RFC 5789).
pub(super) const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

pub(super) fn not_found() -> Problem {
    Problem::new(Code::NotFound, "The resources here are /conversations/{id} and /openapi.json.")
}

pub(super) fn not_allowed(allow: &'static str) -> Problem {
    Problem::new(Code::MethodNotAllowed, format!("Use one of: {allow}.")).header(header::ALLOW, allow)
}

/// Response to `OPTIONS`.
pub(super) fn options() -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(ALLOW));
    response.headers_mut().insert(ACCEPT_PATCH, HeaderValue::from_static(PATCH_TYPES));
    response
}

/// Response with a JSON text.
pub(super) fn json(text: Bytes) -> Response<Body> {
    let mut response = Response::new(body::full(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    response
}

/// Response to a read: 304 if the caller has the conversation as it is.
pub(super) fn read(answer: Answer, if_none_match: Option<&Condition>) -> Response<Body> {
    let is_known =
        answer.etag.is_some_and(|etag| if_none_match.is_some_and(|condition| condition.matches_weakly(etag)));
    let etag = answer.etag.map(|etag| (header::ETAG, etag.header()));
    let mut response = if is_known { Response::new(body::empty()) } else { json(answer.body.into()) };
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    }
    response.headers_mut().extend(etag);
    response
}

/// Response to an update that succeeded, or to a dry run. Warnings are never lost: with any, `return=minimal` gets them
/// and the id.
pub(super) fn updated(answer: Answer, dry_run: bool, preferences: Preferences) -> StoredResponse {
    let wants_minimal = preferences.minimal && !dry_run;
    let (body, is_minimal) = match answer.notices {
        Some(notices) if wants_minimal => (Some(notices), false),
        None if wants_minimal => (None, true),
        _ => (Some(answer.body), false),
    };
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.extend(body.as_ref().map(|_| (header::CONTENT_TYPE, JSON)));
    headers.extend(answer.etag.map(|etag| (header::ETAG, etag.header())));
    let applied = match (preferences.lenient, is_minimal) {
        (true, true) => Some("handling=lenient, return=minimal"),
        (true, false) => Some("handling=lenient"),
        (false, true) => Some("return=minimal"),
        (false, false) => None,
    };
    headers.extend(applied.map(|applied| (PREFERENCE_APPLIED, HeaderValue::from_static(applied))));
    StoredResponse {
        status: if is_minimal { StatusCode::NO_CONTENT } else { StatusCode::OK },
        headers,
        body: body.unwrap_or_default().into(),
        code: None,
        applied: None,
    }
}

/// Chooses between the response of the update and the stored one, and marks the stored one.
pub(super) fn keyed(outcome: IdempotentOutcome, context: &mut RequestContext) -> Response<Body> {
    let (response, mark) = match outcome {
        IdempotentOutcome::First { response, answered_by, waited, guaranteed } => {
            (context.waited, context.answered_by) = (waited, answered_by);
            let mark =
                (HeaderName::from_static("idempotency-status"), HeaderValue::from_static("not-guaranteed"));
            (response, (!guaranteed).then_some(mark))
        }
        IdempotentOutcome::Replayed(response) => {
            let mark = (HeaderName::from_static("idempotent-replayed"), HeaderValue::from_static("true"));
            (response, Some(mark))
        }
    };
    (context.code, context.applied) = (response.code, response.applied);
    let mut response = response.into_response();
    response.headers_mut().extend(mark);
    response
}
