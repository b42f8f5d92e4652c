//! Values and names as they were written: slices of the text, never decoded unless somebody asks.

use std::borrow::Cow;

use super::text::unescape;

/// What sort of value stands somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// digits
    Number,
    /// `true` or `false`
    Boolean,
    /// `null`
    Null,
}

impl Kind {
    /// The kind with its article, for messages.
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

/// One JSON value, exactly as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a>(pub(super) &'a str);

impl<'a> Raw<'a> {
    /// The JSON literal `null`.
    pub const NULL: Raw<'static> = Raw("null");

    /// A value whose text is known to be JSON.
    pub(crate) fn trusted(text: &'a str) -> Self {
        Raw(text)
    }

    /// The text of the value.
    pub fn text(self) -> &'a str {
        self.0
    }

    /// What it is.
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

    /// The text of a string value, unescaped; `None` for any other kind.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        Some(unescape(self.inner()?))
    }

    /// What stands between the quotes of a string value, escapes as written; `None` for any other kind.
    pub fn inner(self) -> Option<&'a str> {
        self.0.strip_prefix('"')?.strip_suffix('"')
    }

    /// A boolean value.
    pub fn as_bool(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// Whether this is a number without fraction, exponent or sign.
    pub fn is_count(self) -> bool {
        self.0.bytes().all(|b| b.is_ascii_digit())
    }
}

/// A member's name, as it was written.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    pub(super) written: &'a str,
    pub(super) escaped: bool,
}

impl<'a> Key<'a> {
    /// What stands between the quotes, escapes as written.
    pub fn written(&self) -> &'a str {
        self.written
    }

    /// One bit of 64, the same for the same name; all of them where escapes hide the name.
    pub(super) fn sort(&self) -> u64 {
        if self.escaped {
            return u64::MAX;
        }
        let bytes = self.written.as_bytes();
        let at = |at: usize| bytes.get(at).copied().map_or(0, usize::from);
        let mixed = at(0) + 3 * at(bytes.len() / 2) + 5 * at(bytes.len().wrapping_sub(1)) + 7 * bytes.len();
        1 << (mixed % 64)
    }

    /// The name itself.
    pub fn name(&self) -> Cow<'a, str> {
        if self.escaped { unescape(self.written) } else { Cow::Borrowed(self.written) }
    }
}
