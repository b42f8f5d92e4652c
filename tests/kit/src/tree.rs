//! JSON as a tree that keeps what comparing asks for: the text of numbers, and the order of members.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A JSON value. No object has a name twice: reading one that does fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, by its text.
    Number(String),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Tree>),
    /// The members of an object, in their order.
    Object(Vec<(String, Tree)>),
}

impl Tree {
    /// Reads a text by serde_json, not by the reader that is under test.
    ///
    /// # Errors
    ///
    /// Fails when the text is no JSON, or an object has a name twice.
    pub fn parse(text: &[u8]) -> serde_json::Result<Tree> {
        let raw: &RawValue = serde_json::from_slice(text)?;
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'{') => serde_json::from_str(text).map(|Members(members)| Tree::Object(members)),
            Some(b'[') => serde_json::from_str(text).map(|Items(items)| Tree::List(items)),
            // Half of a surrogate pair is no String; such a text is compared as it is written.
            Some(b'"') => Ok(Tree::Text(serde_json::from_str(text).unwrap_or_else(|_| text.to_owned()))),
            Some(b'n') => Ok(Tree::Null),
            Some(b't' | b'f') => Ok(Tree::Bool(text == "true")),
            _ => Ok(Tree::Number(text.to_owned())),
        }
    }

    /// The member of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tree> {
        match self {
            Tree::Object(members) => members.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of a string.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Tree::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The same value with every object's members in the order of their names.
    #[must_use]
    pub fn sorted(&self) -> Tree {
        match self {
            Tree::List(items) => Tree::List(items.iter().map(Tree::sorted).collect()),
            Tree::Object(members) => {
                let mut members: Vec<_> =
                    members.iter().map(|(name, value)| (name.clone(), value.sorted())).collect();
                members.sort_by(|(a, _), (b, _)| a.cmp(b));
                Tree::Object(members)
            }
            other => other.clone(),
        }
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| serde_json::to_string(text).map_err(|_| fmt::Error);
        match self {
            Tree::Null => f.write_str("null"),
            Tree::Bool(value) => write!(f, "{value}"),
            Tree::Number(text) => f.write_str(text),
            Tree::Text(text) => f.write_str(&quoted(text)?),
            Tree::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "[" } else { "," })?;
                }
                f.write_str(if items.is_empty() { "[]" } else { "]" })
            }
            Tree::Object(members) => {
                for (at, (name, value)) in members.iter().enumerate() {
                    write!(f, "{}{}:{value}", if at == 0 { "{" } else { "," }, quoted(name)?)?;
                }
                f.write_str(if members.is_empty() { "{}" } else { "}" })
            }
        }
    }
}

struct Members(Vec<(String, Tree)>);

struct Items(Vec<Tree>);

fn tree<E: serde::de::Error>(raw: &RawValue) -> Result<Tree, E> {
    Tree::parse(raw.get().as_bytes()).map_err(E::custom)
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members: Vec<(String, Tree)> = Vec::new();
                let mut seen = std::collections::HashSet::new();
                while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    let name = serde_json::from_str(name.get()).unwrap_or_else(|_| name.get().to_owned());
                    if !seen.insert(name.clone()) {
                        return Err(serde::de::Error::custom(format!("'{name}' is given twice")));
                    }
                    members.push((name, tree(value)?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Walk)
    }
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Items;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element::<&RawValue>()? {
                    items.push(tree(item)?);
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(Walk)
    }
}
