//! What can happen between the gateway and a vendor's answer.

use crate::types::code::{Applied, ProxyError};
use crate::types::deadline::Expired;

/// The sorts of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportErrorKind {
    /// This upstream has as many requests in flight as it may.
    Full,
    /// No connection, or it broke before an answer.
    Unreachable,
    /// No connection, no answer or no end of it in time.
    Timeout,
    /// Not HTTP, or cut off.
    Invalid,
    /// Longer than the limit.
    TooLarge,
    /// The credential cannot be had: its issuer refused.
    Unauthenticated,
    /// The vendor is known to be out of service, or says so.
    Unavailable,
    /// The vendor's own rate limit.
    RateLimited,
    /// The vendor failed.
    Failed,
    /// A status that has no meaning here.
    UnexpectedStatus,
    /// The gateway ends and waits no longer.
    Shutdown,
}

/// One trouble, with what it means for the update.
#[derive(Debug, Clone)]
pub struct TransportError {
    /// What sort.
    pub kind: TransportErrorKind,
    /// Whether the change may have reached the vendor.
    pub applied: Applied,
    /// A sentence for the caller. Never holds a secret or an address of the inside.
    pub detail: String,
    /// RFC 9209 error type.
    pub proxy_error: ProxyError,
    /// When it is worth coming back, in seconds.
    pub retry_after: Option<u64>,
    /// The vendor's status, if there was one.
    pub status: Option<u16>,
    /// Whether the gateway did not send because the upstream is to be left alone.
    pub shed: bool,
}

impl TransportError {
    /// A trouble of this kind.
    pub fn new(
        kind: TransportErrorKind,
        applied: Applied,
        proxy_error: ProxyError,
        detail: impl Into<String>,
    ) -> Self {
        let detail = detail.into();
        TransportError { kind, applied, detail, proxy_error, retry_after: None, status: None, shed: false }
    }

    /// This upstream's share is in use.
    pub fn full(max_in_flight: usize) -> Self {
        TransportError {
            retry_after: Some(1),
            ..TransportError::new(
                TransportErrorKind::Full,
                Applied::No,
                ProxyError::ConnectionLimitReached,
                format!("This upstream has {max_in_flight} requests in flight, as many as it may."),
            )
        }
    }

    /// The gateway does not send now: the upstream is to be left alone for so many seconds.
    pub(crate) fn shed(kind: TransportErrorKind, proxy_error: ProxyError, seconds: u64, why: &str) -> Self {
        let seconds = seconds.max(1);
        let detail = format!("{why}; nothing was sent. It is worth trying again in {seconds} s.");
        let retry_after = Some(seconds);
        TransportError {
            retry_after,
            shed: true,
            ..TransportError::new(kind, Applied::No, proxy_error, detail)
        }
    }

    /// Whether the way to the vendor is closed: said at once, and nobody was kept waiting or busy by it.
    pub(crate) fn is_plain_refusal(&self) -> bool {
        matches!(
            self.proxy_error,
            ProxyError::ConnectionRefused | ProxyError::DnsError | ProxyError::DestinationIpProhibited
        )
    }

    /// The time was over before anything was sent.
    pub fn not_sent(expired: Expired) -> Self {
        let (kind, proxy_error, detail) = match expired {
            Expired::Timeout => (
                TransportErrorKind::Timeout,
                ProxyError::ConnectionTimeout,
                "The request could not be sent in time; the vendor has not had the update.",
            ),
            Expired::Shutdown => (
                TransportErrorKind::Shutdown,
                ProxyError::ProxyInternalResponse,
                "The gateway is shutting down and did not send the update.",
            ),
        };
        TransportError::new(kind, Applied::No, proxy_error, detail)
    }

    /// The time was over after the request had been sent.
    pub(crate) fn not_answered(expired: Expired) -> Self {
        let (kind, detail) = match expired {
            Expired::Timeout => (
                TransportErrorKind::Timeout,
                "The vendor did not answer in time; whether it applied the update is not known.",
            ),
            Expired::Shutdown => (
                TransportErrorKind::Shutdown,
                "The gateway is shutting down and waits no longer for the vendor's answer; whether it applied the update is not known.",
            ),
        };
        TransportError::new(kind, Applied::Unknown, ProxyError::HttpResponseTimeout, detail)
    }

    /// The time was over in the middle of a successful answer.
    pub(crate) fn stalled(expired: Expired) -> Self {
        let (kind, detail) = match expired {
            Expired::Timeout => (
                TransportErrorKind::Timeout,
                "The vendor's answer stalled after its status said success; the update was applied.",
            ),
            Expired::Shutdown => (
                TransportErrorKind::Shutdown,
                "The gateway is shutting down and waits no longer for the rest of the vendor's answer; the update was applied.",
            ),
        };
        TransportError::new(kind, Applied::Yes, ProxyError::HttpResponseTimeout, detail)
    }
}

impl std::fmt::Display for TransportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for TransportError {}
