//! JSON as spans of its text: one validating pass, and values that are passed on byte for byte.
//!
//! A tree of values would lose the spelling of numbers and allocate for every leaf; a derived struct would lose the
//! members that it does not know. A [`Raw`] is a slice of the text, and [`Reader`] validates it as JSON (RFC 8259)
//! without repeated member names (RFC 7493).

mod error;
mod reader;
mod scan;
mod text;
mod value;

pub use error::{JsonError, JsonErrorKind};
pub use reader::Reader;
pub use text::{compact, quote, quoted, unescape};
pub use value::{Key, Kind, Raw};
