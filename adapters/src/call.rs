//! Input and output of a translation: the request to encode, the call to send, the context of its answer.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use http::Request;

use crate::body;
use crate::canonical::{Conversation, Fault, Field, Patch, Reported, Warning};
use crate::failure::Failure;
use crate::json::{JsonError, Kind, Raw, Reader};
use crate::merge::merge;
use crate::spec::{BodyFormat, Conversion, Row};
use crate::target::{Target, VendorEndpoint};

/// Input of [`encode`](trait.Adapter.html#method.encode).
#[derive(Debug, Clone, Copy)]
pub struct EncodeRequest<'a> {
    /// Upstream that keeps the conversation.
    pub endpoint: &'a VendorEndpoint,
    /// Conversation to update.
    pub target: &'a Target,
    /// Changes to make.
    pub patch: &'a Patch<'a>,
    /// True for `application/merge-patch+json`: an object `context` is merged into the stored one.
    pub merge: bool,
    /// True if members that cannot be set are left out with a warning.
    pub lenient: bool,
    /// Idempotency key, for vendors that take one.
    pub idempotency_key: Option<&'a str>,
}

/// A call that is ready, or one that needs the stored context first.
#[derive(Debug)]
pub enum Encoded {
    /// The call can be sent.
    Ready(UpstreamCall),
    /// The stored context must be merged in.
    NeedsStored(PendingMerge),
}

/// The one request that applies a patch, and the values that it sets.
#[derive(Debug, Clone)]
pub struct UpstreamCall {
    /// Request without its credential.
    pub request: Request<Bytes>,
    /// Warnings about members that were left out.
    pub warnings: Vec<Warning>,
    pub(crate) set: Vec<SetField>,
    /// The caller's body, which the values of `set` are parts of.
    pub(crate) source: Bytes,
}

/// A field that a call sets.
#[derive(Debug, Clone)]
pub(crate) struct SetField {
    pub(crate) field: Field,
    pub(crate) value: SetValue,
}

/// Canonical value of a field that a call sets; of an agent or contact its id.
#[derive(Debug, Clone)]
pub(crate) enum SetValue {
    Null,
    /// Place in the caller's body.
    Source(Range<usize>),
    /// JSON text of a merged context.
    Merged(String),
}

impl UpstreamCall {
    /// Fields that the call sets, in the order of the patch.
    pub fn fields(&self) -> impl Iterator<Item = Field> {
        self.set.iter().map(|set| set.field)
    }

    /// Canonical value that the call sets; of an agent or contact the id.
    pub fn value(&self, field: Field) -> Reported<Raw<'_>> {
        let Some(set) = self.set.iter().find(|set| set.field == field) else { return Reported::Absent };
        let text = match &set.value {
            SetValue::Null => return Reported::Null,
            SetValue::Source(at) => self.source.get(at.clone()).and_then(|text| str::from_utf8(text).ok()),
            SetValue::Merged(text) => Some(text.as_str()),
        };
        text.map_or(Reported::Absent, |text| Reported::Value(Raw::trusted(text)))
    }
}

/// A call whose context must be merged into the stored one. It has no request that could be sent.
#[derive(Debug, Clone)]
pub struct PendingMerge {
    pub(crate) call: UpstreamCall,
    pub(crate) row: &'static Row,
    pub(crate) title: &'static str,
    pub(crate) format: BodyFormat,
    /// Place of the context in the request body.
    pub(crate) at: Range<usize>,
}

impl PendingMerge {
    /// Merges the context into the one of `stored` (RFC 7396) and completes the call.
    ///
    /// # Errors
    ///
    /// Fails if the merged context is longer than the vendor takes.
    pub fn merge(mut self, stored: &Conversation<'_>) -> Result<UpstreamCall, ValidationError> {
        let Reported::Value(patch) = self.call.value(self.row.field) else { return Ok(self.call) };
        let stored = match stored.context {
            Reported::Value(stored) => stored,
            Reported::Null | Reported::Absent => Raw::NULL,
        };
        // An object that is kept as text is merged as an object.
        let as_text = matches!(self.row.conversion, Conversion::ContextAsText { .. });
        let text = stored.as_str().filter(|_| as_text);
        let stored = text.as_deref().map_or(stored, |text| object(text).unwrap_or(Raw::NULL));
        let mut merged = String::with_capacity(stored.text().len() + patch.text().len());
        merge(stored, patch, &mut merged);

        let value = body::context(self.row, self.title, Raw::trusted(&merged))
            .map_err(|fault| ValidationError { faults: vec![fault] })?;
        let unmerged = self.call.request.body();
        let (before, after) = (
            unmerged.get(..self.at.start).unwrap_or_default(),
            unmerged.get(self.at.end..).unwrap_or_default(),
        );
        let mut body = Vec::with_capacity(before.len() + value.len() + after.len());
        body.extend_from_slice(before);
        body::encode_value(self.format, &value, &mut body);
        body.extend_from_slice(after);
        *self.call.request.body_mut() = Bytes::from(body);
        if let Some(set) = self.call.set.iter_mut().find(|set| set.field == self.row.field) {
            set.value = SetValue::Merged(merged);
        }
        Ok(self.call)
    }

    /// The call with the context of the patch alone, to be shown and not to be sent.
    pub fn into_unmerged(self) -> UpstreamCall {
        self.call
    }
}

/// The object that a text consists of.
pub(crate) fn object(text: &str) -> Option<Raw<'_>> {
    let mut reader = Reader::lenient(text.as_bytes()).ok()?;
    let value = reader.raw().ok().filter(|value| value.kind() == Kind::Object)?;
    reader.end().ok().map(|()| value)
}

/// Input of [`decode`](crate::decode): the conversation that was asked for, and what was set.
#[derive(Debug, Clone, Copy)]
pub struct DecodeContext<'a> {
    target: &'a Target,
    call: Option<&'a UpstreamCall>,
}

impl<'a> DecodeContext<'a> {
    /// Context of an answer to an update.
    pub fn of_update(target: &'a Target, call: &'a UpstreamCall) -> Self {
        DecodeContext { target, call: Some(call) }
    }

    /// Context of an answer to a read.
    pub fn of_read(target: &'a Target) -> Self {
        DecodeContext { target, call: None }
    }

    /// True for an answer to an update.
    pub fn is_update(&self) -> bool {
        self.call.is_some()
    }

    /// Id at the vendor of the conversation that was asked for.
    pub fn vendor_id(&self) -> &'a str {
        self.target.vendor_id()
    }

    /// Canonical value that was set; of an agent or contact the id.
    pub fn set(&self, field: Field) -> Reported<Raw<'a>> {
        self.call.map_or(Reported::Absent, |call| call.value(field))
    }
}

/// Reasons why no call can apply a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationError {
    /// All faults of the patch; never empty.
    pub faults: Vec<Fault>,
}

impl fmt::Display for ValidationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.faults.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { " " })?;
            f.write_str(&fault.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for ValidationError {}

/// Reasons why a reply with a 2xx status gives no conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// The reply is not what the vendor documents; the text names the difference.
    Invalid(String),
    /// The reply reports a failure in spite of its status.
    Failed(Failure),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Invalid(reason) => f.write_str(reason),
            DecodeError::Failed(failure) => {
                f.write_str(failure.vendor_message.as_deref().unwrap_or("it reports a failure"))
            }
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<JsonError> for DecodeError {
    fn from(error: JsonError) -> Self {
        DecodeError::Invalid(error.to_string())
    }
}
