//! Closed lists that every module may name: problem codes, what is known of an update, and who answered.

use http::StatusCode;

/// State of an update at the vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Nothing was sent, or the vendor refused.
    No,
    /// Sent, and no answer says if it was applied.
    Unknown,
    /// The vendor said 2xx.
    Yes,
}

impl Applied {
    /// Word in a problem.
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

            /// True if the same request may succeed later.
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
    /// The request that held this key may have been sent, and nobody has its answer.
    IdempotencyOutcomeUnknown = "idempotency-outcome-unknown", 409, false, "The outcome of the first request with this key is not known";
    /// The key was used for another request.
    IdempotencyKeyReused = "idempotency-key-reused", 422, false, "The key was used for another request";
    /// The record store cannot be reached.
    IdempotencyStoreUnavailable = "idempotency-store-unavailable", 503, true, "The idempotency store cannot be reached";
    /// The conversation is not in the state that `If-Match` names.
    PreconditionFailed = "precondition-failed", 412, false, "The conversation is not in the state that If-Match names";
    /// The vendor's reads do not show all that can be written.
    PreconditionUnsupported = "precondition-unsupported", 412, false, "Conversations of this vendor take no conditions";
    /// Another update of the conversation did not end in time.
    ConversationBusy = "conversation-busy", 503, true, "Another update of the conversation is at work";
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
    /// Producer of a problem of this code, unless the gateway shed the request.
    pub fn answered_by(self) -> AnsweredBy {
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
            | Code::VendorTimeout => AnsweredBy::Vendor,
            _ => AnsweredBy::Gateway,
        }
    }
}

/// Producer of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AnsweredBy {
    /// The gateway: it refused before the vendor was asked, or answered without it.
    #[default]
    Gateway,
    /// The vendor: by its answer, or by its failure to give one.
    Vendor,
}

impl AnsweredBy {
    /// Word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            AnsweredBy::Gateway => "gateway",
            AnsweredBy::Vendor => "vendor",
        }
    }
}

macro_rules! proxy_errors {
    ($($variant:ident = $token:literal;)*) => {
        /// Error types of the `Proxy-Status` header (RFC 9209 2.3), as far as the gateway uses them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum ProxyError {
            $(#[doc = concat!("`", $token, "`")] $variant,)*
        }

        impl ProxyError {
            /// Token in `Proxy-Status` and in the metric label `error_type`.
            pub fn as_str(self) -> &'static str {
                match self { $(ProxyError::$variant => $token,)* }
            }
        }
    };
}

proxy_errors! {
    ConnectionTimeout = "connection_timeout";
    ConnectionRefused = "connection_refused";
    ConnectionTerminated = "connection_terminated";
    ConnectionLimitReached = "connection_limit_reached";
    DestinationUnavailable = "destination_unavailable";
    DestinationIpProhibited = "destination_ip_prohibited";
    DestinationIpUnroutable = "destination_ip_unroutable";
    DnsError = "dns_error";
    DnsTimeout = "dns_timeout";
    TlsCertificateError = "tls_certificate_error";
    TlsAlertReceived = "tls_alert_received";
    TlsProtocolError = "tls_protocol_error";
    HttpProtocolError = "http_protocol_error";
    HttpRequestDenied = "http_request_denied";
    HttpResponseBodySize = "http_response_body_size";
    HttpResponseIncomplete = "http_response_incomplete";
    HttpResponseTimeout = "http_response_timeout";
    ProxyConfigurationError = "proxy_configuration_error";
    ProxyInternalError = "proxy_internal_error";
    ProxyInternalResponse = "proxy_internal_response";
}
