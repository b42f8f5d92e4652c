//! Descriptions of rows, for the support matrix.

use crate::spec::{Conversion, NullHandling, Row};

/// Describes the values that a row takes, such as `boolean; no null`.
pub fn describe(row: &Row) -> String {
    let limit = |max: Option<usize>| max.map_or(String::new(), |max| format!(", at most {max} characters"));
    let takes = match row.conversion {
        Conversion::ContextAsText { max_utf16 } => {
            format!("string, or object as compact JSON text, at most {max_utf16} UTF-16 units")
        }
        Conversion::Object => "object".to_owned(),
        Conversion::ObjectOrString => "object or string".to_owned(),
        Conversion::Text { max } => format!("string{}", limit(max)),
        Conversion::Id { min: 0, max, .. } => format!("{{\"id\": string}}{}", limit(max)),
        Conversion::Id { min, max, .. } => format!("{{\"id\": string}}, at least {min}{}", limit(max)),
        Conversion::Flag => "boolean".to_owned(),
        Conversion::Word(words) => {
            let words: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            words.join(" or ")
        }
        Conversion::Strings => "list of strings".to_owned(),
    };
    let null = match row.null {
        NullHandling::Refused => "no null",
        NullHandling::Sent => "null clears",
        NullHandling::EmptyText => "null clears (sent as \"\")",
    };
    format!("{takes}; {null}")
}
