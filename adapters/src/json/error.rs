//! Errors of the JSON reader.

use std::fmt;

/// Position and kind of the first JSON error. Small, because every step of the reader may return one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonError {
    at: u32,
    kind: JsonErrorKind,
}

impl JsonError {
    pub(super) fn new(at: usize, kind: JsonErrorKind) -> Self {
        JsonError { at: u32::try_from(at).unwrap_or(u32::MAX), kind }
    }

    /// Byte offset of the error; at most `u32::MAX`.
    pub fn at(self) -> usize {
        self.at as usize
    }

    /// Kind of the error.
    pub fn kind(self) -> JsonErrorKind {
        self.kind
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.kind.as_str(), self.at)
    }
}

impl std::error::Error for JsonError {}

macro_rules! kinds {
    ($($name:ident = $words:literal,)*) => {
        /// Kinds of JSON errors.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum JsonErrorKind {
            $(#[doc = $words] $name,)*
        }

        impl JsonErrorKind {
            /// Description of the error, without its position.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(JsonErrorKind::$name => $words,)*
                }
            }
        }
    };
}

kinds! {
    NotUtf8 = "the text is not UTF-8",
    NoValue = "a JSON value was expected",
    EndsBeforeValue = "the text ends where a JSON value was expected",
    EndsInString = "the text ends inside a string",
    NoObject = "an object was expected",
    NoArray = "an array was expected",
    NoObjectEnd = "',' or '}' was expected",
    NoArrayEnd = "',' or ']' was expected",
    NoName = "a member name in double quotes was expected",
    NoColon = "':' was expected after a member name",
    TooDeep = "objects and arrays nest deeper than 128 levels",
    Twice = "a member is given twice",
    TwiceInThis = "a member is given twice in the object that ends here",
    Control = "a control character must be escaped in a string",
    NoSuchEscape = "no such escape in JSON",
    NoHex = "four hexadecimal digits must follow \\u",
    LoneSurrogate = "half of a surrogate pair stands alone",
    NoDigit = "a digit was expected",
    NoFraction = "a digit must follow the decimal point",
    NoExponent = "a digit was expected in the exponent",
    TextBehind = "text follows the JSON value",
}
