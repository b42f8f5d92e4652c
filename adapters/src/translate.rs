//! Translations that are the same for all vendors: encoding, and the checks before decoding.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, header};

use crate::adapter::Adapter;
use crate::call::{DecodeContext, DecodeError, EncodeRequest, Encoded, ValidationError};
use crate::canonical::{Conversation, FaultCode, Field};
use crate::spec::Conversion;
use crate::vendors::ALL;
use crate::{reading, table};

impl dyn Adapter + '_ {
    /// Encodes the one call that applies a patch, by the rows of [`spec`](Adapter::spec). Not a method of the trait,
    /// because it distinguishes members that this vendor lacks from members that no vendor of [`ALL`] has.
    ///
    /// # Errors
    ///
    /// Fails with every fault of the patch if no call can apply it.
    pub fn encode(&self, request: &EncodeRequest<'_>) -> Result<Encoded, ValidationError> {
        table::encode(self.spec(), request, is_known)
    }
}

/// Decodes a successful answer to an update or a read. An empty answer to an update confirms what was set.
///
/// # Errors
///
/// Fails if the answer has a content coding, is not JSON, has no conversation, or reports a failure.
pub fn decode<'a>(
    adapter: &dyn Adapter,
    cx: &DecodeContext<'a>,
    reply: &'a Response<Bytes>,
) -> Result<Conversation<'a>, DecodeError> {
    if !cx.is_update() {
        check_headers(reply.headers())?;
        return adapter.decode_read(cx, reply);
    }
    if reply.body().is_empty() {
        return Ok(reading::confirm(cx));
    }
    check_headers(reply.headers())?;
    adapter.decode(cx, reply)
}

/// Refuses a content coding, because none was requested, and a content type that is not JSON.
fn check_headers(headers: &HeaderMap) -> Result<(), DecodeError> {
    let header =
        |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let coding = header(header::CONTENT_ENCODING);
    if !coding.is_empty() && !coding.eq_ignore_ascii_case("identity") {
        return Err(DecodeError::Invalid(format!(
            "it is coded as '{}', which was not asked for",
            coding.escape_debug()
        )));
    }
    let content_type = header(header::CONTENT_TYPE);
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let json = essence.len().checked_sub(4).and_then(|start| essence.get(start..));
    if essence.is_empty()
        || json.is_some_and(|end| end.eq_ignore_ascii_case("json"))
        || essence.eq_ignore_ascii_case("text/plain")
        || essence.eq_ignore_ascii_case("application/octet-stream")
    {
        return Ok(());
    }
    Err(DecodeError::Invalid(format!("it is of the type '{}', not JSON", essence.escape_debug())))
}

/// Fields that any vendor of [`ALL`] can set, in the order of [`Field::ALL`]: the members of an update in the API.
pub fn fields() -> impl Iterator<Item = Field> {
    Field::ALL.iter().copied().filter(|field| is_known(*field))
}

fn is_known(field: Field) -> bool {
    ALL.iter().any(|adapter| adapter.spec().row(field).is_some())
}

/// Faults that a patch can have with the vendors of [`ALL`], in the order of [`FaultCode::ALL`].
pub fn fault_codes() -> impl Iterator<Item = FaultCode> {
    FaultCode::ALL.into_iter().filter(|code| {
        ALL.iter().map(|adapter| adapter.spec()).any(|spec| match code {
            FaultCode::CannotCombine => spec.update.len() > 1,
            FaultCode::UnknownValue => spec.rows().any(|row| matches!(row.conversion, Conversion::Word(_))),
            _ => true,
        })
    })
}
