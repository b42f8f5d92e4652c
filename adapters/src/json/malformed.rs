//! Why a text is not JSON.

use std::fmt;

/// Why a text is not the JSON that we accept. Small, because every step of a reading could give one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    at: u32,
    wrong: Wrong,
}

impl Malformed {
    pub(super) fn new(at: usize, wrong: Wrong) -> Self {
        Malformed { at: u32::try_from(at).unwrap_or(u32::MAX), wrong }
    }

    /// Byte offset at which the text stops being acceptable; beyond 4 GiB the largest number.
    pub fn at(self) -> usize {
        self.at as usize
    }

    /// What is wrong there.
    pub fn what(self) -> &'static str {
        self.wrong.words()
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what(), self.at)
    }
}

impl std::error::Error for Malformed {}

macro_rules! wrongs {
    ($($name:ident = $words:literal,)*) => {
        /// What can be wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Wrong {
            $($name,)*
        }

        impl Wrong {
            fn words(self) -> &'static str {
                match self {
                    $(Wrong::$name => $words,)*
                }
            }
        }
    };
}

wrongs! {
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
