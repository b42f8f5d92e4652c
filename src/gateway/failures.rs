//! Failures of adapters and transport, translated into problems.

use bytes::Bytes;
use http::{HeaderMap, Response};
use parlance_adapters::{Failure, FailureKind};

use crate::types::code::{AnsweredBy, Applied, Code, ProxyError};
use crate::types::problem::{FieldError, Problem, VendorPart};
use crate::upstream::Upstream;
use crate::upstream::transport::{TransportError, TransportErrorKind};

impl Problem {
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
    pub fn from_transport(error: TransportError, upstream: &Upstream) -> Self {
        let code = match error.kind {
            TransportErrorKind::Full => Code::Overloaded,
            TransportErrorKind::Unreachable => Code::VendorUnreachable,
            TransportErrorKind::Timeout => Code::VendorTimeout,
            TransportErrorKind::Invalid => Code::VendorInvalidResponse,
            TransportErrorKind::TooLarge => Code::VendorResponseTooLarge,
            TransportErrorKind::Unauthenticated => Code::VendorUnauthenticated,
            TransportErrorKind::Unavailable => Code::VendorUnavailable,
            TransportErrorKind::RateLimited => Code::VendorRateLimited,
            TransportErrorKind::Failed => Code::VendorError,
            TransportErrorKind::UnexpectedStatus => Code::VendorUnexpectedStatus,
            TransportErrorKind::Shutdown if error.applied == Applied::No => Code::Draining,
            TransportErrorKind::Shutdown => Code::VendorTimeout,
        };
        let mut problem = Problem::new(code, error.detail).about(upstream);
        problem.applied = error.applied;
        if error.shed || error.kind == TransportErrorKind::Shutdown {
            problem.answered_by = AnsweredBy::Gateway;
        }
        // Another replica takes it, or the one that comes in the place of this one.
        problem.retry_after = error.retry_after.or((code == Code::Draining).then_some(1));
        if let Some(part) = &mut problem.vendor {
            part.status = error.status;
            part.proxy_error = Some(error.proxy_error);
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
}

pub(super) fn refused(upstream: &Upstream, refusal: parlance_adapters::Refusal) -> Problem {
    upstream.traffic.refused(&refusal.faults);
    let details: Vec<&str> = refusal.faults.iter().map(|fault| fault.detail.as_str()).collect();
    let mut problem = Problem::new(Code::InvalidPatch, details.join(" ")).about(upstream);
    problem.errors = refusal.faults.into_iter().map(FieldError::from).collect();
    problem
}

/// An unsuccessful answer as a problem.
pub(super) fn failed(
    upstream: &Upstream,
    status: u16,
    headers: &HeaderMap,
    failure: Failure,
    applied: Option<Applied>,
) -> Problem {
    let mut problem = Problem::from_failure(failure, status, upstream);
    problem.retry_after = crate::types::retry_after::seconds(headers).filter(|_| problem.code.retryable());
    problem.applied = applied.unwrap_or(problem.applied);
    problem
}

pub(super) fn invalid(upstream: &Upstream, reply: &Response<Bytes>, why: &str, applied: Applied) -> Problem {
    let mut problem = Problem::new(
        Code::VendorInvalidResponse,
        format!("The vendor's answer cannot be understood: {why}."),
    )
    .about(upstream);
    problem.applied = applied;
    if let Some(part) = &mut problem.vendor {
        part.status = Some(reply.status().as_u16());
        part.proxy_error = Some(ProxyError::HttpProtocolError);
    }
    problem
}
