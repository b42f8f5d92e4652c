//! Values and names as slices of the text, decoded on demand.

use std::borrow::Cow;

use super::text::unescape;

/// Kinds of JSON values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`.
    Object,
    /// `[…]`.
    Array,
    /// `"…"`.
    String,
    /// Digits.
    Number,
    /// `true` or `false`.
    Boolean,
    /// `null`.
    Null,
}

impl Kind {
    /// Name with its article, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Object => "an object",
            Kind::Array => "an array",
            Kind::String => "a string",
            Kind::Number => "a number",
            Kind::Boolean => "a boolean",
            Kind::Null => "null",
        }
    }
}

/// One valid JSON value, exactly as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a>(pub(super) &'a str);

impl<'a> Raw<'a> {
    /// The JSON literal `null`.
    pub const NULL: Raw<'static> = Raw("null");

    /// A value whose text is known to be JSON.
    pub(crate) fn trusted(text: &'a str) -> Self {
        Raw(text)
    }

    /// JSON text of the value.
    pub fn text(self) -> &'a str {
        self.0
    }

    /// Kind of the value.
    pub fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// Unescaped text of a string; `None` for any other kind.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        Some(unescape(self.inner()?))
    }

    /// Text between the quotes of a string, with its escapes; `None` for any other kind.
    pub fn inner(self) -> Option<&'a str> {
        self.0.strip_prefix('"')?.strip_suffix('"')
    }

    /// Value of a boolean; `None` for any other kind.
    pub fn as_bool(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// Returns true for a number without sign, fraction and exponent.
    pub fn is_count(self) -> bool {
        self.0.bytes().all(|b| b.is_ascii_digit())
    }
}

/// Name of a member, as written.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    pub(super) written: &'a str,
    pub(super) escaped: bool,
}

impl<'a> Key<'a> {
    /// Text between the quotes, with its escapes.
    pub fn written(&self) -> &'a str {
        self.written
    }

    /// Bit of the name in a 64-bit Bloom filter; all bits for a name with escapes.
    pub(super) fn filter_bit(&self) -> u64 {
        if self.escaped {
            return u64::MAX;
        }
        let bytes = self.written.as_bytes();
        let at = |at: usize| bytes.get(at).copied().map_or(0, usize::from);
        let mixed = at(0) + 3 * at(bytes.len() / 2) + 5 * at(bytes.len().wrapping_sub(1)) + 7 * bytes.len();
        1 << (mixed % 64)
    }

    /// Unescaped name.
    pub fn name(&self) -> Cow<'a, str> {
        if self.escaped { unescape(self.written) } else { Cow::Borrowed(self.written) }
    }
}
