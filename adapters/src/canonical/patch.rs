//! A caller's update, and the faults that it can have.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use crate::json::{JsonError, Key, Kind, Raw, Reader};

/// A canonical update. Absent, null and value are three different states of a member.
#[derive(Debug)]
pub struct Patch<'a> {
    source: &'a Bytes,
    whole: Raw<'a>,
    members: Vec<(Key<'a>, Raw<'a>)>,
}

impl<'a> Patch<'a> {
    /// Parses a body. Checks only the syntax: JSON, no member twice at any depth, at most 128 levels. The meaning of
    /// the members depends on the vendor.
    ///
    /// # Errors
    ///
    /// Fails if the body is not such JSON.
    pub fn parse(body: &'a Bytes) -> Result<Self, JsonError> {
        let mut reader = Reader::strict(body)?;
        let mut members = Vec::new();
        let whole = if reader.peek()? == Kind::Object {
            members.reserve(4);
            let start = reader.mark();
            reader.object(|key, reader| {
                members.push((key, reader.raw()?));
                Ok(())
            })?;
            reader.since(start)
        } else {
            reader.raw()?
        };
        reader.end()?;
        Ok(Patch { source: body, whole, members })
    }

    /// The body that was parsed.
    pub fn source(&self) -> &'a Bytes {
        self.source
    }

    /// Place in the body of one of its values; `None` for a value from elsewhere.
    pub(crate) fn place(&self, value: Raw<'a>) -> Option<Range<usize>> {
        let start = value.text().as_ptr().addr().checked_sub(self.source.as_ptr().addr())?;
        let end = start + value.text().len();
        (end <= self.source.len()).then_some(start..end)
    }

    /// Kind of JSON value that the body is.
    pub fn kind(&self) -> Kind {
        self.whole.kind()
    }

    /// Members, in the order of the body.
    pub fn members(&self) -> &[(Key<'a>, Raw<'a>)] {
        &self.members
    }

    /// Value of a member.
    pub fn get(&self, name: &str) -> Option<Raw<'a>> {
        self.members.iter().find(|(key, _)| key.name() == name).map(|(_, value)| *value)
    }
}

/// A fault of a canonical update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer (RFC 6901) to the member.
    pub pointer: String,
    /// Kind of fault.
    pub code: FaultCode,
    /// A sentence that names the correction.
    pub detail: String,
}

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultCode {
    /// A member that is not in the schema.
    UnknownField,
    /// A member that answers have and updates cannot set.
    ReadOnlyField,
    /// A canonical member that this vendor lacks.
    UnsupportedField,
    /// A type that the schema or the vendor does not allow.
    WrongType,
    /// Null for a member that the vendor cannot clear.
    NullNotAllowed,
    /// A value longer than the vendor allows.
    TooLong,
    /// A value shorter than the vendor allows.
    TooShort,
    /// An update without changes.
    EmptyPatch,
    /// A merge into a context that cannot be read back.
    MergeUnsupported,
    /// Vendor members that are not allowed, or that the same body already sets.
    VendorFieldRefused,
    /// Members that the vendor sets by different calls.
    CannotCombine,
    /// A word that the vendor does not take for the member.
    UnknownValue,
}

impl FaultCode {
    /// Code in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultCode::UnknownField => "unknown-field",
            FaultCode::ReadOnlyField => "read-only-field",
            FaultCode::UnsupportedField => "unsupported-field",
            FaultCode::WrongType => "wrong-type",
            FaultCode::NullNotAllowed => "null-not-allowed",
            FaultCode::TooLong => "too-long",
            FaultCode::TooShort => "too-short",
            FaultCode::EmptyPatch => "empty-patch",
            FaultCode::MergeUnsupported => "merge-unsupported",
            FaultCode::VendorFieldRefused => "vendor-field-refused",
            FaultCode::CannotCombine => "cannot-combine",
            FaultCode::UnknownValue => "unknown-value",
        }
    }

    /// All codes.
    pub const ALL: [FaultCode; 12] = [
        FaultCode::UnknownField,
        FaultCode::ReadOnlyField,
        FaultCode::UnsupportedField,
        FaultCode::WrongType,
        FaultCode::NullNotAllowed,
        FaultCode::TooLong,
        FaultCode::TooShort,
        FaultCode::EmptyPatch,
        FaultCode::MergeUnsupported,
        FaultCode::VendorFieldRefused,
        FaultCode::CannotCombine,
        FaultCode::UnknownValue,
    ];

    /// Returns true if `Prefer: handling=lenient` leaves such a member out.
    pub fn is_lenient(self) -> bool {
        matches!(self, FaultCode::UnknownField | FaultCode::ReadOnlyField | FaultCode::UnsupportedField)
    }
}

/// JSON pointer of the member `name` below `base`.
pub fn pointer(base: &str, name: &str) -> String {
    let escaped: Cow<'_, str> = if name.contains(['~', '/']) {
        Cow::Owned(name.replace('~', "~0").replace('/', "~1"))
    } else {
        Cow::Borrowed(name)
    };
    format!("{base}/{escaped}")
}
