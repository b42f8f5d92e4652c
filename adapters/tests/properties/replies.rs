//! Answers: nothing of a reply is lost, nothing is made up, and no bytes make an adapter fail otherwise than by saying so.

use std::sync::LazyLock;

use bytes::Bytes;
use parlance_adapters::canonical::{Field, Patch, READ_ONLY, Role, Status, Time};
use parlance_adapters::{ALL, DecodeContext, DecodeError, EncodeRequest};
use proptest::prelude::*;
use serde_json::value::RawValue;

use crate::made::{escaped, near};
use crate::support::{Story, Tree};
use crate::ways::{at, at_mut, change, changes, conversation, remove, ways};
use crate::{Decoder, cases, decoder, decoders, reply, target, unmerged, usual};

/// Every scalar, with the name of the member that it stands in (or whose list it stands in).
fn leaves<'t>(tree: &'t Tree, name: &'t str, all: &mut Vec<(&'t str, &'t Tree)>) {
    match tree {
        Tree::List(items) => items.iter().for_each(|item| leaves(item, name, all)),
        Tree::Object(members) => members.iter().for_each(|(name, value)| leaves(value, name, all)),
        leaf => all.push((name, leaf)),
    }
}

/// A canonical member, a vendor's word in it, and the canonical word that says the same.
type Words = (String, String, String);

/// Words that say the same in the vendors' and in canonical terms, as their stories tell.
static SAME: LazyLock<Vec<Words>> = LazyLock::new(|| {
    let stories = ALL.iter().flat_map(|adapter| Story::of(adapter.spec().vendor));
    let words = stories.filter_map(|story| story.told.get("words").cloned()).flat_map(|words| match words {
        Tree::List(words) => words,
        other => panic!("a story's words are {other}"),
    });
    let text = |word: &Tree| word.text().map(str::to_owned);
    let known = words.map(|words| match &words {
        Tree::List(three) if three.len() == 3 => Some((text(&three[0])?, text(&three[1])?, text(&three[2])?)),
        _ => None,
    });
    known.map(|words| words.expect("a member, the vendor's word, the canonical word")).collect()
});

/// The same moment as canonical answers write it.
fn normal(text: &str) -> Option<String> {
    Time::parse(text).map(|time| format!("{}Z", time.local()))
}

fn is_found((name, leaf): (&str, &Tree), answer: &[(&str, &Tree)]) -> bool {
    let has = |name: &str, value: &Tree| answer.contains(&(name, value));
    let anywhere = |value: &Tree| answer.iter().any(|(_, other)| *other == value);
    if anywhere(leaf) {
        return true;
    }
    match leaf {
        // A flag in digits, or an id.
        Tree::Number(digits) => {
            let flag = ["0", "1"].contains(&digits.as_str()) && has(name, &Tree::Bool(digits == "1"));
            flag || has("id", &Tree::Text(digits.clone()))
        }
        Tree::Text(text) => {
            let same = |(name, vendor, ours): &Words| vendor == text && has(name, &Tree::Text(ours.clone()));
            // The id that was asked for stands in the canonical one.
            text == "asked-1"
                || SAME.iter().any(same)
                || normal(text).is_some_and(|time| anywhere(&Tree::Text(time)))
        }
        _ => false,
    }
}

/// Members that any answer may have.
const ALWAYS: [&str; 5] = ["id", "vendor", "upstream", "vendor_data", "warnings"];

/// The canonical words for roles and for states.
fn canonical_words() -> (Vec<&'static str>, Vec<&'static str>) {
    let roles = Role::ALL.iter().map(|role| role.as_str());
    (roles.collect(), Status::ALL.iter().map(|status| status.as_str()).collect())
}

/// Every canonical member is one that the vendor's spec lists, and has the type of the schema, whatever the vendor sent in its place.
fn is_as_promised(decoder: &Decoder, answer: &Tree) -> Result<(), TestCaseError> {
    let (roles, states) = canonical_words();
    let text = |value: &Tree| value.text().is_some();
    let count =
        |value: &Tree| matches!(value, Tree::Number(digits) if digits.bytes().all(|b| b.is_ascii_digit()));
    let time = |value: &Tree| value.text().is_some_and(|text| normal(text).as_deref() == Some(text));
    let word = |value: &Tree, words: &[&str]| value.text().is_some_and(|text| words.contains(&text));
    let object = |value: &Tree, known: &dyn Fn(&str, &Tree) -> bool| match value {
        Tree::Object(members) => members.iter().all(|(name, value)| known(name, value)),
        _ => false,
    };
    let texts = |names: &'static [&'static str]| {
        move |name: &str, value: &Tree| {
            names.contains(&name) && (*value == Tree::Null || value.text().is_some())
        }
    };
    let list = |value: &Tree, each: &dyn Fn(&Tree) -> bool| matches!(value, Tree::List(items) if items.iter().all(each));
    let some = |value: &Tree| matches!(value, Tree::Object(members) if !members.is_empty());
    let file = |name: &str, value: &Tree| match name {
        "size" => *value == Tree::Null || count(value),
        _ => texts(&["id", "url", "name", "content_type"])(name, value),
    };
    let message = |name: &str, value: &Tree| match (name, value) {
        ("id" | "role" | "text" | "created_at", Tree::Null) => true,
        ("id" | "text", value) => text(value),
        ("role", value) => word(value, &roles),
        ("created_at", value) => time(value),
        ("attachments", value) => *value != Tree::List(Vec::new()) && list(value, &|it| object(it, &file)),
        ("vendor_data", value) => some(value),
        _ => false,
    };
    let member = |name: &str, value: &Tree| match (name, value) {
        ("id" | "vendor" | "upstream", value) => text(value),
        ("messages", value) => list(value, &|it| object(it, &message)),
        ("vendor_data", value) => some(value),
        ("warnings", value) => *value != Tree::List(Vec::new()),
        (name, Tree::Null) => Field::named(name).is_some() || READ_ONLY.contains(&name),
        ("title" | "instructions", value) => text(value),
        ("status", value) => word(value, &states),
        ("tags", value) => list(value, &text),
        ("archived" | "important", value) => matches!(value, Tree::Bool(_)),
        ("context", value) => matches!(value, Tree::Object(_) | Tree::Text(_)),
        ("agent", value) => object(value, &texts(&["id", "name", "status"])),
        ("contact", value) => object(value, &texts(&["id", "address"])),
        ("created_at" | "updated_at" | "last_message_at", value) => time(value),
        ("message_count", value) => count(value),
        _ => false,
    };
    let Tree::Object(members) = answer else { return Err(TestCaseError::fail("no object")) };
    for (name, value) in members {
        let known = ALWAYS.contains(&name.as_str()) || decoder.reported().contains(&name.as_str());
        prop_assert!(known, "{:?} reports '{}', which its spec does not list", decoder, name);
        prop_assert!(member(name, value), "'{}' is not of its type: {}", name, value);
    }
    Ok(())
}

fn nothing_is_lost(decoder: &Decoder, told: &Tree) -> Result<(), TestCaseError> {
    let Some(answer) = decoder.answer(told) else {
        return Err(TestCaseError::fail(format!("{decoder:?} refuses {told}")));
    };
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    // Of an envelope, the word that all is well is not kept.
    let envelope = !conversation(decoder, told).is_empty();
    match told {
        Tree::Object(members) => {
            for (name, value) in members {
                if !(envelope && name == "status" && value.text() == Some("success")) {
                    leaves(value, name, &mut theirs);
                }
            }
        }
        other => leaves(other, "", &mut theirs),
    }
    leaves(&answer, "", &mut ours);
    is_as_promised(decoder, &answer)?;
    for leaf in &theirs {
        prop_assert!(
            is_found(*leaf, &ours),
            "{:?} of {} is lost: {} gives {}",
            leaf,
            decoder.spec().vendor,
            told,
            answer
        );
    }

    // The other way round: every number and every text comes from the vendor, but for our own words.
    let (roles, states) = canonical_words();
    let words = [roles, states].concat();
    for (name, leaf) in &ours {
        let known = match leaf {
            Tree::Number(_) => theirs.iter().any(|(_, other)| other == leaf),
            Tree::Text(text) => {
                let given = |other: &Tree| {
                    other == *leaf
                        || other.text().and_then(normal).as_deref() == Some(text)
                        || *name == "text" && other.text().is_some_and(|part| text.contains(part))
                };
                theirs.iter().any(|(_, other)| given(other))
                    || ["vendor", "upstream", "id"].contains(name)
                    || (["role", "status"].contains(name) && words.contains(&text.as_str()))
                    || (*name == "text" && text.chars().all(|c| c == '\n'))
            }
            _ => true,
        };
        prop_assert!(
            known,
            "{}={} of {} is made up: {} gives {}",
            name,
            leaf,
            decoder.spec().vendor,
            told,
            answer
        );
    }
    Ok(())
}

#[test]
fn every_sample_is_wholly_in_its_answer() {
    for decoder in decoders() {
        for (story, told) in decoder.samples() {
            nothing_is_lost(&decoder, &told).unwrap_or_else(|fault| panic!("{story}: {fault}"));
        }
    }
}

/// Every member that a spec lists as reported is in the answer of some story. The converse is part of every test of a
/// reply.
#[test]
fn every_reported_member_is_in_some_answer() {
    for decoder in decoders() {
        let (spec, upstream) = (decoder.spec(), usual(decoder.spec()));
        let target = target(spec, &upstream);
        // A vendor that only confirms reports the members that were set.
        let example = Bytes::from_static(spec.example.patch.as_bytes());
        let patch = Patch::parse(&example).unwrap();
        let (merge, lenient, idempotency_key) = (false, false, None);
        let request = EncodeRequest {
            endpoint: &upstream,
            target: &target,
            patch: &patch,
            merge,
            lenient,
            idempotency_key,
        };
        let call = unmerged(decoder.adapter.encode(&request).unwrap());
        let cx = match decoder.is_read {
            true => DecodeContext::of_read(&target),
            false => DecodeContext::of_update(&target, &call),
        };
        let mut missing = decoder.reported().to_vec();
        for (story, told) in decoder.samples() {
            let reply = reply(200, told.to_string());
            let mut out = Vec::new();
            decoder.decode(&cx, &reply).unwrap().write("id", "vendor", "upstream", &[], &mut out);
            let answer = Tree::parse(&out).unwrap();
            missing.retain(|name| answer.get(name).is_none_or(|value| *value == Tree::Null));
            is_as_promised(&decoder, &answer).unwrap_or_else(|fault| panic!("{story}: {fault}"));
        }
        assert!(missing.is_empty(), "{decoder:?}: no story's answer has {missing:?}");
    }
}

/// Two replies that differ in one value give two different answers: so nothing is lost that a search for leaves does
/// not see, as whether a member was null or absent.
#[test]
fn a_difference_in_the_reply_is_a_difference_in_the_answer() {
    let values = || {
        [
            ("null", Tree::Null),
            ("true", Tree::Bool(true)),
            ("false", Tree::Bool(false)),
            ("0", Tree::Number("0".into())),
            ("1", Tree::Number("1".into())),
            ("1.0", Tree::Number("1.0".into())),
            ("text", Tree::Text("leaf-1".into())),
            ("empty text", Tree::Text(String::new())),
            ("time", Tree::Text("2020-01-01T00:00:00Z".into())),
            ("object", Tree::Object(vec![("deep".into(), Tree::Number("1.50".into()))])),
            ("empty object", Tree::Object(Vec::new())),
            ("list", Tree::List(vec![Tree::Number("1".into())])),
            ("two texts", Tree::List(vec![Tree::Text("a".into()), Tree::Text("b".into())])),
            ("objects", Tree::List(vec![Tree::Object(vec![("deep".into(), Tree::Null)])])),
            ("empty list", Tree::List(Vec::new())),
        ]
    };
    // Flags come in digits or words, and a list without anything says no more than no list.
    let alike = [("true", "1"), ("false", "0"), ("empty list", "absent"), ("empty list", "empty text")];
    let mut compared = 0;
    for decoder in decoders() {
        for (story, told) in decoder.samples() {
            let base = conversation(&decoder, &told);
            let mut inside = Vec::new();
            ways(at(&told, &base), &base, &mut inside);
            for way in inside {
                // Texts joined: an empty one says no more than none.
                let in_list = matches!(at(&told, &way[..way.len() - 1]), Tree::List(_));
                let mut seen: Vec<(&str, Tree)> = Vec::new();
                let mut absent = told.clone();
                remove(&mut absent, &way);
                let mut variants = vec![("absent", absent)];
                for (what, value) in values() {
                    let mut variant = told.clone();
                    *at_mut(&mut variant, &way) = value;
                    variants.push((what, variant));
                }
                for (what, variant) in variants {
                    let answer = decoder
                        .answer(&variant)
                        .unwrap_or_else(|| panic!("{story}: {what} is refused: {variant}"))
                        .sorted();
                    for (other, one) in &seen {
                        compared += 1;
                        let listed = in_list && (*other, what) == ("absent", "empty text");
                        let known =
                            listed || alike.contains(&(what, *other)) || alike.contains(&(*other, what));
                        assert!(
                            known || *one != answer,
                            "{story}: {what} and {other} give the same answer: {variant} gives {answer}"
                        );
                    }
                    seen.push((what, answer));
                }
            }
        }
    }
    assert!(compared > 10_000);
}

/// An envelope and the conversation in it may have members of the same names, however they are written.
#[test]
fn what_stands_around_the_conversation_is_kept_apart_from_it() {
    let decoders = decoders();
    let envelopes = decoders.iter().filter(|it| !conversation(it, &it.sample()).is_empty());
    for decoder in envelopes {
        let mut told = decoder.sample();
        let way = conversation(decoder, &told);
        for (place, prefix) in [(way, "inner"), (Vec::new(), "outer")] {
            let Tree::Object(members) = at_mut(&mut told, &place) else { panic!("an object") };
            for name in ["one", "two", "envelope", "vendor_data", "data", "status"] {
                if !members.iter().any(|(other, _)| other == name) {
                    members.push((name.to_owned(), Tree::Text(format!("{prefix}-{name}"))));
                }
            }
        }
        nothing_is_lost(decoder, &told).unwrap();
        let text = told.to_string();
        let respelt = text.replacen("\"one\":\"inner-one\"", "\"\\u006fne\":\"inner-one\"", 1);
        assert_ne!(text, respelt);
        let ours = Tree::parse(&decoder.written(&reply(200, respelt)).unwrap()).unwrap();
        assert_eq!(ours.sorted(), decoder.answer(&told).unwrap().sorted());
    }
}

/// Messages keep the vendor's order, or are turned round, or are ordered by their times; then one without a time stays
/// behind the one before it.
#[test]
fn messages_have_one_order() {
    let mut by_time = 0;
    for decoder in decoders() {
        let told = decoder.sample();
        let way = conversation(&decoder, &told);
        let Some(Tree::List(messages)) = at(&told, &way).get("messages") else { continue };
        let Some(Tree::Object(message)) = messages.first() else { continue };
        let is_time = |(_, value): &&(String, Tree)| value.text().and_then(normal).is_some();
        let time = message.iter().find(is_time).map(|(name, _)| name.clone());
        // The order in which messages come out that have these times.
        let order = |times: &[Option<&str>]| -> Vec<usize> {
            let list = times.iter().enumerate().map(|(n, at)| {
                let mut members = message.clone();
                members.retain(|(name, _)| name != "id" && Some(name) != time.as_ref());
                members.push(("id".to_owned(), Tree::Text(format!("m-{n}"))));
                if let (Some(name), Some(at)) = (&time, at) {
                    members.push((name.clone(), Tree::Text(format!("2024-01-01T00:00:{at}Z"))));
                }
                Tree::Object(members)
            });
            let mut told = told.clone();
            let Tree::Object(members) = at_mut(&mut told, &way) else { panic!("a conversation") };
            members.iter_mut().filter(|(name, _)| name == "messages").for_each(|(_, value)| {
                *value = Tree::List(list.clone().collect());
            });
            let answer = decoder.answer(&told).unwrap();
            let Some(Tree::List(messages)) = answer.get("messages") else { panic!("messages") };
            let id =
                |message: &Tree| message.get("id").and_then(Tree::text).map(|id| id[2..].parse().unwrap());
            messages.iter().map(|message| id(message).unwrap()).collect()
        };
        match order(&[Some("03"), Some("01"), Some("02")]).as_slice() {
            [0, 1, 2] => assert_eq!(order(&[Some("03"), None, Some("02")]), [0, 1, 2]),
            [2, 1, 0] => assert_eq!(order(&[Some("03"), None, Some("02")]), [2, 1, 0]),
            other => {
                by_time += 1;
                assert_eq!(other, [1, 2, 0]);
                assert_eq!(order(&[Some("03"), None, Some("01"), None, Some("02")]), [2, 3, 4, 0, 1]);
                assert_eq!(order(&[None, Some("02"), Some("01")]), [0, 2, 1]);
                assert_eq!(order(&[Some("02.5"), Some("02"), Some("02.50"), Some("02.05")]), [1, 3, 0, 2]);
                assert_eq!(order(&[None, None]), [0, 1]);
            }
        }
    }
    assert!(by_time > 0);
}

/// A list of texts that becomes attachments has each once and in its order, be they few or many.
#[test]
fn no_attachment_is_there_twice() {
    let mut lists = 0;
    for decoder in decoders() {
        for (story, told) in decoder.samples() {
            let mut all = Vec::new();
            ways(&told, &Vec::new(), &mut all);
            let texts =
                |tree: &Tree| matches!(tree, Tree::List(items) if items.iter().all(|it| it.text().is_some()));
            for way in all.into_iter().filter(|way| texts(at(&told, way))) {
                for count in [3, 16, 17, 200] {
                    let url = |n: usize| Tree::Text(format!("https://cdn.example/{n}"));
                    let mut told = told.clone();
                    *at_mut(&mut told, &way) = Tree::List((0..count).chain(0..count).map(url).collect());
                    let answer = decoder.answer(&told).unwrap().to_string();
                    let once: Vec<_> = (0..count).map(|n| format!("{{\"url\":{}}}", url(n))).collect();
                    if answer.contains("\"attachments\":[{\"url\":\"https://cdn.example/0\"") {
                        lists += 1;
                        assert!(answer.contains(&format!("[{}", once.join(","))), "{story}: {answer}");
                        assert_eq!(
                            answer.matches("{\"url\":\"https://cdn.example/").count(),
                            count,
                            "{story}"
                        );
                    }
                }
            }
        }
    }
    assert!(lists > 0);
}

#[test]
fn names_are_names_however_they_are_written() {
    for decoder in decoders() {
        for (story, told) in decoder.samples() {
            let mut text = String::new();
            escaped(&told, &mut text);
            let out = decoder.written(&reply(200, text)).unwrap();
            let ours = Tree::parse(&out).unwrap();
            assert_eq!(ours.sorted(), decoder.answer(&told).unwrap().sorted(), "{story}");
        }
    }
}

#[test]
fn a_reply_that_gives_a_member_twice_is_refused() {
    for decoder in decoders() {
        let told = decoder.sample();
        let mut all = vec![Vec::new()];
        ways(&told, &Vec::new(), &mut all);
        for way in all {
            let mut twice = told.clone();
            if let Tree::Object(members) = at_mut(&mut twice, &way)
                && let Some(first) = members.first().cloned()
            {
                members.push(first);
                let reply = reply(200, twice.to_string());
                let result = decoder.written(&reply);
                assert!(matches!(result, Err(DecodeError::Invalid(_))), "{twice}");
            }
        }
    }
}

#[test]
fn what_is_no_object_is_no_conversation() {
    for decoder in decoders() {
        let told = decoder.sample().to_string();
        let bodies = [
            " ".to_owned(),
            "null".to_owned(),
            "[]".to_owned(),
            format!("[{told}]"),
            "\"text\"".to_owned(),
            "7".to_owned(),
            "NaN".to_owned(),
            "<html></html>".to_owned(),
            format!("\u{FEFF}{told}"),
            format!("{told}{told}"),
            format!("{told} trailing"),
            format!("{}{}", told, "\0"),
            told[..told.len() - 1].to_owned(),
            format!("{{\"deep\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000)),
        ];
        for body in bodies {
            let result = decoder.written(&reply(200, body.clone()));
            assert!(matches!(result, Err(DecodeError::Invalid(_))), "{decoder:?}: {body}");
        }
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn every_leaf_of_a_changed_reply_is_in_its_answer(decoder in decoder(), changes in changes()) {
        let mut told = decoder.sample();
        changes.iter().for_each(|it| change(&decoder, &mut told, it));
        nothing_is_lost(&decoder, &told)?;
    }

    #[test]
    fn no_bytes_make_an_adapter_panic(
        (decoder, bytes) in decoder().prop_flat_map(|decoder| (Just(decoder), near(&decoder))),
        status in 100_u16..=999,
    ) {
        let reply = reply(status, bytes.clone());
        let failure = decoder.adapter.failure(&reply);
        let texts = [&failure.vendor_code, &failure.vendor_message];
        for text in texts.into_iter().flatten().chain(failure.fields.iter().map(|(_, words)| words)) {
            prop_assert!(text.chars().count() <= 1001 && !text.contains(char::is_control), "{:?}", text);
        }
        if let Ok(out) = decoder.written(&reply) {
            // Valid, without a name twice, whatever the vendor sent.
            let read = Tree::parse(&out);
            prop_assert!(read.is_ok(), "{:?}: {}", read, String::from_utf8_lossy(&out));
            // And only what was valid became an answer.
            prop_assert!(serde_json::from_slice::<&RawValue>(&bytes).is_ok());
        }
    }
}
