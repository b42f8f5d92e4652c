//! Every failure as one RFC 9457 body. This is the only file that knows a problem's status.

use http::{HeaderName, HeaderValue, Response, header};
use parlance_adapters::canonical::Fault;
use parlance_adapters::json::quote;

use crate::types::body::{self, Body};
use crate::types::code::{AnsweredBy, Applied, Code, ProxyError};

/// One entry of `errors`.
#[derive(Debug, Clone)]
pub struct FieldError {
    /// JSON pointer into the caller's body.
    pub pointer: String,
    /// A fault's code, or `vendor-rejected`.
    pub code: &'static str,
    /// A sentence.
    pub detail: String,
}

impl From<Fault> for FieldError {
    fn from(fault: Fault) -> Self {
        FieldError { pointer: fault.pointer, code: fault.code.as_str(), detail: fault.detail }
    }
}

/// What a problem says about the vendor's part in it.
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
    /// The vendor's words.
    pub message: Option<String>,
    /// RFC 9209 error type, where the vendor or the way to it failed.
    pub proxy_error: Option<ProxyError>,
}

/// A failure on its way to the caller.
#[derive(Debug, Clone)]
pub struct Problem {
    /// What sort.
    pub code: Code,
    /// What happened this time, and what to do.
    pub detail: String,
    /// Whether the change may have reached the vendor.
    pub applied: Applied,
    /// Who answered.
    pub answered_by: AnsweredBy,
    /// The members that it is about.
    pub errors: Vec<FieldError>,
    /// The vendor's part, once an upstream is chosen.
    pub vendor: Option<Box<VendorPart>>,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u64>,
    /// Further headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem before anything was sent.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Problem {
            code,
            detail: detail.into(),
            applied: Applied::No,
            answered_by: code.answered_by(),
            errors: Vec::new(),
            vendor: None,
            retry_after: None,
            headers: Vec::new(),
        }
    }

    /// A defect of the gateway, before anything was sent.
    pub fn defect() -> Self {
        Problem::new(Code::Internal, "A defect of the gateway; its log says more under this request id.")
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    /// With `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The answer for the caller.
    pub fn into_response(self, request_id: &str) -> Response<Body> {
        let mut out = Vec::with_capacity(512);
        self.write(request_id, &mut out);
        let mut response = Response::new(body::full(out));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(part) = &self.vendor
            && let Some(value) = part.proxy_status()
        {
            headers.insert(HeaderName::from_static("proxy-status"), value);
        }
        headers.extend(self.headers);
        response.extensions_mut().insert(self.code);
        response.extensions_mut().insert(self.applied);
        response
    }

    fn write(&self, request_id: &str, out: &mut Vec<u8>) {
        let text = |out: &mut Vec<u8>, name: &str, value: &str| {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            quote(value, out);
        };
        out.extend_from_slice(b"{\"type\":\"urn:parlance:problem:");
        out.extend_from_slice(self.code.as_str().as_bytes());
        out.push(b'"');
        text(out, "title", self.code.title());
        out.extend_from_slice(format!(",\"status\":{}", self.code.status().as_u16()).as_bytes());
        text(out, "detail", &self.detail);
        text(out, "instance", &format!("urn:parlance:request:{request_id}"));
        text(out, "request_id", request_id);
        out.extend_from_slice(if self.code.retryable() {
            b",\"retryable\":true"
        } else {
            b",\"retryable\":false"
        });
        text(out, "update_applied", self.applied.as_str());
        for (at, error) in self.errors.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b",\"errors\":[{\"pointer\":" } else { b",{\"pointer\":" });
            quote(&error.pointer, out);
            text(out, "code", error.code);
            text(out, "detail", &error.detail);
            out.push(b'}');
        }
        if !self.errors.is_empty() {
            out.push(b']');
        }
        if let Some(part) = &self.vendor {
            text(out, "vendor", part.vendor);
            text(out, "upstream", &part.upstream);
            if let Some(status) = part.status {
                out.extend_from_slice(format!(",\"vendor_status\":{status}").as_bytes());
            }
            if part.code.is_some() || part.message.is_some() {
                out.extend_from_slice(b",\"vendor_error\":{");
                let mut mark: &[u8] = b"";
                for (name, value) in [("code", &part.code), ("message", &part.message)] {
                    if let Some(value) = value {
                        out.extend_from_slice(mark);
                        quote(name, out);
                        out.push(b':');
                        quote(value, out);
                        mark = b",";
                    }
                }
                out.push(b'}');
            }
        }
        out.push(b'}');
    }
}

impl VendorPart {
    /// `Proxy-Status: parlance; error=connection_refused; next-hop="sales"; received-status=503`.
    fn proxy_status(&self) -> Option<HeaderValue> {
        if self.status.is_none() && self.proxy_error.is_none() {
            return None;
        }
        let mut value = "parlance".to_owned();
        if let Some(error) = self.proxy_error {
            value.push_str("; error=");
            value.push_str(error.as_str());
        }
        // Names of upstreams are [a-z0-9_-]: nothing to escape.
        value.push_str(&format!("; next-hop=\"{}\"", self.upstream));
        if let Some(status) = self.status {
            value.push_str(&format!("; received-status={status}"));
        }
        HeaderValue::from_str(&value).ok()
    }
}
