//! Classification of unsuccessful replies: the status gives the kind, the body gives code, message and members.

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::canonical::pointer;
use crate::failure::{Failure, FailureKind, VendorError, clip};
use crate::spec::{BodyFormat, Spec};

/// Classifies an unsuccessful reply.
pub(crate) fn failure(spec: &Spec, reply: &Response<Bytes>) -> Failure {
    let error = VendorError::of(reply);
    let kind = match reply.status() {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            FailureKind::Rejected
        }
        StatusCode::UNAUTHORIZED => FailureKind::Unauthenticated,
        StatusCode::PAYMENT_REQUIRED => FailureKind::PaymentRequired,
        StatusCode::FORBIDDEN if (spec.is_payment_required)(&error) => FailureKind::PaymentRequired,
        StatusCode::FORBIDDEN => FailureKind::Forbidden,
        StatusCode::NOT_FOUND | StatusCode::GONE => FailureKind::NotFound,
        StatusCode::CONFLICT => FailureKind::Conflict,
        StatusCode::TOO_MANY_REQUESTS => FailureKind::RateLimited,
        StatusCode::SERVICE_UNAVAILABLE => FailureKind::Unavailable,
        status if (500..600).contains(&status.as_u16()) => FailureKind::Error,
        _ => FailureKind::UnexpectedStatus,
    };
    into_failure(error, spec, kind)
}

/// The failure of a vendor error, with its members as canonical pointers.
pub fn into_failure(error: VendorError, spec: &Spec, kind: FailureKind) -> Failure {
    let fields =
        error.fields.iter().map(|(path, detail)| (canonical_pointer(spec, path), clip(detail))).collect();
    Failure { kind, vendor_code: error.code, vendor_message: error.message, fields }
}

/// Canonical pointer of a path of vendor members; empty for a member that is in no row.
fn canonical_pointer(spec: &Spec, path: &[String]) -> String {
    let is_envelope = |name: &str| {
        spec.update.iter().any(|it| matches!(it.body, BodyFormat::JsonEnvelope(envelope) if envelope == name))
    };
    let path = match path {
        [first, inner @ ..] if !inner.is_empty() && is_envelope(first) => inner,
        path => path,
    };
    let Some((wire, deeper)) = path.split_first() else { return String::new() };
    let Some(row) = spec.rows().find(|row| row.wire == wire) else { return String::new() };
    deeper.iter().fold(row.field.pointer().to_owned(), |base, name| pointer(&base, name))
}
