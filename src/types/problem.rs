//! Problems: every failure as one RFC 9457 body.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use parlance_adapters::canonical::Fault;
use serde::Serialize;

use crate::types::body::{self, Body};
use crate::types::code::{AnsweredBy, Applied, Code, ProxyError};

/// Header that says what an intermediary met on the way (RFC 9209).
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Entry of `errors`.
#[derive(Debug, Clone, Serialize)]
pub struct FieldError {
    /// JSON pointer into the caller's body.
    pub pointer: String,
    /// A fault's code, or `vendor-rejected`.
    pub code: &'static str,
    /// Sentence that says what to do.
    pub detail: String,
}

impl From<Fault> for FieldError {
    fn from(fault: Fault) -> Self {
        FieldError { pointer: fault.pointer, code: fault.code.as_str(), detail: fault.detail }
    }
}

/// The vendor's part in a problem.
#[derive(Debug, Clone, Default)]
pub struct VendorPart {
    /// The vendor.
    pub vendor: &'static str,
    /// The upstream's name.
    pub upstream: String,
    /// The vendor's status, if it answered.
    pub status: Option<u16>,
    /// The vendor's code.
    pub code: Option<String>,
    /// The vendor's message.
    pub message: Option<String>,
    /// RFC 9209 error type, where the vendor or the way to it failed.
    pub proxy_error: Option<ProxyError>,
}

/// A failure, as reported to the caller.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Kind of problem, which decides status and title.
    pub code: Code,
    /// Sentence about this occurrence that says what to do.
    pub detail: String,
    /// State of the update at the vendor.
    pub applied: Applied,
    /// True if the same request, with the same key if it has one, may succeed later.
    pub retryable: bool,
    /// The gateway or the vendor.
    pub answered_by: AnsweredBy,
    /// Members of the body that it is about.
    pub errors: Vec<FieldError>,
    /// The vendor's part, once an upstream is chosen.
    pub vendor: Option<Box<VendorPart>>,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u64>,
    /// Further headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// Creates a problem that arose before anything was sent.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Problem {
            code,
            detail: detail.into(),
            applied: Applied::No,
            retryable: code.retryable(),
            answered_by: code.answered_by(),
            errors: Vec::new(),
            vendor: None,
            retry_after: None,
            headers: Vec::new(),
        }
    }

    /// Creates the problem of a defect of the gateway, before anything was sent.
    pub fn defect() -> Self {
        Problem::new(Code::Internal, "A defect of the gateway; its log says more under this request id.")
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    /// Says that the same request with the same key gets this problem again.
    #[must_use]
    pub fn kept_for_key(mut self) -> Self {
        self.retryable = false;
        self.say("This answer is kept for the Idempotency-Key; a new key is needed to try again.");
        self
    }

    /// Adds a sentence to the detail, which may end with a vendor's text.
    pub fn say(&mut self, sentence: &str) {
        let end = if self.detail.ends_with(['.', '!', '?']) { " " } else { ". " };
        self.detail.push_str(end);
        self.detail.push_str(sentence);
    }

    /// Sets `Retry-After`, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Status, headers and body of the response.
    pub fn into_parts(self, request_id: &str) -> (StatusCode, HeaderMap, Bytes) {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(value) = self.vendor.as_deref().and_then(VendorPart::proxy_status) {
            headers.insert(PROXY_STATUS, value);
        }
        let body = self.body(request_id);
        headers.extend(self.headers);
        (self.code.status(), headers, body)
    }

    /// The response for the caller.
    pub fn into_response(self, request_id: &str) -> Response<Body> {
        let (status, headers, body) = self.into_parts(request_id);
        let mut response = Response::new(body::full(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    fn body(&self, request_id: &str) -> Bytes {
        let vendor = self.vendor.as_deref();
        let error =
            vendor.map(|part| VendorError { code: part.code.as_deref(), message: part.message.as_deref() });
        let body = ProblemBody {
            r#type: format_args!("urn:parlance:problem:{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: &self.detail,
            instance: format_args!("urn:parlance:request:{request_id}"),
            request_id,
            retryable: self.retryable,
            update_applied: self.applied.as_str(),
            errors: &self.errors,
            vendor: vendor.map(|part| part.vendor),
            upstream: vendor.map(|part| part.upstream.as_str()),
            vendor_status: vendor.and_then(|part| part.status),
            vendor_error: error.filter(|error| error.code.is_some() || error.message.is_some()),
        };
        // Strings and numbers alone: nothing of it can fail to be written.
        serde_json::to_vec(&body).unwrap_or_default().into()
    }
}

/// The body of a problem (RFC 9457), with the gateway's own members.
#[derive(Serialize)]
struct ProblemBody<'a> {
    r#type: std::fmt::Arguments<'a>,
    title: &'static str,
    status: u16,
    detail: &'a str,
    instance: std::fmt::Arguments<'a>,
    request_id: &'a str,
    retryable: bool,
    update_applied: &'static str,
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor_error: Option<VendorError<'a>>,
}

/// The vendor's own code and words.
#[derive(Serialize)]
struct VendorError<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

impl VendorPart {
    /// `Proxy-Status` (RFC 9209), such as `parlance; error=connection_refused; next-hop="sales"; received-status=503`.
    fn proxy_status(&self) -> Option<HeaderValue> {
        if self.status.is_none() && self.proxy_error.is_none() {
            return None;
        }
        let error = self.proxy_error.map(|error| format!("; error={}", error.as_str())).unwrap_or_default();
        let status = self.status.map(|status| format!("; received-status={status}")).unwrap_or_default();
        // Names of upstreams are [a-z0-9_-]: nothing to escape.
        HeaderValue::from_str(&format!("parlance{error}; next-hop=\"{}\"{status}", self.upstream)).ok()
    }
}
