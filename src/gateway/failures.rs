//! Failures of adapters and of transport, translated into problems.

use http::header;
use parlance_adapters::{DecodeError, Failure, FailureKind, ValidationError};

use crate::idempotency::turns::TurnError;
use crate::types::code::{AnsweredBy, Applied, Code, ProxyError};
use crate::types::etag::ETag;
use crate::types::problem::{FieldError, Problem, VendorPart};
use crate::types::retry_after;
use crate::upstream::Upstream;
use crate::upstream::transport::{Reply, TransportError, TransportErrorKind};

/// Names the upstream that a problem is about.
pub(super) fn about(upstream: &Upstream, problem: Problem) -> Problem {
    let part = VendorPart {
        vendor: upstream.settings.vendor.spec().vendor,
        upstream: upstream.settings.adapter.name.clone(),
        ..VendorPart::default()
    };
    Problem { vendor: Some(Box::new(part)), ..problem }
}

/// Translates the faults of a patch.
pub(super) fn validation(upstream: &Upstream, error: ValidationError) -> Problem {
    upstream.traffic.refused(&error.faults);
    let details: Vec<&str> = error.faults.iter().map(|fault| fault.detail.as_str()).collect();
    let problem = about(upstream, Problem::new(Code::InvalidPatch, details.join(" ")));
    Problem { errors: error.faults.into_iter().map(FieldError::from).collect(), ..problem }
}

/// Translates an error of transport.
pub(super) fn transport(upstream: &Upstream, error: TransportError) -> Problem {
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
    let mut problem = about(upstream, Problem::new(code, error.detail));
    problem.applied = error.applied;
    if error.shed || error.kind == TransportErrorKind::Shutdown {
        problem.answered_by = AnsweredBy::Gateway;
    }
    // Another replica takes the request, or the process that replaces this one.
    problem.retry_after = error.retry_after.or((code == Code::Draining).then_some(1));
    if let Some(part) = &mut problem.vendor {
        part.status = error.status;
        part.proxy_error = Some(error.proxy_error);
    }
    problem
}

/// Translates a reply that is no success.
pub(super) fn vendor(upstream: &Upstream, reply: &Reply) -> Problem {
    let status = reply.response.status().as_u16();
    let applied = match status {
        _ if reply.maybe_applied => Applied::Unknown,
        400..500 => Applied::No,
        _ => Applied::Unknown,
    };
    failure(upstream, reply, upstream.settings.vendor.failure(&reply.response), applied)
}

fn failure(upstream: &Upstream, reply: &Reply, failure: Failure, applied: Applied) -> Problem {
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
    let (title, status) = (upstream.settings.vendor.spec().title, reply.response.status().as_u16());
    let detail = match &failure.vendor_message {
        Some(message) => format!("{title} answered {status}: {message}"),
        None => format!("{title} answered {status}."),
    };
    let mut problem = about(upstream, Problem::new(code, detail));
    problem.applied = applied;
    problem.retry_after = retry_after::seconds(reply.response.headers()).filter(|_| code.retryable());
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

/// Translates a successful reply to an update that gives no conversation.
pub(super) fn undecodable(upstream: &Upstream, reply: &Reply, error: DecodeError) -> Problem {
    match error {
        DecodeError::Failed(found) => failure(upstream, reply, found, Applied::Unknown),
        DecodeError::Invalid(reason) => invalid(upstream, reply, &reason, Applied::Yes),
    }
}

/// Translates a successful reply to a read that gives no conversation.
pub(super) fn unreadable(upstream: &Upstream, reply: &Reply, error: DecodeError) -> Problem {
    let mut problem = invalid(upstream, reply, &error.to_string(), Applied::No);
    if let (DecodeError::Failed(found), Some(part)) = (error, &mut problem.vendor) {
        part.code = found.vendor_code;
        part.message = found.vendor_message;
    }
    problem
}

/// Says that the update was not sent, because the read before it failed.
pub(super) fn not_read(problem: Problem) -> Problem {
    let detail =
        format!("The conversation could not be read first, so nothing was changed. {}", problem.detail);
    Problem { detail, ..problem }
}

/// Adds to an error of transport what it means for the update.
pub(super) fn update(mut problem: Problem) -> Problem {
    problem.detail.push_str(match problem.applied {
        Applied::No => "",
        Applied::Unknown => " Whether the vendor applied the update is not known.",
        Applied::Yes => " The vendor applied the update.",
    });
    problem
}

/// Says that other updates of the conversation were first.
pub(super) fn no_turn(error: &TurnError) -> Problem {
    let code = match error {
        TurnError::Busy | TurnError::Lost => Code::ConversationBusy,
        TurnError::Shutdown => Code::Draining,
        TurnError::Store(_) => Code::IdempotencyStoreUnavailable,
    };
    Problem::new(code, format!("{error}; nothing was sent.")).retry_after(1)
}

/// Says that the vendor's conversations take no conditions.
pub(super) fn unconditional(upstream: &Upstream) -> Problem {
    let title = upstream.settings.vendor.spec().title;
    let detail = format!(
        "A read of {title} does not show what an update writes, so that If-Match cannot be tested; leave it out."
    );
    about(upstream, Problem::new(Code::PreconditionUnsupported, detail))
}

/// Says that the conversation has another state than the condition names.
pub(super) fn changed(upstream: &Upstream, etag: Option<ETag>) -> Problem {
    let detail =
        "The conversation was changed since it was read with that ETag, so nothing was sent; read it again.";
    let mut problem = about(upstream, Problem::new(Code::PreconditionFailed, detail));
    problem.headers.extend(etag.map(|etag| (header::ETAG, etag.header())));
    problem
}

fn invalid(upstream: &Upstream, reply: &Reply, reason: &str, applied: Applied) -> Problem {
    let detail = format!("The vendor's answer cannot be understood: {reason}.");
    let mut problem = about(upstream, Problem::new(Code::VendorInvalidResponse, detail));
    problem.applied = applied;
    if let Some(part) = &mut problem.vendor {
        part.status = Some(reply.response.status().as_u16());
        part.proxy_error = Some(ProxyError::HttpProtocolError);
    }
    problem
}
