//! Merge patches (RFC 7396) of a stored context.

use bytes::Bytes;
use parlance_adapters::canonical::{Field, Patch, Reported};
use parlance_adapters::json::Reader;
use parlance_adapters::merge::merge;
use parlance_adapters::{DecodeContext, EncodeRequest, Encoded, decode};
use proptest::prelude::*;

use crate::made::{escaped, name, number, object_of, row_value, words};
use crate::support::Tree;
use crate::ways::{at_mut, conversation};
use crate::{Decoder, adapter, cases, reply, target, usual};

/// RFC 7396, section 2, over trees that keep the text of numbers.
fn merged(target: &Tree, patch: &Tree) -> Tree {
    let Tree::Object(changes) = patch else { return patch.clone() };
    let mut members = if let Tree::Object(members) = target { members.clone() } else { Vec::new() };
    for (name, change) in changes {
        let found = members.iter().position(|(other, _)| other == name);
        match (found, change) {
            (Some(at), Tree::Null) => drop(members.remove(at)),
            (None, Tree::Null) => {}
            (Some(at), change) => members[at].1 = merged(&members[at].1, change),
            (None, change) => members.push((name.clone(), merged(&Tree::Null, change))),
        }
    }
    Tree::Object(members)
}

/// Objects with few names, so that they meet.
fn mergeable() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![Just(Tree::Null), number().prop_map(Tree::Number), words().prop_map(Tree::Text)];
    leaf.prop_recursive(4, 30, 5, |inner| {
        let name = prop_oneof![3 => "[a-d]", 1 => name()];
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..3).prop_map(Tree::List),
            4 => prop::collection::vec((name, inner), 0..6).prop_map(object_of),
        ]
    })
}

fn raw(text: &str) -> parlance_adapters::json::Raw<'_> {
    Reader::strict(text.as_bytes()).unwrap().raw().unwrap()
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn a_merge_patch_is_merged_as_rfc_7396_says(stored in mergeable(), patch in mergeable()) {
        let mut out = String::new();
        let (one, other) = (stored.to_string(), patch.to_string());
        merge(raw(&one), raw(&other), &mut out);
        prop_assert_eq!(Tree::parse(out.as_bytes()).unwrap().sorted(), merged(&stored, &patch).sorted());
        // Names are names however they are written.
        let (mut one, mut other, mut again) = (String::new(), String::new(), String::new());
        escaped(&stored, &mut one);
        escaped(&patch, &mut other);
        merge(raw(&one), raw(&other), &mut again);
        prop_assert_eq!(Tree::parse(again.as_bytes()).unwrap().sorted(), merged(&stored, &patch).sorted());
    }

    #[test]
    fn a_stored_context_is_merged_into_the_one_call(
        adapter in adapter().prop_filter("merges", |adapter| adapter.spec().is_mergeable()),
        stored in prop::option::of(mergeable()),
        patch in mergeable().prop_filter("an object", |patch| matches!(patch, Tree::Object(_))),
    ) {
        let spec = adapter.spec();
        let upstream = usual(spec);
        let target = target(spec, &upstream);
        let row = spec.row(Field::Context).unwrap();
        let other = spec.rows().find(|row| row.field != Field::Context).map(row_value);
        let text = match other {
            Some(other) => format!("{{\"context\":{patch},{}", &other[1..]),
            None => format!("{{\"context\":{patch}}}"),
        };
        let text = Bytes::from(text);
        let parsed = Patch::parse(&text).unwrap();
        let ask = EncodeRequest {
            endpoint: &upstream,
            target: &target,
            patch: &parsed,
            merge: true,
            lenient: false,
            idempotency_key: None,
        };
        let Encoded::NeedsStored(pending) = adapter.encode(&ask).unwrap() else { panic!("nothing to merge") };
        let unmerged = pending.clone().into_unmerged();

        let decoder = Decoder { adapter: adapter.0, is_read: true };
        let mut answer = decoder.of(Some(Tree::Text("asked-1".to_owned())));
        let way = conversation(&decoder, &answer);
        if let Tree::Object(members) = at_mut(&mut answer, &way) {
            members.retain(|(name, _)| name != row.wire);
            members.extend(stored.clone().map(|stored| (row.wire.to_owned(), stored)));
        }
        let answer = reply(200, answer.to_string());
        let call = pending.merge(&decode(*adapter, &DecodeContext::of_read(&target), &answer).unwrap()).unwrap();
        let whole = merged(&stored.unwrap_or(Tree::Null), &patch);
        let Reported::Value(context) = call.value(Field::Context) else { panic!("no context is set") };
        prop_assert_eq!(Tree::parse(context.text().as_bytes()).unwrap().sorted(), whole.sorted());
        // Everything else of the body is as it was.
        let Tree::Object(mut before) = Tree::parse(unmerged.request.body()).unwrap() else { panic!("no object") };
        before.iter_mut().filter(|(name, _)| name == row.wire).for_each(|(_, value)| *value = whole.clone());
        prop_assert_eq!(Tree::parse(call.request.body()).unwrap().sorted(), Tree::Object(before).sorted());
    }
}

#[test]
fn the_table_of_rfc_7396() {
    for (stored, patch, result) in [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
        (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
        (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
        (r#"{"a":"foo"}"#, r#"null"#, r#"null"#),
        (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
        (r#"[1,2]"#, r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
        (r#"{}"#, r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        // Numbers and escapes stay as they are written.
        (r#"{"a":1.50,"\u0062":1e400}"#, r#"{"c":0.10}"#, r#"{"a":1.50,"\u0062":1e400,"c":0.10}"#),
        (r#"{"a":1}"#, r#"{"\u0061":2}"#, r#"{"a":2}"#),
        (
            r#"{"a":{"x":[{"y":null}]}}"#,
            r#"{"a":{"z":[{"y":null}]}}"#,
            r#"{"a":{"x":[{"y":null}],"z":[{"y":null}]}}"#,
        ),
    ] {
        let mut out = String::new();
        merge(raw(stored), raw(patch), &mut out);
        assert_eq!(out, result, "{stored} and {patch}");
    }
}
