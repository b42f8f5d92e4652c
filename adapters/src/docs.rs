//! The support matrix, from the rows.

use crate::adapter::{Convert, Null, Row};

/// How a vendor takes one canonical member, in words: `customData`: object or string; at most 3000 UTF-16 units; null clears.
pub fn describe(row: &Row) -> String {
    let limit = |max: Option<usize>| max.map_or(String::new(), |max| format!(", at most {max} characters"));
    let takes = match row.convert {
        Convert::ContextAsText { max_utf16 } => {
            format!("string, or object as compact JSON text, at most {max_utf16} UTF-16 units")
        }
        Convert::Object => "object".to_owned(),
        Convert::ObjectOrString => "object or string".to_owned(),
        Convert::Text { max } => format!("string{}", limit(max)),
        Convert::Id { min: 0, max } => format!("{{\"id\": string}}{}", limit(max)),
        Convert::Id { min, max } => format!("{{\"id\": string}}, at least {min}{}", limit(max)),
        Convert::Flag => "boolean".to_owned(),
    };
    let null = match row.null {
        Null::Refused => "no null",
        Null::Sent => "null clears",
        Null::EmptyText => "null clears (sent as \"\")",
    };
    format!("{takes}; {null}")
}
