//! Values made up: JSON of every sort, bodies that are nearly right, bytes that are nearly an answer.

use std::collections::BTreeMap;

use parlance_adapters::{Conversion, Row};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::Decoder;
use crate::support::Tree;

pub(crate) fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
        1 => select(vec!["0", "1", "-0", "1e999", "0.10", "42"]).prop_map(str::to_owned),
    ]
}

pub(crate) fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => any::<String>(),
        1 => select(vec![
            "user", "assistant", "system", "tool", "other", "bot", "inbound", "outbound", "active", "ended", "error",
            "deleted", "in_progress", "in-progress", "generating", "success", "asked-1", "", "null",
            "2024-06-14T15:45:34+02:00", "2024-06-14T15:45:34.500Z", "2024-06-14T15:45:34", "yesterday",
        ])
        .prop_map(str::to_owned),
        1 => "leaf-[a-z]{8}",
    ]
}

pub(crate) fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => "[a-z_]{1,8}",
        1 => any::<String>(),
        1 => select(vec![
            "id", "vendor", "upstream", "status", "title", "context", "agent", "agentId", "contact", "name", "created_at",
            "vendor_data", "warnings", "attachments", "text", "content", "role", "messages", "files", "mediaUrl",
            "mediaUrls", "metadata", "data", "envelope", "message", "deletedAt", "url",
        ])
        .prop_map(str::to_owned),
    ]
}

pub(crate) fn object_of(members: Vec<(String, Tree)>) -> Tree {
    Tree::Object(members.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect())
}

pub(crate) fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        1 => Just(Tree::Null),
        1 => any::<bool>().prop_map(Tree::Bool),
        2 => number().prop_map(Tree::Number),
        3 => words().prop_map(Tree::Text),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Tree::List),
            prop::collection::vec((name(), inner), 0..4).prop_map(object_of),
        ]
    })
}

/// Bytes that are nearly the vendor's answer, or nothing like it.
pub(crate) fn near(decoder: &Decoder) -> BoxedStrategy<Vec<u8>> {
    let told = decoder.sample().to_string().into_bytes();
    let byte = prop_oneof![2 => select(b"{}[]\",:\\ 0123456789-.eEtfnul\0".to_vec()), 1 => any::<u8>()];
    let damage = prop::collection::vec((any::<Index>(), any::<Index>(), 0..5, byte), 0..4);
    prop_oneof![
        4 => damage.prop_map(move |damage| {
            let mut bytes = told.clone();
            for (one, other, what, byte) in damage {
                let (from, to) = (one.index(bytes.len()), other.index(bytes.len()));
                match what {
                    0 => bytes[from] = byte,
                    1 => bytes.insert(from, byte),
                    2 => drop(bytes.remove(from)),
                    3 if from < to => drop(bytes.drain(from..to)),
                    _ => bytes.extend_from_within(from.min(to)..from.max(to)),
                }
                if bytes.is_empty() {
                    bytes.push(byte);
                }
            }
            bytes
        }),
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => tree().prop_map(|tree| tree.to_string().into_bytes()),
        1 => any::<String>().prop_map(String::into_bytes),
    ]
    .boxed()
}

/// The smallest patch that sets this row.
pub(crate) fn row_value(row: &Row) -> String {
    let value = match row.conversion {
        Conversion::ContextAsText { .. } | Conversion::Object | Conversion::ObjectOrString => "{\"k\": 1.50}",
        Conversion::Text { .. } => "\"text-1\"",
        Conversion::Id { .. } => "{\"id\": \"id-1\"}",
        Conversion::Flag => "true",
        Conversion::Word(words) => &format!("\"{}\"", words[0].0),
        Conversion::Strings => "[\"text-1\"]",
    };
    format!("{{\"{}\": {value}}}", row.field.name())
}

/// The names of all members written with an escape.
pub(crate) fn escaped(tree: &Tree, out: &mut String) {
    match tree {
        Tree::Object(members) => {
            out.push_str("{ ");
            for (at, (name, value)) in members.iter().enumerate() {
                out.push_str(if at == 0 { "\"" } else { "\t,\n\"" });
                name.encode_utf16().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
                out.push_str("\" : ");
                escaped(value, out);
            }
            out.push_str(" }");
        }
        Tree::List(items) => {
            out.push_str("[\r");
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { " , " });
                escaped(item, out);
            }
            out.push(']');
        }
        leaf => out.push_str(&leaf.to_string()),
    }
}
