//! What a caller wants changed, and what can be wrong with it.

use std::borrow::Cow;

use crate::json::{Key, Kind, Malformed, Raw, Reader};

/// A canonical body: its members as they were written. Absent, null and value stay three different things.
#[derive(Debug)]
pub struct Patch<'a> {
    whole: Raw<'a>,
    members: Vec<(Key<'a>, Raw<'a>)>,
}

impl<'a> Patch<'a> {
    /// Reads a body. Only its syntax is judged here (JSON, no member twice at any depth, at most 128 levels);
    /// what the members mean depends on the vendor.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
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
        Ok(Patch { whole, members })
    }

    /// What sort of JSON value the body is.
    pub fn kind(&self) -> Kind {
        self.whole.kind()
    }

    /// The members, in the order in which they were written.
    pub fn members(&self) -> &[(Key<'a>, Raw<'a>)] {
        &self.members
    }

    /// The member of that name.
    pub fn get(&self, name: &str) -> Option<Raw<'a>> {
        self.members.iter().find(|(key, _)| key.name() == name).map(|(_, value)| *value)
    }
}

/// One thing that is wrong with a canonical body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer (RFC 6901) to the member.
    pub pointer: String,
    /// What sort of fault.
    pub code: FaultCode,
    /// A sentence that says what to do.
    pub detail: String,
}

/// The closed list of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultCode {
    /// A member of no schema.
    UnknownField,
    /// A member of answers that cannot be written.
    ReadOnlyField,
    /// A canonical member that this vendor lacks.
    UnsupportedField,
    /// Not the type that the schema or the vendor asks for.
    WrongType,
    /// The vendor has no way to clear this.
    NullNotAllowed,
    /// Longer than the vendor takes.
    TooLong,
    /// Shorter than the vendor takes.
    TooShort,
    /// Nothing to change.
    EmptyPatch,
    /// The vendor's conversation cannot be read back, so nothing can be merged into it.
    MergeUnsupported,
    /// Vendor members that are switched off, or that the same body sets already.
    VendorFieldRefused,
}

impl FaultCode {
    /// The code as callers see it.
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
        }
    }

    /// Every code, for documentation.
    pub const ALL: [FaultCode; 10] = [
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
    ];

    /// Whether `Prefer: handling=lenient` may leave such a member out.
    pub fn is_lenient(self) -> bool {
        matches!(self, FaultCode::UnknownField | FaultCode::ReadOnlyField | FaultCode::UnsupportedField)
    }
}

/// A JSON pointer below `base` to the member `name`.
pub fn pointer(base: &str, name: &str) -> String {
    let escaped: Cow<'_, str> = if name.contains(['~', '/']) {
        Cow::Owned(name.replace('~', "~0").replace('/', "~1"))
    } else {
        Cow::Borrowed(name)
    };
    format!("{base}/{escaped}")
}
