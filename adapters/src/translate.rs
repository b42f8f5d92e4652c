//! Translations that are the same for all vendors: encoding, and the checks before decoding.

use bytes::Bytes;
use http::{Response, StatusCode, header};

use crate::adapter::Adapter;
use crate::call::{DecodeContext, DecodeError, EncodeRequest, Encoded, ValidationError};
use crate::canonical::{Conversation, FaultCode, Field, Subject, Warning, WarningCode};
use crate::spec::{Conversion, Spec};
use crate::vendors::ALL;
use crate::{confirmation, reading, table, trust};

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

/// Decodes an answer with status 2xx to an update or a read.
///
/// A read is trusted only if it is the conversation that was asked for. An update fails if its answer is an error and no
/// conversation; one that is empty or only white space confirms what was set. Whatever is reported otherwise than it was
/// set, is about another conversation, or is only accepted, has a warning.
///
/// # Errors
///
/// Fails if the answer has a content coding, is not JSON, has no conversation, or reports a failure.
pub fn decode<'a>(
    adapter: &dyn Adapter,
    cx: &DecodeContext<'a>,
    reply: &'a Response<Bytes>,
) -> Result<Conversation<'a>, DecodeError> {
    let spec = adapter.spec();
    if !cx.is_update() {
        check_coding(reply)?;
        return read(adapter, cx, reply).map_err(|reason| trust::explain(spec, reply, reason));
    }
    let mut conversation = if trust::is_blank(reply) {
        reading::confirm(cx)
    } else {
        check_coding(reply)?;
        match updated(adapter, cx, reply) {
            Ok(conversation) if conversation.subject == Subject::Asked => conversation,
            Ok(_) | Err(DecodeError::Invalid(_)) if reply.status() == StatusCode::MULTI_STATUS => {
                Conversation { vendor_data: trust::parts(spec, reply)?, ..reading::confirm(cx) }
            }
            Ok(conversation) => conversation,
            Err(reason) => return Err(trust::explain(spec, reply, reason)),
        }
    };
    warn(spec, cx, reply.status(), &mut conversation);
    Ok(conversation)
}

/// Reads the conversation that was asked for, and no other answer.
fn read<'a>(
    adapter: &dyn Adapter,
    cx: &DecodeContext<'a>,
    reply: &'a Response<Bytes>,
) -> Result<Conversation<'a>, DecodeError> {
    if reply.status() != StatusCode::OK {
        let status = reply.status().as_u16();
        return Err(DecodeError::Invalid(format!("it has the status {status}; a read has 200")));
    }
    check_type(reply)?;
    let conversation = adapter.decode_read(cx, reply)?;
    trust::refuse_error(adapter.spec(), cx, reply, &conversation)?;
    trust::refuse_other(&conversation)?;
    Ok(conversation)
}

/// Reads the conversation, or the confirmation, that an update is answered by.
fn updated<'a>(
    adapter: &dyn Adapter,
    cx: &DecodeContext<'a>,
    reply: &'a Response<Bytes>,
) -> Result<Conversation<'a>, DecodeError> {
    check_type(reply)?;
    let conversation = adapter.decode(cx, reply)?;
    trust::refuse_error(adapter.spec(), cx, reply, &conversation)?;
    Ok(conversation)
}

/// Adds the warnings about an update that was made.
fn warn(spec: &Spec, cx: &DecodeContext<'_>, status: StatusCode, conversation: &mut Conversation<'_>) {
    if !conversation.is_confirmation {
        let differences = confirmation::differences(spec, cx, conversation);
        conversation.warnings.extend(differences);
    }
    let mut add = |code: WarningCode, detail: String| {
        conversation.warnings.push(Warning { code: code.as_str(), pointer: None, detail });
    };
    if conversation.subject == Subject::Other {
        let detail = format!("{} answered about another conversation than the one asked for.", spec.title);
        add(WarningCode::OtherId, detail);
    }
    let is_vague = status == StatusCode::MULTI_STATUS && conversation.subject != Subject::Asked;
    if status == StatusCode::ACCEPTED || is_vague {
        let detail = format!(
            "{} answered {}, which does not say that the update is made.",
            spec.title,
            status.as_u16()
        );
        add(WarningCode::Accepted, detail);
    }
}

/// Refuses a content coding, because none was requested.
fn check_coding(reply: &Response<Bytes>) -> Result<(), DecodeError> {
    let coding = reply.headers().get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    match coding {
        None | Some("") => Ok(()),
        Some(coding) if coding.eq_ignore_ascii_case("identity") => Ok(()),
        Some(coding) => Err(DecodeError::Invalid(format!(
            "it is coded as '{}', which was not asked for",
            coding.escape_debug()
        ))),
    }
}

/// Refuses a content type that is not JSON.
fn check_type(reply: &Response<Bytes>) -> Result<(), DecodeError> {
    let essence = trust::content_type(reply);
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
