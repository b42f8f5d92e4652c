//! JSON objects kept as the text they arrived in: a number comes back digit for digit, members keep their order, and
//! what most parsers pass over in silence (a member named twice, a lone surrogate) is an error.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// As deep as common parsers go; beyond it a document is an attack, not a conversation.
const MAX_DEPTH: usize = 128;

/// Why a text is not an object this crate takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bad {
    /// Not JSON.
    Syntax(String),
    /// JSON, but not an object.
    NotObject,
    /// A member named twice, at whatever depth.
    Duplicate(String),
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bad::Syntax(why) => write!(f, "malformed JSON: {why}"),
            Bad::NotObject => f.write_str("the JSON value must be an object"),
            Bad::Duplicate(name) => write!(f, "the member {name:?} appears twice"),
        }
    }
}

/// What a JSON text starts as, which is what it is once it is known to be valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// The kind of a valid JSON text.
pub(crate) fn kind(raw: &str) -> Kind {
    match raw.as_bytes().first() {
        Some(b'n') => Kind::Null,
        Some(b't' | b'f') => Kind::Bool,
        Some(b'"') => Kind::String,
        Some(b'[') => Kind::Array,
        Some(b'{') => Kind::Object,
        _ => Kind::Number,
    }
}

/// The text of a JSON string, `None` for any other kind.
pub(crate) fn string(raw: &str) -> Option<String> {
    serde_json::from_str(raw).ok()
}

/// A text as a JSON string.
pub(crate) fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The elements of a JSON array as texts; empty for any other kind.
pub(crate) fn elements(raw: &str) -> Vec<&str> {
    serde_json::from_str::<Vec<&RawValue>>(raw).unwrap_or_default().into_iter().map(RawValue::get).collect()
}

/// A valid JSON text without the white space between its tokens.
pub(crate) fn compact(raw: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    let keep = |c: &char| {
        let white = !inside && c.is_ascii_whitespace();
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = inside,
            '"' => inside = !inside,
            _ => {}
        }
        !white
    };
    raw.chars().filter(keep).collect()
}

/// A JSON array of texts that are JSON already.
pub(crate) fn array<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let mut out = String::from("[");
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(item);
    }
    out.push(']');
    out
}

/// An object's members in their order, each value as its own text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Object(Vec<(String, String)>);

impl Object {
    /// Reads an object, strictly and to every depth.
    pub(crate) fn parse(text: &str) -> Result<Self, Bad> {
        match text.trim_start_matches([' ', '\t', '\r', '\n']).as_bytes().first() {
            None => return Err(Bad::Syntax("the text is empty".into())),
            Some(b'{') => {}
            Some(_) => {
                // Nonsense is called nonsense before it is called a wrong kind.
                let raw: &RawValue = serde_json::from_str(text).map_err(syntax)?;
                check(raw.get(), 0)?;
                return Err(Bad::NotObject);
            }
        }
        let members = members(text)?;
        for (_, value) in &members {
            check(value, 1)?;
        }
        Ok(Self(members.into_iter().map(|(name, value)| (name, value.to_owned())).collect()))
    }

    /// The members in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether no member is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text of a member.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|(have, value)| (have == name).then_some(value))
    }

    /// The text inside a member that is a string.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(string)
    }

    /// Sets a member to a JSON text, in its old place when it was there.
    pub(crate) fn set(&mut self, name: &str, raw: impl Into<String>) {
        let raw = raw.into();
        match self.0.iter_mut().find(|(have, _)| have == name) {
            Some((_, value)) => *value = raw,
            None => self.0.push((name.to_owned(), raw)),
        }
    }

    /// The object as text without the members named in `without`.
    pub(crate) fn render(&self, without: &[&str]) -> String {
        let mut out =
            String::with_capacity(2 + self.0.iter().map(|(n, v)| n.len() + v.len() + 4).sum::<usize>());
        out.push('{');
        for (name, value) in self.iter().filter(|(name, _)| !without.contains(name)) {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&quote(name));
            out.push(':');
            out.push_str(value);
        }
        out.push('}');
        out
    }
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut out = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    out.push(entry);
                }
                Ok(Members(out))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

fn members(text: &str) -> Result<Vec<(String, &str)>, Bad> {
    let Members(list) = serde_json::from_str(text).map_err(syntax)?;
    let mut seen = HashSet::with_capacity(list.len());
    if let Some((name, _)) = list.iter().find(|(name, _)| !seen.insert(name.as_str())) {
        return Err(Bad::Duplicate(name.clone()));
    }
    Ok(list.into_iter().map(|(name, value)| (name, value.get())).collect())
}

/// Looks below the top: raw values are only scanned by the parser, their names and strings not yet.
fn check(raw: &str, depth: usize) -> Result<(), Bad> {
    if depth > MAX_DEPTH {
        return Err(Bad::Syntax(format!("nested deeper than {MAX_DEPTH}")));
    }
    match kind(raw) {
        Kind::Object => members(raw)?.into_iter().try_for_each(|(_, value)| check(value, depth + 1)),
        Kind::Array => {
            let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(syntax)?;
            items.into_iter().try_for_each(|item| check(item.get(), depth + 1))
        }
        Kind::String => serde_json::from_str::<String>(raw).map(drop).map_err(syntax),
        Kind::Null | Kind::Bool | Kind::Number => Ok(()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "handed to map_err as it is")]
fn syntax(error: serde_json::Error) -> Bad {
    Bad::Syntax(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits_and_members_their_order() {
        let object =
            Object::parse(r#" {"b":0.0015000,"a":{"n":12345678901234567890123,"e":1e999}} "#).unwrap();
        assert_eq!(object.render(&[]), r#"{"b":0.0015000,"a":{"n":12345678901234567890123,"e":1e999}}"#);
        assert_eq!(object.render(&["a"]), r#"{"b":0.0015000}"#);
    }

    #[test]
    fn white_space_goes_only_between_tokens() {
        assert_eq!(
            compact("{ \"a b\" : \"c \\\" d\\\\\" ,\n\"e\": [ 1 , 2 ] }"),
            "{\"a b\":\"c \\\" d\\\\\",\"e\":[1,2]}"
        );
    }

    #[test]
    fn what_others_pass_over_is_refused() {
        assert_eq!(Object::parse(r#"{"a":1,"a":2}"#), Err(Bad::Duplicate("a".into())));
        assert_eq!(Object::parse(r#"{"x":[{"a":1,"\u0061":2}]}"#), Err(Bad::Duplicate("a".into())));
        assert_eq!(Object::parse("[1]"), Err(Bad::NotObject));
        for bad in
            ["", "nonsense", "{\"a\":1} x", "{\"a\":NaN}", r#"{"a":["\ud800"]}"#, "{\"a\":01}", "\u{feff}{}"]
        {
            assert!(matches!(Object::parse(bad), Err(Bad::Syntax(_))), "{bad:?}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        assert!(matches!(Object::parse(&deep), Err(Bad::Syntax(_))));
    }
}
