//! The JSON reader against serde_json, which was written by others and reads the same texts.
//!
//! `RawValue`, which checks syntax without interpreting anything, decides whether a text is valid; the four rules that
//! we add (no name twice, 128 levels, no lone surrogates from callers, nothing behind the value) are computed here on
//! top of it, by recursion over `RawValue`s.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod texts;

use std::collections::HashSet;

use parlance_adapters::json::{JsonError, Kind, Raw, Reader, compact, quote, quoted, unescape};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use texts::{INVALID, VALID};

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn read(bytes: &[u8], strict: bool) -> Result<Raw<'_>, JsonError> {
    let mut reader = if strict { Reader::strict(bytes)? } else { Reader::lenient(bytes)? };
    let value = reader.raw()?;
    reader.end()?;
    Ok(value)
}

/// The members of an object as serde_json sees them, in order and with repetitions.
struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Walk)
    }
}

/// Returns true if a text is to be accepted, by serde_json and our own rules.
fn acceptable(bytes: &[u8], strict: bool) -> bool {
    serde_json::from_slice::<&RawValue>(bytes).is_ok_and(|value| keeps_rules(value, strict, 0))
}

fn keeps_rules(value: &RawValue, strict: bool, depth: usize) -> bool {
    let text = value.get();
    let string = |text: &str| !strict || serde_json::from_str::<String>(text).is_ok();
    match text.as_bytes()[0] {
        b'"' => string(text),
        b'{' => {
            let Members(members) = serde_json::from_str(text).unwrap();
            let mut seen = HashSet::new();
            depth < 128
                && members.iter().all(|(name, value)| {
                    // To serde_json a name with half of a surrogate pair is no String.
                    let known = serde_json::from_str(name.get()).unwrap_or_else(|_| with_halves(name.get()));
                    string(name.get()) && seen.insert(known) && keeps_rules(value, strict, depth + 1)
                })
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).unwrap();
            depth < 128 && items.iter().all(|item| keeps_rules(item, strict, depth + 1))
        }
        _ => true,
    }
}

/// Meaning of a string whose pairs of surrogates are not whole: every half is U+FFFD.
fn with_halves(quoted: &str) -> String {
    let mut units = Vec::new();
    let mut chars = quoted[1..quoted.len() - 1].chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next().unwrap() {
                'u' => {
                    let digits: String = chars.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&digits, 16).unwrap());
                }
                other => {
                    let text: String = serde_json::from_str(&format!("\"\\{other}\"")).unwrap();
                    units.extend(text.encode_utf16());
                }
            },
            plain => units.extend(plain.encode_utf16(&mut [0; 2]).iter()),
        }
    }
    String::from_utf16_lossy(&units)
}

/// White space between tokens.
fn space() -> impl Strategy<Value = &'static str> + Clone {
    prop_oneof![6 => Just(""), 1 => select(vec![" ", "\n", "\t", "\r\n", "   "])]
}

/// Text between the quotes of a string, in every spelling that JSON knows.
fn string_inside() -> impl Strategy<Value = String> + Clone {
    let piece = prop_oneof![
        8 => "[a-z0-9 ]{1,12}",
        4 => "[^\"\\\\\\x00-\\x1f]{0,20}",
        2 => select(vec!["\\\"", "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t"]).prop_map(str::to_owned),
        2 => any::<char>().prop_map(|c| {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
        }),
        1 => (0xD800_u16..0xE000).prop_map(|half| format!("\\u{half:04X}")),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

/// Names: few, so that some are given twice, and with escaped spellings of the same ones.
fn name() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        6 => "[a-e][a-z]{0,2}",
        1 => select(vec!["\\u0061", "a", "\\u0062b", "\\ud83d\\ude00", "😀", "", "\\/", "/"])
            .prop_map(str::to_owned),
        1 => string_inside(),
    ]
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => any::<i64>().prop_map(|n| n.to_string()),
        2 => "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,5})?",
        1 => select(vec!["-0", "0", "1e999", "-1E-999", "0.10", "1e+2"]).prop_map(str::to_owned),
    ]
}

/// A JSON text, with everything that JSON allows and some names given twice.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        select(vec!["true", "false", "null"]).prop_map(str::to_owned),
        number(),
        string_inside().prop_map(|inside| format!("\"{inside}\"")),
    ];
    leaf.prop_recursive(5, 80, 24, |inner| {
        let item = (space(), inner.clone(), space()).prop_map(|(a, item, b)| format!("{a}{item}{b}"));
        let member = (space(), name(), space(), item.clone())
            .prop_map(|(a, name, b, value)| format!("{a}\"{name}\"{b}:{value}"));
        let list = |open: char, close: char| {
            move |(inside, blank): (Vec<String>, &str)| match inside.is_empty() {
                true => format!("{open}{blank}{close}"),
                false => format!("{open}{}{close}", inside.join(",")),
            }
        };
        prop_oneof![
            2 => (prop::collection::vec(item, 0..8), space()).prop_map(list('[', ']')),
            2 => (prop::collection::vec(member.clone(), 0..8), space()).prop_map(list('{', '}')),
            1 => (prop::collection::vec(member, 14..24), space()).prop_map(list('{', '}')),
        ]
    })
}

/// Small damage to a text.
#[derive(Debug, Clone)]
enum Damage {
    Replace(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Cut(Index),
    Repeat(Index, Index),
    Swap(Index, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = prop_oneof![
        4 => select(b"{}[]\",:\\ \n0123456789-+.eEtfnul/ub\0\x1f\x7f".to_vec()),
        1 => any::<u8>(),
    ];
    let at = any::<Index>;
    prop_oneof![
        (at(), byte.clone()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        (at(), byte).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        at().prop_map(Damage::Remove),
        at().prop_map(Damage::Cut),
        (at(), at()).prop_map(|(a, b)| Damage::Repeat(a, b)),
        (at(), at()).prop_map(|(a, b)| Damage::Swap(a, b)),
    ]
}

fn damaged(text: &str, damages: &[Damage]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len();
        match damage {
            Damage::Replace(at, byte) => bytes[at.index(len)] = *byte,
            Damage::Insert(at, byte) => bytes.insert(at.index(len + 1), *byte),
            Damage::Remove(at) => drop(bytes.remove(at.index(len))),
            Damage::Cut(at) => bytes.truncate(at.index(len)),
            Damage::Repeat(a, b) => {
                let (a, b) = (a.index(len), b.index(len));
                bytes.extend_from_within(a.min(b)..a.max(b));
            }
            Damage::Swap(a, b) => bytes.swap(a.index(len), b.index(len)),
        }
    }
    bytes
}

fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    for strict in [true, false] {
        let ours = read(bytes, strict);
        prop_assert_eq!(
            ours.is_ok(),
            acceptable(bytes, strict),
            "strict {}: {:?} for {}",
            strict,
            ours,
            String::from_utf8_lossy(bytes)
        );
        if let Err(malformed) = ours {
            prop_assert!(malformed.at() <= bytes.len());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn a_valid_text_is_accepted_as_serde_json_does(text in json()) {
        check(text.as_bytes())?;
    }

    #[test]
    fn a_damaged_text_is_judged_as_serde_json_does(
        text in json(),
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        check(&damaged(&text, &damages))?;
    }

    #[test]
    fn any_bytes_are_judged_as_serde_json_does(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        check(&bytes)?;
    }

    #[test]
    fn a_long_string_is_judged_wherever_its_special_byte_stands(
        before in 0_usize..70,
        byte in any::<u8>(),
        after in 0_usize..40,
    ) {
        let mut text = vec![b'"'];
        text.extend(std::iter::repeat_n(b'x', before));
        text.push(byte);
        text.extend(std::iter::repeat_n(b'y', after));
        text.push(b'"');
        check(&text)?;
    }

    #[test]
    fn a_value_is_the_very_text_where_it_stands(text in json(), before in space(), behind in space()) {
        let text = format!("{before}{text}{behind}");
        if acceptable(text.as_bytes(), false) {
            let ours = read(text.as_bytes(), false).unwrap();
            same_spans(ours, serde_json::from_str(&text).unwrap())?;
            let mut reader = Reader::lenient(text.as_bytes()).unwrap();
            let mark = reader.mark();
            reader.raw().unwrap();
            prop_assert_eq!(reader.since(mark), ours);
        }
    }

    #[test]
    fn a_string_means_what_serde_json_reads(inside in string_inside()) {
        let written = format!("\"{inside}\"");
        let value = read(written.as_bytes(), false).unwrap();
        prop_assert_eq!(value.inner(), Some(inside.as_str()));
        match serde_json::from_str::<String>(&written) {
            Ok(text) => {
                prop_assert_eq!(value.as_str().unwrap(), text.as_str());
                prop_assert_eq!(unescape(&inside), text);
            }
            Err(_) => prop_assert!(unescape(&inside).contains(char::REPLACEMENT_CHARACTER)),
        }
    }

    #[test]
    fn a_quoted_text_is_read_back(text in any::<String>()) {
        let ours = quoted(&text);
        prop_assert_eq!(serde_json::from_str::<String>(&ours).unwrap(), text.clone());
        prop_assert_eq!(read(ours.as_bytes(), true).unwrap().as_str().unwrap(), text.clone());
        let mut out = b"before".to_vec();
        quote(&text, &mut out);
        prop_assert_eq!(out, format!("before{ours}").into_bytes());
    }

    #[test]
    fn a_compact_value_has_the_same_tokens(text in json()) {
        if acceptable(text.as_bytes(), false) {
            let value = read(text.as_bytes(), false).unwrap();
            let short = compact(value.text());
            // Nothing but the white space between the tokens is gone: they are the same from span to span.
            same_tokens(value, read(short.as_bytes(), false).unwrap())?;
            prop_assert_eq!(compact(read(short.as_bytes(), false).unwrap().text()), short);
        }
    }

    #[test]
    fn a_compact_value_is_what_serde_json_writes(value in plain_value()) {
        let written = serde_json::to_string(&value).unwrap();
        let spaced = serde_json::to_string_pretty(&value).unwrap();
        prop_assert_eq!(compact(read(spaced.as_bytes(), true).unwrap().text()), written);
    }

    #[test]
    fn a_name_given_twice_is_refused_however_many_stand_between(
        count in 2_usize..60,
        first in any::<Index>(),
        second in any::<Index>(),
        escaped in any::<bool>(),
        nested in 0_usize..3,
    ) {
        let (first, second) = (first.index(count), second.index(count));
        let mut names: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
        let once = object(&names, nested);
        prop_assert!(read(once.as_bytes(), true).is_ok());
        if first != second {
            names[second] = if escaped { format!("\\u006e{first}") } else { format!("n{first}") };
            let twice = object(&names, nested);
            prop_assert!(read(twice.as_bytes(), true).is_err(), "{}", twice);
            prop_assert!(read(twice.as_bytes(), false).is_err(), "{}", twice);
        }
    }
}

/// A value whose numbers every reader spells alike.
fn plain_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<Option<bool>>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn object(names: &[String], nested: usize) -> String {
    let members: Vec<String> = names.iter().map(|name| format!("\"{name}\":{{\"n0\":0}}")).collect();
    let object = format!("{{{}}}", members.join(","));
    (0..nested).fold(object, |inner, _| format!("[{{\"n1\":1,\"deep\":{inner}}}]"))
}

/// Every value has the text that serde_json finds at that place, down to the leaves.
fn same_spans(ours: Raw<'_>, theirs: &RawValue) -> Result<(), TestCaseError> {
    prop_assert_eq!(ours.text(), theirs.get());
    match ours.kind() {
        Kind::Object => {
            let Members(theirs) = serde_json::from_str(theirs.get()).unwrap();
            let ours = ours.members();
            prop_assert_eq!(ours.len(), theirs.len());
            for ((key, value), (name, theirs)) in ours.iter().zip(theirs) {
                prop_assert_eq!(format!("\"{}\"", key.written()), name.get());
                if let Ok(name) = serde_json::from_str::<String>(name.get()) {
                    prop_assert_eq!(key.name(), name);
                }
                same_spans(*value, theirs)?;
            }
        }
        Kind::Array => {
            let theirs: Vec<&RawValue> = serde_json::from_str(theirs.get()).unwrap();
            let ours = ours.items();
            prop_assert_eq!(ours.len(), theirs.len());
            for (ours, theirs) in ours.iter().zip(theirs) {
                same_spans(*ours, theirs)?;
            }
        }
        _ => prop_assert!(ours.members().is_empty() && ours.items().is_empty()),
    }
    Ok(())
}

fn same_tokens(one: Raw<'_>, other: Raw<'_>) -> Result<(), TestCaseError> {
    prop_assert_eq!(one.kind(), other.kind());
    match one.kind() {
        Kind::Object => {
            prop_assert_eq!(one.members().len(), other.members().len());
            for ((name, value), (other_name, other)) in one.members().into_iter().zip(other.members()) {
                prop_assert_eq!(name.written(), other_name.written());
                same_tokens(value, other)?;
            }
        }
        Kind::Array => {
            prop_assert_eq!(one.items().len(), other.items().len());
            for (one, other) in one.items().into_iter().zip(other.items()) {
                same_tokens(one, other)?;
            }
        }
        _ => prop_assert_eq!(one.text(), other.text()),
    }
    Ok(())
}

fn nested(levels: usize) -> [String; 3] {
    let pairs = levels / 2;
    let single = if levels % 2 == 1 { ("[", "]") } else { ("", "") };
    [
        format!("{}{}", "[".repeat(levels), "]".repeat(levels)),
        format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels)),
        format!("{}{}0{}{}", single.0, "[{\"a\": ".repeat(pairs), "}]".repeat(pairs), single.1),
    ]
}

#[test]
fn a_hundred_and_twenty_eight_levels_and_no_more() {
    for text in (1..=128).step_by(7).chain([127, 128]).flat_map(nested) {
        assert!(read(text.as_bytes(), true).is_ok(), "{text}");
    }
    for text in [129, 130, 256, 10_000, 1_000_000].into_iter().flat_map(nested) {
        assert!(read(text.as_bytes(), true).is_err());
        assert!(read(text.as_bytes(), false).is_err());
    }
    // Levels count while they are open, not one after another.
    let flat = format!("[{}[]]", "[],{\"a\":{}},".repeat(10_000));
    assert!(read(flat.as_bytes(), true).is_ok());
}

#[test]
fn a_value_can_be_walked_again_from_its_own_start() {
    let text = format!("{}{{\"a\": [1, 2]}}{}", "[".repeat(127), "]".repeat(127));
    let malformed = read(text.as_bytes(), true).unwrap_err();
    assert_eq!(malformed.to_string(), "objects and arrays nest deeper than 128 levels at byte 133");
    let text = format!("{}{{\"a\": [1, 2]}}{}", "[".repeat(126), "]".repeat(126));
    let mut inner = read(text.as_bytes(), true).unwrap();
    while inner.kind() == Kind::Array {
        inner = inner.items()[0];
    }
    assert_eq!(inner.text(), "{\"a\": [1, 2]}");
}

#[test]
fn half_of_a_surrogate_pair_is_for_vendors_only() {
    for text in [
        r#""\ud800""#,
        r#""\udc00""#,
        r#""\udbff\u0041""#,
        r#""\ud83d\ud83d""#,
        r#""\ud83dx\ude00""#,
        r#""\ud83d\\ude00""#,
        r#""\ud83d\n""#,
        r#""\ude00\ud83d""#,
        r#"{"\ud800":1}"#,
    ] {
        assert!(read(text.as_bytes(), true).is_err(), "{text}");
        let value = read(text.as_bytes(), false).unwrap_or_else(|_| panic!("{text}"));
        assert_eq!(value.text(), text, "passed on as it was written");
    }
    for text in [r#""\ud83d\ude00""#, r#""\uD83D\uDE00""#, r#""\udbff\udfff""#] {
        let value = read(text.as_bytes(), true).unwrap();
        assert_eq!(value.as_str().unwrap(), serde_json::from_str::<String>(text).unwrap());
    }
}

#[test]
fn a_repeated_name_is_found_at_every_depth_and_in_every_spelling() {
    for text in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061":1}"#,
        r#"{"\u0061":1,"a":1}"#,
        r#"{"\/":1,"/":1}"#,
        r#"{"":1,"":2}"#,
        r#"{"x":{"a":1,"b":2,"a":3}}"#,
        r#"[[{"x":[{"a":1,"a":2}]}]]"#,
        r#"{"😀":1,"\ud83d\ude00":2}"#,
        r#"{"id":1,"messages":[],"id":2}"#,
    ] {
        for strict in [true, false] {
            let malformed = read(text.as_bytes(), strict).unwrap_err();
            assert!(malformed.kind().as_str().starts_with("a member is given twice"), "{text}: {malformed}");
        }
    }
    for text in [
        r#"{"a":1,"A":1}"#,
        r#"{"a":{"a":{"a":1}}}"#,
        r#"[{"a":1},{"a":1}]"#,
        r#"{"a":{"b":1},"b":{"a":1}}"#,
        r#"{"\\u0061":1,"a":1}"#,
        "{\"é\":1,\"e\u{301}\":2}",
    ] {
        assert!(read(text.as_bytes(), true).is_ok(), "{text}");
    }
}

#[test]
fn numbers_keep_their_spelling() {
    for number in [
        "0",
        "-0",
        "0.10",
        "1E400",
        "1e999",
        "-1e-999",
        "9007199254740993",
        "1234567890123456789012345678901234567890",
        "3.14159265358979323846264338327950288",
        "1e+0",
        "123e-00000005",
    ] {
        let text = format!("{{ \"n\" : {number} }}");
        let value = read(text.as_bytes(), true).unwrap();
        assert_eq!(value.members()[0].1.text(), number);
        assert_eq!(compact(value.text()), format!("{{\"n\":{number}}}"));
    }
    let count = |text| read(str::as_bytes(text), true).unwrap().is_count();
    assert!(count("0") && count("12345678901234567890123"));
    assert!(!count("-1") && !count("1.0") && !count("1e3") && !count("null") && !count("\"1\""));
}

#[test]
fn kinds_and_their_accessors() {
    let kinds = [
        ("{}", Kind::Object, "an object"),
        ("[]", Kind::Array, "an array"),
        ("\"\"", Kind::String, "a string"),
        ("-1", Kind::Number, "a number"),
        ("7", Kind::Number, "a number"),
        ("true", Kind::Boolean, "a boolean"),
        ("false", Kind::Boolean, "a boolean"),
        ("null", Kind::Null, "null"),
    ];
    for (text, kind, name) in kinds {
        let spaced = format!(" \t\r\n{text} ");
        let value = read(spaced.as_bytes(), true).unwrap();
        assert_eq!((value.text(), value.kind(), value.kind().name()), (text, kind, name));
        assert_eq!(value.as_str().is_some(), kind == Kind::String);
        assert_eq!(value.as_bool().is_some(), kind == Kind::Boolean);
        assert_eq!(Reader::strict(spaced.as_bytes()).unwrap().peek().unwrap(), kind);
    }
    assert_eq!(read(b"true", true).unwrap().as_bool(), Some(true));
    assert_eq!(read(b"false", true).unwrap().as_bool(), Some(false));
    assert!(Reader::strict(b" ").unwrap().peek().is_err());
    assert!(Reader::strict(b"x").unwrap().peek().is_err());
}

#[test]
fn the_odd_texts_of_the_trade() {
    assert!(INVALID.len() + VALID.len() >= 200);
    for text in INVALID {
        let shown = String::from_utf8_lossy(text);
        assert!(serde_json::from_slice::<&RawValue>(text).is_err(), "the table is wrong about {shown}");
        assert!(read(text, true).is_err(), "{shown}");
        assert!(read(text, false).is_err(), "{shown}");
    }
    for text in VALID {
        assert!(serde_json::from_str::<&RawValue>(text).is_ok(), "the table is wrong about {text}");
        assert!(read(text.as_bytes(), true).is_ok(), "{text}");
        assert!(read(text.as_bytes(), false).is_ok(), "{text}");
    }
}

#[test]
fn large_texts_take_time_in_proportion() {
    let names = |count: usize| {
        let members: Vec<String> = (0..count).map(|n| format!("\"member-{n}\":{n}")).collect();
        format!("{{{}}}", members.join(","))
    };
    let time = |text: &str| {
        let start = std::time::Instant::now();
        assert!(read(text.as_bytes(), true).is_ok());
        start.elapsed()
    };
    // A hundred times the members may take a thousand times the time on a busy machine, but never ten thousand times.
    let (few, many) = (names(3_000), names(300_000));
    let few = (0..3).map(|_| time(&few)).min().unwrap();
    let many = (0..3).map(|_| time(&many)).min().unwrap();
    assert!(many < few * 3_000, "{few:?} for 3000 members, {many:?} for 300000");
    time(&format!("\"{}\"", "x".repeat(1 << 20)));
}
