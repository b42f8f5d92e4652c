//! Errors between the gateway and a vendor's complete response.

use crate::types::code::{Applied, ProxyError};
use crate::types::deadline::Expired;

/// Kinds of transport errors. Retries, circuit and problem codes depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportErrorKind {
    /// `max_in_flight` requests to this upstream are in flight.
    Full,
    /// No connection, or it broke before a response.
    Unreachable,
    /// No connection or no complete response before the deadline.
    Timeout,
    /// The response is not HTTP, or was cut off.
    Invalid,
    /// The response is longer than `max_response`.
    TooLarge,
    /// The token endpoint refused to issue a credential.
    Unauthenticated,
    /// The circuit is open, or the token endpoint answered 503.
    Unavailable,
    /// The rate limit of the upstream or of the token endpoint is reached.
    RateLimited,
    /// The token endpoint answered 5xx, or no token was obtained.
    Failed,
    /// The token endpoint answered with an undocumented status.
    UnexpectedStatus,
    /// The gateway is shutting down.
    Shutdown,
}

/// Maps an error type to its usual kind; [`TransportError::with_kind`] sets another one.
impl From<ProxyError> for TransportErrorKind {
    fn from(error: ProxyError) -> Self {
        match error {
            ProxyError::ConnectionTimeout | ProxyError::DnsTimeout | ProxyError::HttpResponseTimeout => {
                TransportErrorKind::Timeout
            }
            ProxyError::ConnectionRefused
            | ProxyError::ConnectionTerminated
            | ProxyError::DestinationUnavailable
            | ProxyError::DestinationIpProhibited
            | ProxyError::DestinationIpUnroutable
            | ProxyError::DnsError
            | ProxyError::TlsCertificateError
            | ProxyError::TlsAlertReceived
            | ProxyError::TlsProtocolError => TransportErrorKind::Unreachable,
            ProxyError::ConnectionLimitReached => TransportErrorKind::Full,
            ProxyError::HttpProtocolError | ProxyError::HttpResponseIncomplete => TransportErrorKind::Invalid,
            ProxyError::HttpResponseBodySize => TransportErrorKind::TooLarge,
            ProxyError::HttpRequestDenied => TransportErrorKind::RateLimited,
            ProxyError::ProxyConfigurationError => TransportErrorKind::Unauthenticated,
            ProxyError::ProxyInternalError => TransportErrorKind::Failed,
            ProxyError::ProxyInternalResponse => TransportErrorKind::Shutdown,
        }
    }
}

/// A transport error, and whether the update may have been applied.
#[derive(Debug, Clone)]
pub struct TransportError {
    /// Kind of the error.
    pub kind: TransportErrorKind,
    /// Knowledge of the update's outcome.
    pub applied: Applied,
    /// Sentence for the caller, without a secret or a private address. It says nothing of the update: `applied` does.
    pub detail: String,
    /// Error type of RFC 9209 section 2.3.
    pub proxy_error: ProxyError,
    /// Time after which a retry may succeed, in seconds.
    pub retry_after: Option<u64>,
    /// Status of the vendor's response, if one arrived.
    pub status: Option<u16>,
    /// True if the gateway shed the request: open circuit, vendor's `Retry-After` or rate limit.
    pub shed: bool,
}

impl TransportError {
    /// An error of the kind that `proxy_error` implies.
    pub fn new(applied: Applied, proxy_error: ProxyError, detail: impl Into<String>) -> Self {
        TransportError {
            kind: proxy_error.into(),
            applied,
            detail: detail.into(),
            proxy_error,
            retry_after: None,
            status: None,
            shed: false,
        }
    }

    /// The same error with another kind.
    #[must_use]
    pub fn with_kind(self, kind: TransportErrorKind) -> Self {
        TransportError { kind, ..self }
    }

    /// Error of a request beyond `max_in_flight`.
    pub fn full(max_in_flight: usize) -> Self {
        let detail = format!("This upstream has {max_in_flight} requests in flight, as many as it may.");
        let error = TransportError::new(Applied::No, ProxyError::ConnectionLimitReached, detail);
        TransportError { retry_after: Some(1), ..error }
    }

    /// Error of a request that was shed for `seconds`, at least one.
    pub(crate) fn shed(
        kind: TransportErrorKind,
        proxy_error: ProxyError,
        seconds: u64,
        reason: &str,
    ) -> Self {
        let seconds = seconds.max(1);
        let detail = format!("{reason}; nothing was sent. It is worth trying again in {seconds} s.");
        let error = TransportError::new(Applied::No, proxy_error, detail).with_kind(kind);
        TransportError { retry_after: Some(seconds), shed: true, ..error }
    }

    /// True if connecting was refused at once, at no cost to anyone.
    pub(crate) fn is_immediate_refusal(&self) -> bool {
        matches!(
            self.proxy_error,
            ProxyError::ConnectionRefused | ProxyError::DnsError | ProxyError::DestinationIpProhibited
        )
    }

    /// Error of a request whose time ended before it was sent.
    pub fn not_sent(expired: Expired) -> Self {
        let (proxy_error, detail) = match expired {
            Expired::Timeout => (
                ProxyError::ConnectionTimeout,
                "The request could not be sent in time; the vendor has not had it.",
            ),
            Expired::Shutdown => (
                ProxyError::ProxyInternalResponse,
                "The gateway is shutting down and did not send the request.",
            ),
        };
        TransportError::new(Applied::No, proxy_error, detail)
    }

    /// Error of a request whose time ended after it was sent and before a response.
    pub(crate) fn not_answered(expired: Expired) -> Self {
        let detail = match expired {
            Expired::Timeout => "The vendor did not answer in time.",
            Expired::Shutdown => "The gateway is shutting down and waits no longer for the vendor's answer.",
        };
        TransportError::response_timeout(expired, Applied::Unknown, detail)
    }

    /// Error of a successful response whose body was not complete in time.
    pub(crate) fn stalled(expired: Expired) -> Self {
        let detail = match expired {
            Expired::Timeout => "The vendor's answer stalled after its status said success.",
            Expired::Shutdown => {
                "The gateway is shutting down and waits no longer for the rest of the vendor's answer."
            }
        };
        TransportError::response_timeout(expired, Applied::Yes, detail)
    }

    fn response_timeout(expired: Expired, applied: Applied, detail: &str) -> Self {
        let error = TransportError::new(applied, ProxyError::HttpResponseTimeout, detail);
        match expired {
            Expired::Timeout => error,
            Expired::Shutdown => error.with_kind(TransportErrorKind::Shutdown),
        }
    }
}

impl std::fmt::Display for TransportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for TransportError {}
