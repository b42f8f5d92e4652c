//! Judgement of answers with status 2xx: errors in spite of the status, and reads that are not the conversation.

use bytes::Bytes;
use http::{Response, StatusCode, header};

use crate::call::{DecodeContext, DecodeError};
use crate::canonical::{Conversation, RawMember, Reported, Status, Subject};
use crate::classify::into_failure;
use crate::failure::{FailureKind, VendorError};
use crate::json::{Kind, Raw, Reader, unescape};
use crate::reading;
use crate::spec::Spec;

/// Sort of an error's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A member says that the call failed.
    Error,
    /// A problem of RFC 9457, whose `title` is not the conversation's.
    Problem,
}

/// Refuses an error; if it answers an update, only one that is no conversation.
///
/// # Errors
///
/// Fails with the vendor's words.
pub(crate) fn refuse_error(
    spec: &Spec,
    cx: &DecodeContext<'_>,
    reply: &Response<Bytes>,
    conversation: &Conversation<'_>,
) -> Result<(), DecodeError> {
    let is_conversation = |shape| cx.is_update() && has_more_than_an_id(conversation, shape);
    match shape(spec, reply, conversation) {
        Some(shape) if !is_conversation(shape) => Err(refusal(spec, reply)),
        _ => Ok(()),
    }
}

/// Refuses a read that is not the conversation that was asked for.
///
/// # Errors
///
/// Fails with the reason.
pub(crate) fn refuse_other(conversation: &Conversation<'_>) -> Result<(), DecodeError> {
    match conversation.subject {
        Subject::Asked => Ok(()),
        Subject::Other => {
            Err(DecodeError::Invalid("it is another conversation than the one asked for".to_owned()))
        }
        Subject::Unnamed => Err(DecodeError::Invalid("it does not hold the conversation's id".to_owned())),
    }
}

/// Shape of an error in the members that have no canonical place, the status, or the content type.
fn shape(spec: &Spec, reply: &Response<Bytes>, conversation: &Conversation<'_>) -> Option<Shape> {
    if is_problem(reply) {
        return Some(Shape::Problem);
    }
    let is_asked = conversation.subject == Subject::Asked;
    // A conversation of such a vendor may well be in error.
    let has_status = is_asked && spec.read_members.contains(&"status");
    // Most names are told apart by their first byte; an escape may stand for any.
    let may_be_sign = |name: &str| {
        let first = name.bytes().next().unwrap_or_default();
        first == b'\\' || b"cehos".contains(&first.to_ascii_lowercase())
    };
    let members = conversation.vendor_data.iter();
    let found = members
        .filter(|member| may_be_sign(member.name))
        .filter_map(|member| sign(&unescape(member.name), Raw::trusted(&member.value), is_asked, has_status));
    let status =
        (!has_status && conversation.status == Reported::Value(Status::Error)).then_some(Shape::Error);
    found.max_by_key(|shape| *shape == Shape::Problem).or(status)
}

/// Shape that one member gives to an answer.
fn sign(name: &str, value: Raw<'_>, is_asked: bool, has_status: bool) -> Option<Shape> {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    let (error, problem) = match name.len() {
        2 => (is("ok") && is_false(value), false),
        4 => (
            false,
            is("code") && !is_asked && number(value).is_some_and(|code| (400.0..600.0).contains(&code)),
        ),
        5 => (is("error") && !reading::is_empty(value), false),
        6 if is("errors") => (!reading::is_empty(value), false),
        6 if is("status") => (!has_status && says_error(value), is_failed(value)),
        7 => (is("success") && is_false(value), false),
        8..=16 => (false, STATUS_NUMBERS.iter().any(|known| is(known)) && is_failed(value)),
        _ => return None,
    };
    match (error, problem) {
        (_, true) => Some(Shape::Problem),
        (true, false) => Some(Shape::Error),
        (false, false) => None,
    }
}

/// Names of members that hold a status number.
const STATUS_NUMBERS: [&str; 8] = [
    "statusCode",
    "status_code",
    "httpStatus",
    "http_status",
    "httpCode",
    "http_code",
    "httpStatusCode",
    "http_status_code",
];

/// Returns true if a `status` is false, a number of 400 or more, or a word that says error or failure.
pub(crate) fn says_error(status: Raw<'_>) -> bool {
    if status.as_bool() == Some(false) || is_failed(status) {
        return true;
    }
    let word = status.as_str().unwrap_or_default();
    // The last word of several: `validation_error`, but not `no_error`.
    let mut words = word.trim().split(|c: char| !c.is_ascii_alphanumeric());
    let last = words.next_back().unwrap_or_default();
    let is_denied =
        words.any(|word| ["no", "not", "non", "without"].iter().any(|no| word.eq_ignore_ascii_case(no)));
    let fails = ["error", "errored", "fail", "failed", "failure"];
    !is_denied && fails.iter().any(|fails| last.eq_ignore_ascii_case(fails))
}

/// Returns true for a status number of 400 or more.
fn is_failed(status: Raw<'_>) -> bool {
    number(status).is_some_and(|status| status >= 400.0)
}

/// Value of a number, or of the digits that a text begins with.
fn number(value: Raw<'_>) -> Option<f64> {
    if value.kind() == Kind::Number {
        return value.text().parse().ok();
    }
    let text = value.as_str()?;
    let first = text.split_whitespace().next()?;
    first.bytes().all(|b| b.is_ascii_digit()).then(|| first.parse().ok())?
}

fn is_false(value: Raw<'_>) -> bool {
    matches!(value.text(), "false" | "0")
        || value.as_str().is_some_and(|word| word.trim().eq_ignore_ascii_case("false"))
}

/// Returns true if an answer with an error's shape is the conversation all the same: with the id that was asked for and
/// a further member. The status does not count, because it may be derived; a problem has a title of its own.
fn has_more_than_an_id(it: &Conversation<'_>, shape: Shape) -> bool {
    fn is_there<T>(slot: &Reported<T>) -> bool {
        !matches!(slot, Reported::Absent)
    }
    let members = [
        is_there(&it.title) && shape != Shape::Problem,
        is_there(&it.archived),
        is_there(&it.important),
        is_there(&it.tags),
        is_there(&it.context),
        is_there(&it.instructions),
        is_there(&it.agent),
        is_there(&it.contact),
        is_there(&it.created_at),
        is_there(&it.updated_at),
        is_there(&it.last_message_at),
        is_there(&it.message_count),
        it.messages.is_some(),
    ];
    it.subject == Subject::Asked && !it.is_confirmation && members.contains(&true)
}

/// Returns true for an answer to an update without any word: empty, or only white space and a byte order mark.
pub(crate) fn is_blank(reply: &Response<Bytes>) -> bool {
    let body = reply.body();
    body.first() != Some(&b'{')
        && str::from_utf8(body).is_ok_and(|text| text.chars().all(|c| c.is_whitespace() || c == '\u{feff}'))
        && !is_problem(reply)
}

/// Returns true for a problem of RFC 9457.
fn is_problem(reply: &Response<Bytes>) -> bool {
    content_type(reply).eq_ignore_ascii_case("application/problem+json")
}

/// Media type of an answer, without its parameters.
pub(crate) fn content_type(reply: &Response<Bytes>) -> &str {
    let value = reply.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

/// The failure of an answer that is an error.
pub(crate) fn refusal(spec: &Spec, reply: &Response<Bytes>) -> DecodeError {
    let is_nested = reply.status() == StatusCode::MULTI_STATUS;
    let error = whole(reply.body()).and_then(|body| erroneous(body, is_nested));
    let error =
        error.map_or_else(|| VendorError::of(reply), |error| VendorError::read(error.text().as_bytes()));
    DecodeError::Failed(into_failure(error, spec, FailureKind::Rejected))
}

/// Looks for an error in an answer that gave no conversation; else the reason stays as it is.
pub(crate) fn explain(spec: &Spec, reply: &Response<Bytes>, reason: DecodeError) -> DecodeError {
    let is_nested = reply.status() == StatusCode::MULTI_STATUS;
    let is_error =
        || is_problem(reply) || whole(reply.body()).and_then(|body| erroneous(body, is_nested)).is_some();
    match reason {
        DecodeError::Invalid(_) if is_error() => refusal(spec, reply),
        reason => reason,
    }
}

/// The object with an error's shape: the value itself, an item of a list, a part in an envelope, or any part of it.
fn erroneous(value: Raw<'_>, any_part: bool) -> Option<Raw<'_>> {
    let members = value.members();
    if members.iter().any(|(key, value)| sign(&key.name(), *value, false, false).is_some()) {
        return Some(value);
    }
    let parts =
        members.into_iter().filter(|(key, _)| any_part || key.name() == "data").map(|(_, value)| value);
    parts.chain(value.items()).find_map(|part| erroneous(part, any_part))
}

/// The JSON value that a body consists of. A byte order mark before it makes no conversation, but hides no error.
fn whole(body: &[u8]) -> Option<Raw<'_>> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let mut reader = Reader::lenient(body).ok()?;
    let value = reader.raw().ok()?;
    reader.end().ok().map(|()| value)
}

/// Members of an answer that confirms an update in parts (207), as they are.
///
/// # Errors
///
/// Fails if the answer is no JSON, or a part of it is an error.
pub(crate) fn parts<'a>(spec: &Spec, reply: &'a Response<Bytes>) -> Result<Vec<RawMember<'a>>, DecodeError> {
    let Some(body) = whole(reply.body()) else {
        return Err(DecodeError::Invalid("it is not JSON".to_owned()));
    };
    if erroneous(body, true).is_some() {
        return Err(refusal(spec, reply));
    }
    let kept = |name, value: Raw<'a>| RawMember { name, value: value.text().into() };
    Ok(match body.kind() {
        Kind::Object => body.members().into_iter().map(|(key, value)| kept(key.written(), value)).collect(),
        _ => vec![kept("body", body)],
    })
}
