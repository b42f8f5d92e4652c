//! Every failure as one RFC 9457 body. This is the only file that knows a problem's status.

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use parlance_adapters::canonical::Fault;
use parlance_adapters::json::quote;
use parlance_adapters::{Failure, FailureKind};

use crate::body::{self, Body};
use crate::facts::Origin;
use crate::upstream::{Kind, Trouble, Upstream};

/// Whether the change may have reached the vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Nothing was sent, or the vendor refused.
    No,
    /// Sent, and no answer says what became of it.
    Unknown,
    /// The vendor said 2xx.
    Yes,
}

impl Applied {
    /// The word in a problem.
    pub fn as_str(self) -> &'static str {
        match self {
            Applied::No => "no",
            Applied::Unknown => "unknown",
            Applied::Yes => "yes",
        }
    }
}

macro_rules! codes {
    ($($(#[$about:meta])* $variant:ident = $code:literal, $status:literal, $retryable:literal, $title:literal;)*) => {
        /// The closed list of problems.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$about])* $variant,)* }

        impl Code {
            /// Every code, for documentation.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The code as callers see it.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $code,)* }
            }

            /// The HTTP status.
            pub fn status(self) -> StatusCode {
                let number: u16 = match self { $(Code::$variant => $status,)* };
                StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }

            /// Whether the same request may succeed later.
            pub fn retryable(self) -> bool {
                match self { $(Code::$variant => $retryable,)* }
            }

            /// The same few words for every problem of this code.
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)* }
            }
        }
    };
}

codes! {
    /// The body is not JSON.
    MalformedJson = "malformed-json", 400, false, "The body is not JSON that can be accepted";
    /// The id cannot name a conversation.
    InvalidId = "invalid-id", 400, false, "The conversation id is not valid";
    /// A query parameter that does not exist.
    InvalidQuery = "invalid-query", 400, false, "The query is not valid";
    /// A header that cannot be accepted.
    InvalidHeader = "invalid-header", 400, false, "A header is not valid";
    /// No key, or not a known one.
    CallerUnauthenticated = "caller-unauthenticated", 401, false, "The caller is not known";
    /// An upstream that the caller may not use.
    CallerForbidden = "caller-forbidden", 403, false, "The caller may not use this upstream";
    /// No such resource.
    NotFound = "not-found", 404, false, "There is no such resource";
    /// No rule serves the id.
    NoRoute = "no-route", 404, false, "No upstream serves this id";
    /// Another method on a known path.
    MethodNotAllowed = "method-not-allowed", 405, false, "The method is not allowed here";
    /// The body is larger than the limit.
    BodyTooLarge = "body-too-large", 413, false, "The body is too large";
    /// Not a patch format that is understood.
    UnsupportedMediaType = "unsupported-media-type", 415, false, "The media type is not supported";
    /// The caller's body did not arrive in time.
    RequestTimeout = "request-timeout", 408, true, "The body did not arrive in time";
    /// The patch cannot be applied.
    InvalidPatch = "invalid-patch", 422, false, "The patch cannot be applied";
    /// The first request with this key still runs.
    IdempotencyInProgress = "idempotency-in-progress", 409, true, "The first request with this key is still running";
    /// The key was used for another request.
    IdempotencyKeyReused = "idempotency-key-reused", 422, false, "The key was used for another request";
    /// The record store cannot be reached.
    IdempotencyStoreUnavailable = "idempotency-store-unavailable", 503, true, "The idempotency store cannot be reached";
    /// The caller's own limit.
    CallerRateLimited = "caller-rate-limited", 429, true, "The caller's rate limit is reached";
    /// The gateway, or this upstream's share of it, is full.
    Overloaded = "overloaded", 503, true, "The gateway is at its limit";
    /// The vendor refused what was sent.
    VendorRejected = "vendor-rejected", 422, false, "The vendor rejected the update";
    /// The vendor wants money first.
    VendorPaymentRequired = "vendor-payment-required", 402, false, "The vendor asks for payment";
    /// The credential may not touch this conversation.
    VendorForbidden = "vendor-forbidden", 403, false, "The vendor forbids the update";
    /// The vendor knows no such conversation.
    ConversationNotFound = "conversation-not-found", 404, false, "The vendor has no such conversation";
    /// The conversation's state does not allow it.
    VendorConflict = "vendor-conflict", 409, false, "The vendor reports a conflict";
    /// Too many requests for the vendor.
    VendorRateLimited = "vendor-rate-limited", 429, true, "The vendor's rate limit is reached";
    /// The vendor refused the gateway's credential.
    VendorUnauthenticated = "vendor-unauthenticated", 502, false, "The vendor refused the gateway's credential";
    /// No connection to the vendor.
    VendorUnreachable = "vendor-unreachable", 502, true, "The vendor cannot be reached";
    /// The vendor failed.
    VendorError = "vendor-error", 502, true, "The vendor failed";
    /// Not the answer that the vendor documents.
    VendorInvalidResponse = "vendor-invalid-response", 502, false, "The vendor's answer cannot be understood";
    /// The answer is larger than the limit.
    VendorResponseTooLarge = "vendor-response-too-large", 502, false, "The vendor's answer is too large";
    /// A status that no vendor documents.
    VendorUnexpectedStatus = "vendor-unexpected-status", 502, false, "The vendor answered with an unexpected status";
    /// The vendor is out of service.
    VendorUnavailable = "vendor-unavailable", 503, true, "The vendor is not available";
    /// The vendor did not answer in time.
    VendorTimeout = "vendor-timeout", 504, true, "The vendor did not answer in time";
    /// The gateway ends before the update could be sent.
    Draining = "draining", 503, true, "The gateway is shutting down";
    /// A defect of the gateway.
    Internal = "internal", 500, false, "The gateway failed";
}

impl Code {
    /// Whose word a problem of this code is, unless the gateway held the request back.
    fn origin(self) -> Origin {
        match self {
            Code::VendorRejected
            | Code::VendorPaymentRequired
            | Code::VendorForbidden
            | Code::ConversationNotFound
            | Code::VendorConflict
            | Code::VendorRateLimited
            | Code::VendorUnauthenticated
            | Code::VendorUnreachable
            | Code::VendorError
            | Code::VendorInvalidResponse
            | Code::VendorResponseTooLarge
            | Code::VendorUnexpectedStatus
            | Code::VendorUnavailable
            | Code::VendorTimeout => Origin::Vendor,
            _ => Origin::Gateway,
        }
    }
}

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
    pub proxy_error: Option<&'static str>,
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
    /// Whose word it is.
    pub origin: Origin,
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
            origin: code.origin(),
            errors: Vec::new(),
            vendor: None,
            retry_after: None,
            headers: Vec::new(),
        }
    }

    /// With the upstream that it is about.
    #[must_use]
    pub fn about(mut self, upstream: &Upstream) -> Self {
        let part = VendorPart {
            vendor: upstream.settings.vendor.spec().vendor,
            upstream: upstream.settings.adapter.name.clone(),
            ..VendorPart::default()
        };
        self.vendor = Some(Box::new(part));
        self
    }

    /// What happened on the way to the vendor and back.
    pub fn from_trouble(trouble: Trouble, upstream: &Upstream) -> Self {
        let code = match trouble.kind {
            Kind::Full => Code::Overloaded,
            Kind::Unreachable => Code::VendorUnreachable,
            Kind::Timeout => Code::VendorTimeout,
            Kind::Invalid => Code::VendorInvalidResponse,
            Kind::TooLarge => Code::VendorResponseTooLarge,
            Kind::Unauthenticated => Code::VendorUnauthenticated,
            Kind::Unavailable => Code::VendorUnavailable,
            Kind::RateLimited => Code::VendorRateLimited,
            Kind::Failed => Code::VendorError,
            Kind::UnexpectedStatus => Code::VendorUnexpectedStatus,
            Kind::CutOff if trouble.applied == Applied::No => Code::Draining,
            Kind::CutOff => Code::VendorTimeout,
        };
        let mut problem = Problem::new(code, trouble.detail).about(upstream);
        problem.applied = trouble.applied;
        if trouble.held_back || trouble.kind == Kind::CutOff {
            problem.origin = Origin::Gateway;
        }
        // Another replica takes it, or the one that comes in the place of this one.
        problem.retry_after = trouble.retry_after.or((code == Code::Draining).then_some(1));
        if let Some(part) = &mut problem.vendor {
            part.status = trouble.status;
            part.proxy_error = Some(trouble.proxy_error);
        }
        problem
    }

    /// What the vendor's unsuccessful answer means.
    pub fn from_failure(failure: Failure, status: u16, upstream: &Upstream) -> Self {
        let title = upstream.settings.vendor.spec().title;
        let code = match failure.kind {
            FailureKind::Rejected => Code::VendorRejected,
            FailureKind::Unauthenticated => Code::VendorUnauthenticated,
            FailureKind::PaymentRequired => Code::VendorPaymentRequired,
            FailureKind::Forbidden => Code::VendorForbidden,
            FailureKind::NotFound => Code::ConversationNotFound,
            FailureKind::Conflict => Code::VendorConflict,
            FailureKind::RateLimited => Code::VendorRateLimited,
            FailureKind::Error => Code::VendorError,
            FailureKind::Unavailable => Code::VendorUnavailable,
            FailureKind::UnexpectedStatus => Code::VendorUnexpectedStatus,
        };
        let detail = match &failure.vendor_message {
            Some(message) => format!("{title} answered {status}: {message}"),
            None => format!("{title} answered {status}."),
        };
        let mut problem = Problem::new(code, detail).about(upstream);
        problem.applied = if (400..500).contains(&status) { Applied::No } else { Applied::Unknown };
        problem.errors = failure
            .fields
            .into_iter()
            .map(|(pointer, detail)| FieldError { pointer, code: Code::VendorRejected.as_str(), detail })
            .collect();
        if let Some(part) = &mut problem.vendor {
            part.status = Some(status);
            part.code = failure.vendor_code;
            part.message = failure.vendor_message;
        }
        problem
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
            value.push_str(error);
        }
        // Names of upstreams are [a-z0-9_-]: nothing to escape.
        value.push_str(&format!("; next-hop=\"{}\"", self.upstream));
        if let Some(status) = self.status {
            value.push_str(&format!("; received-status={status}"));
        }
        HeaderValue::from_str(&value).ok()
    }
}
