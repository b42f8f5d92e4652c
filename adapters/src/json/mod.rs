//! JSON as spans: a text is walked once, checked wholly, and what nobody interprets is passed on byte for byte.
//!
//! A `Value` tree would lose the spelling of numbers and cost an allocation for every leaf; a derived struct would
//! lose the members that it does not know. Here a value is the slice of text where it stands ([`Raw`]), and
//! [`Reader`] proves on its way that the slice is JSON (RFC 8259) without repeated member names (RFC 7493).

mod error;
mod reader;
mod text;
mod value;

pub use error::{JsonError, JsonErrorKind};
pub use reader::Reader;
pub use text::{compact, quote, quoted, unescape};
pub use value::{Key, Kind, Raw};
