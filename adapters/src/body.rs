//! Request bodies in a vendor's format, and the conversion of a context.

use std::borrow::Cow;
use std::ops::Range;

use crate::canonical::{Fault, FaultCode};
use crate::json::{Kind, Raw, compact, quote, quoted, unescape};
use crate::spec::{BodyFormat, Conversion, Row};
use crate::target::percent_encode;

/// Writer of a request body, member by member.
pub(crate) struct BodyWriter {
    format: BodyFormat,
    out: Vec<u8>,
    is_empty: bool,
}

impl BodyWriter {
    pub(crate) fn new(format: BodyFormat) -> Self {
        let mut out = Vec::with_capacity(256);
        if let BodyFormat::JsonEnvelope(name) = format {
            out.push(b'{');
            quote(name, &mut out);
            out.push(b':');
        }
        BodyWriter { format, out, is_empty: true }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Appends a member; `name` is JSON text without its quotes, `value` is JSON text. Returns the place of the value.
    pub(crate) fn member(&mut self, name: &str, value: &str) -> Range<usize> {
        let first = std::mem::replace(&mut self.is_empty, false);
        if self.format == BodyFormat::Form {
            if !first {
                self.out.push(b'&');
            }
            percent_encode(&unescape(name), &mut self.out);
            self.out.push(b'=');
        } else {
            self.out.extend_from_slice(if first { b"{\"" } else { b",\"" });
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(b"\":");
        }
        let start = self.out.len();
        encode_value(self.format, value, &mut self.out);
        start..self.out.len()
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        match self.format {
            BodyFormat::Json => self.out.push(b'}'),
            BodyFormat::JsonEnvelope(_) => self.out.extend_from_slice(b"}}"),
            BodyFormat::Form | BodyFormat::Empty => {}
        }
        self.out
    }
}

/// Appends a JSON value in the format of the body.
pub(crate) fn encode_value(format: BodyFormat, value: &str, out: &mut Vec<u8>) {
    if format == BodyFormat::Form {
        let value = Raw::trusted(value);
        percent_encode(&value.as_str().unwrap_or(Cow::Borrowed(value.text())), out);
    } else {
        out.extend_from_slice(value.as_bytes());
    }
}

/// JSON text of a context for the vendor.
pub(crate) fn context<'a>(row: &Row, title: &str, value: Raw<'a>) -> Result<Cow<'a, str>, Fault> {
    let Conversion::ContextAsText { max_utf16 } = row.conversion else {
        return Ok(Cow::Borrowed(value.text()));
    };
    // A written string has at least as many bytes as UTF-16 code units.
    if value.inner().is_some_and(|written| written.len() <= max_utf16) {
        return Ok(Cow::Borrowed(value.text()));
    }
    let text = context_text(value);
    let units = text.encode_utf16().count();
    if units > max_utf16 {
        return Err(Fault {
            pointer: row.field.pointer().to_owned(),
            code: FaultCode::TooLong,
            detail: format!(
                "The context is {units} UTF-16 units of text; {title} takes at most {max_utf16}."
            ),
        });
    }
    Ok(match value.kind() {
        Kind::String => Cow::Borrowed(value.text()),
        _ => Cow::Owned(quoted(&text)),
    })
}

/// A context as text: a string's own, an object's compact JSON.
pub(crate) fn context_text(value: Raw<'_>) -> Cow<'_, str> {
    value.as_str().unwrap_or_else(|| Cow::Owned(compact(value.text())))
}
