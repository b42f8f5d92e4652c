//! Answers with status 2xx that are not the conversation, or not as it was set.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use parlance_adapters::canonical::{Conversation, Patch};
use parlance_adapters::confirmation::covers;
use parlance_adapters::json::Reader;
use parlance_adapters::{
    ALL, Conversion, DecodeContext, DecodeError, EncodeRequest, FailureKind, Row, UpstreamCall, decode,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::made::{name, object_of, row_value, tree};
use crate::support::{Story, Tree};
use crate::ways::{at_mut, conversation};
use crate::{Decoder, One, adapter, cases, decoder, decoders, reply, target, unmerged, usual};

fn text(text: &str) -> Tree {
    Tree::Text(text.to_owned())
}

fn object(members: &[(&str, Tree)]) -> Tree {
    Tree::Object(members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

fn call(adapter: One, patch: &str) -> UpstreamCall {
    let spec = adapter.spec();
    let (upstream, body) = (usual(spec), Bytes::copy_from_slice(patch.as_bytes()));
    let ask = EncodeRequest {
        endpoint: &upstream,
        target: &target(spec, &upstream),
        patch: &Patch::parse(&body).unwrap(),
        merge: false,
        lenient: false,
        idempotency_key: None,
    };
    unmerged(adapter.encode(&ask).unwrap_or_else(|error| panic!("{patch}: {error}")))
}

/// Decodes an answer as the gateway does; `judge` sees the result.
fn judged<T>(
    decoder: &Decoder,
    patch: &str,
    reply: &Response<Bytes>,
    judge: impl FnOnce(Result<Conversation<'_>, DecodeError>) -> T,
) -> T {
    let spec = decoder.spec();
    let target = target(spec, &usual(spec));
    if decoder.is_read {
        return judge(decode(decoder.adapter, &DecodeContext::of_read(&target), reply));
    }
    let call = call(One(decoder.adapter), patch);
    judge(decode(decoder.adapter, &DecodeContext::of_update(&target, &call), reply))
}

/// A patch that the vendor takes.
fn any_patch(decoder: &Decoder) -> String {
    row_value(decoder.spec().rows().next().unwrap())
}

fn codes(conversation: &Conversation<'_>) -> Vec<(&'static str, Option<String>)> {
    conversation.warnings.iter().map(|it| (it.code, it.pointer.clone())).collect()
}

impl Decoder {
    /// Name of the vendor's member that holds the conversation's own id.
    fn id_member(&self) -> &'static str {
        static NAMES: LazyLock<BTreeMap<(&str, bool), String>> = LazyLock::new(|| {
            let name = |decoder: &Decoder| {
                let stories =
                    Story::of(decoder.spec().vendor).into_iter().filter(|story| decoder.is_of(story));
                stories.into_iter().find_map(|story| {
                    let id = story.told.get("id")?.text()?.rsplit(':').next()?.to_owned();
                    let body = story.told.get("reply")?.get("body")?;
                    let Tree::Object(members) = body.get("data").unwrap_or(body) else { return None };
                    let own = members.iter().find(|(_, value)| value.text() == Some(&id));
                    own.map(|(name, _)| name.clone())
                })
            };
            let key = |decoder: &Decoder| (decoder.spec().vendor, decoder.is_read);
            let named = |decoder: &Decoder| {
                (key(decoder), name(decoder).expect("a story with the id that it asks for"))
            };
            decoders().iter().map(named).collect()
        });
        &NAMES[&(self.spec().vendor, self.is_read)]
    }

    /// The sample, with this id of its own.
    pub(crate) fn of(&self, id: Option<Tree>) -> Tree {
        let mut told = self.sample();
        let way = conversation(self, &told);
        let name = self.id_member();
        let Tree::Object(members) = at_mut(&mut told, &way) else { panic!("a conversation") };
        members.retain(|(other, _)| *other != name);
        members.extend(id.map(|id| (name.to_owned(), id)));
        told
    }

    /// True for vendors that report a status of their own.
    fn has_status(&self) -> bool {
        self.spec().read_members.contains(&"status")
    }

    /// True where the answer is a conversation and no confirmation.
    fn reports(&self) -> bool {
        self.reported().contains(&"created_at") || self.is_read
    }

    /// An error, in the vendor's envelope if it has one and `inside` says so.
    fn error(&self, made: &MadeError, inside: bool) -> Tree {
        let mut members = Vec::new();
        match made.id {
            0 => {}
            1 => members.push((self.id_member().to_owned(), text("err_7f3"))),
            _ => members.push((self.id_member().to_owned(), text("asked-1"))),
        }
        for (name, value) in made.signs.iter().chain(&made.more) {
            let is_known = members.iter().any(|(other, _)| other == name);
            if !is_known {
                members.push((name.clone(), value.clone()));
            }
        }
        let error = Tree::Object(members);
        if inside && !conversation(self, &self.sample()).is_empty() {
            object(&[("status", text("success")), ("error", Tree::Null), ("data", error)])
        } else {
            error
        }
    }
}

/// An error as vendors spell them.
#[derive(Debug, Clone)]
struct MadeError {
    /// 0 for none, 1 for one of its own, 2 for the conversation's.
    id: usize,
    signs: Vec<(String, Tree)>,
    more: Vec<(String, Tree)>,
}

fn sign() -> impl Strategy<Value = (String, Tree)> {
    let number = (400_u32..=999).prop_flat_map(|status| {
        select(vec![
            Tree::Number(status.to_string()),
            Tree::Number(format!("{status}.0")),
            Tree::Text(status.to_string()),
            Tree::Text(format!("{status} Locked")),
        ])
    });
    let words = select(vec!["Conversation is locked", "LOCKED", "x", "rate limited"]).prop_map(text);
    let some = prop_oneof![
        3 => words.clone(),
        1 => Just(Tree::Bool(true)),
        1 => Just(Tree::Number("17".to_owned())),
        2 => words.clone().prop_map(|words| object(&[("message", words), ("code", text("LOCKED"))])),
        2 => words.prop_map(|words| Tree::List(vec![object(&[("msg", words)])])),
    ];
    let no = select(vec![Tree::Bool(false), text("false"), Tree::Number("0".to_owned())]);
    let word = select(vec![
        "error",
        "Error",
        "ERROR",
        "failed",
        "fail",
        "FAILURE",
        "validation_error",
        "request failed",
    ]);
    let status_names = vec!["status", "statusCode", "status_code", "StatusCode", "httpStatus", "http_status"];
    prop_oneof![
        3 => (select(vec!["error", "errors", "Error"]), some),
        1 => (select(vec!["success", "ok", "Success"]), no),
        2 => (select(status_names), number),
        1 => (Just("status"), word.prop_map(text)),
    ]
    .prop_map(|(name, value)| (name.to_owned(), value))
}

fn made_error() -> impl Strategy<Value = MadeError> {
    let plain = prop_oneof![
        select(vec!["message", "detail", "type", "instance", "requestId", "timestamp", "path"])
            .prop_map(str::to_owned),
        "x_[a-z]{4}",
    ];
    let more =
        prop::collection::vec((plain, select(vec!["", "No", "2025-01-01T00:00:00Z"]).prop_map(text)), 0..4);
    let title = prop::option::of(Just(("title".to_owned(), text("Locked"))));
    (0_usize..3, prop::collection::vec(sign(), 1..3), more, title).prop_map(
        |(id, mut signs, mut more, title)| {
            signs.dedup_by(|one, other| one.0 == other.0);
            more.extend(title.filter(|_| id < 2));
            MadeError { id, signs, more }
        },
    )
}

/// An error is never taken for a success, whatever it looks like, whatever its 2xx, for updates and for reads.
fn is_refused(decoder: &Decoder, made: &MadeError, inside: bool, status: u16) -> Result<(), TestCaseError> {
    // With the conversation's id a status may be the conversation's.
    let is_word = |(name, value): &(String, Tree)| {
        name == "status"
            && value
                .text()
                .is_some_and(|it| it.parse::<u32>().is_err() && !it.starts_with(|c: char| c.is_ascii_digit()))
    };
    if made.id == 2 && decoder.has_status() && made.signs.iter().all(is_word) {
        return Ok(());
    }
    let told = decoder.error(made, inside);
    judged(decoder, &any_patch(decoder), &reply(status, told.to_string()), |result| {
        let is_told = match &result {
            Err(DecodeError::Failed(failure)) => failure.kind == FailureKind::Rejected,
            Err(DecodeError::Invalid(_)) => decoder.is_read,
            Ok(_) => false,
        };
        prop_assert!(is_told, "{:?} takes {} for {:?}", decoder, told, result.map(|it| codes(&it)));
        Ok(())
    })
}

proptest! {
    #![proptest_config(cases(if testkit::is_long() { 12_000 } else { 2000 }))]

    #[test]
    fn an_error_is_no_success(
        decoder in decoder(), made in made_error(), inside in any::<bool>(), status in select(vec![200, 201, 202, 207]),
    ) {
        is_refused(&decoder, &made, inside, status)?;
    }
}

/// A value of the row's type, as canonical JSON.
fn value(row: &Row) -> BoxedStrategy<Tree> {
    let context = (prop::collection::vec((name(), tree()), 0..4), tree()).prop_map(|(mut members, value)| {
        members.push(("k".to_owned(), if value == Tree::Null { Tree::Bool(true) } else { value }));
        object_of(members)
    });
    match row.conversion {
        Conversion::Object => context.boxed(),
        Conversion::ObjectOrString => {
            prop_oneof![3 => context, 1 => any::<String>().prop_map(Tree::Text)].boxed()
        }
        Conversion::Text { .. } => "\\PC{0,20}".prop_map(Tree::Text).boxed(),
        Conversion::Id { .. } => {
            "[0-9a-zA-Z_-]{1,20}".prop_map(|id| object(&[("id", Tree::Text(id))])).boxed()
        }
        Conversion::Flag => any::<bool>().prop_map(Tree::Bool).boxed(),
        other => panic!("no vendor reports {other:?} yet: say how it is echoed"),
    }
}

/// The same value in another spelling, with further members in every object.
fn respelt(tree: &Tree, out: &mut String) {
    match tree {
        Tree::Number(digits) => {
            let respelt = match digits.split_once(['e', 'E']) {
                Some((mantissa, power)) if mantissa.contains('.') => format!("{mantissa}00E{power}"),
                Some((mantissa, power)) => format!("{mantissa}.0e{power}"),
                None if digits.contains('.') => format!("{digits}0e-0"),
                None => format!("{digits}0e-1"),
            };
            // A zero before further digits is no number.
            out.push_str(&if digits.trim_start_matches('-').starts_with('0') {
                format!("{digits}e0")
            } else {
                respelt
            });
            if digits.contains(['e', 'E']) && digits.trim_start_matches('-').starts_with('0') {
                out.truncate(out.len() - 2);
            }
        }
        Tree::Text(text) => {
            out.push('"');
            text.encode_utf16().for_each(|unit| out.push_str(&format!("\\u{unit:04X}")));
            out.push('"');
        }
        Tree::List(items) => {
            out.push_str("[ ");
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { " , " });
                respelt(item, out);
            }
            out.push(']');
        }
        Tree::Object(members) => {
            out.push_str("{\"vendor's own, among others\":[7]");
            for (name, value) in members.iter().rev() {
                out.push(',');
                respelt(&Tree::Text(name.clone()), out);
                out.push_str(" : ");
                respelt(value, out);
            }
            out.push('}');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

/// The sample with a value where the vendor reports the row.
fn echo(decoder: &Decoder, row: &Row, value: Tree) -> Tree {
    let mut told = decoder.of(Some(text("asked-1")));
    let way = conversation(decoder, &told);
    let Tree::Object(members) = at_mut(&mut told, &way) else { panic!("a conversation") };
    let (first, value) = match row.reported.split_once('.') {
        Some((first, inner)) => (first, object(&[(inner, value)])),
        None => (row.reported, value),
    };
    members.retain(|(name, _)| name != first);
    members.push((first.to_owned(), value));
    told
}

/// The rows that a vendor reports back, each with its decoder.
fn reported_rows() -> Vec<(Decoder, &'static Row)> {
    let updates = decoders().into_iter().filter(|decoder| !decoder.is_read && decoder.reports());
    updates.flat_map(|decoder| decoder.spec().rows().map(move |row| (decoder, row))).collect()
}

/// Value of an id, or the value itself.
fn bare(value: &Tree) -> Tree {
    value
        .get("id")
        .filter(|_| matches!(value, Tree::Object(members) if members.len() == 1))
        .unwrap_or(value)
        .clone()
}

fn row_and_value() -> impl Strategy<Value = (Decoder, &'static Row, Tree)> {
    select(reported_rows())
        .prop_flat_map(|(decoder, row)| (Just(decoder), Just(row), value(row)))
        .prop_filter("no null within", |(decoder, row, value)| {
            call_is_taken(One(decoder.adapter), &patch_of(row, value))
        })
}

fn patch_of(row: &Row, value: &Tree) -> String {
    object(&[(row.field.name(), value.clone())]).to_string()
}

fn call_is_taken(adapter: One, patch: &str) -> bool {
    let spec = adapter.spec();
    let (upstream, body) = (usual(spec), Bytes::copy_from_slice(patch.as_bytes()));
    let Ok(patch) = Patch::parse(&body) else { return false };
    let ask = EncodeRequest {
        endpoint: &upstream,
        target: &target(spec, &upstream),
        patch: &patch,
        merge: false,
        lenient: false,
        idempotency_key: None,
    };
    adapter.encode(&ask).is_ok()
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn what_comes_back_as_it_was_set_has_no_warning((decoder, row, value) in row_and_value()) {
        let is_id = matches!(row.conversion, Conversion::Id { .. });
        let set = if is_id { bare(&value) } else { value.clone() };
        let told = echo(&decoder, row, text("here it stands")).to_string();
        let mut spelt = String::new();
        respelt(&set, &mut spelt);
        for set in [set.to_string(), spelt] {
            let told = told.replacen("\"here it stands\"", &set, 1);
            judged(&decoder, &patch_of(row, &value), &reply(200, told.clone()), |result| {
                let conversation = result.unwrap_or_else(|error| panic!("{told}: {error}"));
                prop_assert_eq!(codes(&conversation), [], "{:?} {}", decoder, told);
                prop_assert!(conversation.is_whole());
                Ok(())
            })?;
        }
    }

    #[test]
    fn what_comes_back_otherwise_has_the_warning((decoder, row, value) in row_and_value(), at in any::<Index>()) {
        let is_id = matches!(row.conversion, Conversion::Id { .. });
        let set = if is_id { bare(&value) } else { value.clone() };
        let mut others = vec![
            Tree::Null, text("another one, surely"), Tree::List(vec![text("another")]), Tree::Number("17.5".to_owned()),
            object(&[("another", Tree::Bool(true))]),
        ];
        if let Tree::Bool(flag) = set {
            others.extend([Tree::Bool(!flag), Tree::Number(u8::from(!flag).to_string())]);
        }
        if let Tree::Object(members) = &set {
            // One member less, and one that is otherwise.
            let mut less = members.clone();
            less.retain(|(name, _)| name != "k");
            let mut changed = members.clone();
            changed.iter_mut().filter(|(name, _)| name == "k").for_each(|(_, value)| *value = text("another one, surely"));
            others.extend([Tree::Object(less), Tree::Object(changed)]);
        }
        let other = others[at.index(others.len())].clone();
        let told = echo(&decoder, row, other).to_string();
        judged(&decoder, &patch_of(row, &value), &reply(200, told.clone()), |result| {
            let conversation = result.unwrap_or_else(|error| panic!("{told}: {error}"));
            let expected = [("not-confirmed", Some(format!("/{}", row.field.name())))];
            prop_assert_eq!(codes(&conversation), expected, "{:?} {}", decoder, told);
            Ok(())
        })?;
        // A null that was set, and a value that comes back.
        let null = format!("{{\"{}\":null}}", row.field.name());
        if call_is_taken(One(decoder.adapter), &null) && set != Tree::Null {
            let told = echo(&decoder, row, set).to_string();
            judged(&decoder, &null, &reply(200, told.clone()), |result| {
                prop_assert_eq!(codes(&result.unwrap()).len(), 1, "{}", told);
                Ok(())
            })?;
        }
    }

    #[test]
    fn an_answer_without_a_word_confirms_what_was_set(
        adapter in adapter(), blank in "[ \t\r\n\u{A0}\u{FEFF}]{0,9}", status in select(vec![200, 201, 202, 203, 204, 205, 206, 207]),
        kind in select(vec!["", "text/html", "application/json", "image/png"]),
    ) {
        let decoder = Decoder { adapter: adapter.0, is_read: false };
        let row = decoder.spec().rows().next().unwrap();
        let mut answer = reply(status, blank.clone());
        if !kind.is_empty() {
            answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        judged(&decoder, &row_value(row), &answer, |result| {
            let conversation = result.unwrap();
            let expected: &[_] = if [202, 207].contains(&status) { &[("accepted", None)] } else { &[] };
            prop_assert_eq!(codes(&conversation), expected);
            prop_assert!(!conversation.is_whole());
            let mut out = Vec::new();
            conversation.write("id", "v", "u", &[], &mut out);
            prop_assert!(Tree::parse(&out).unwrap().get(row.field.name()).is_some());
            Ok(())
        })?;
        let read = Decoder { adapter: adapter.0, is_read: true };
        if adapter.spec().read.is_some() {
            prop_assert!(judged(&read, "", &answer, |result| result.is_err()));
        }
    }
}

#[test]
fn a_read_is_the_conversation_or_it_failed() {
    for decoder in decoders().into_iter().filter(|decoder| decoder.is_read) {
        let asked = decoder.of(Some(text("asked-1"))).to_string();
        judged(&decoder, "", &reply(200, asked.clone()), |result| assert!(result.unwrap().is_whole()));
        for status in (201..=299).filter(|status| *status != 200) {
            judged(&decoder, "", &reply(status, asked.clone()), |result| {
                assert!(result.is_err(), "{status}");
            });
        }
        let ids = [
            None,
            Some(Tree::Null),
            Some(text("")),
            Some(text("asked-2")),
            Some(text("ASKED-1")),
            Some(Tree::List(vec![text("asked-1")])),
            Some(Tree::Number("1".to_owned())),
            Some(Tree::Bool(true)),
        ];
        for told in ids.map(|id| decoder.of(id).to_string()) {
            judged(&decoder, "", &reply(200, told.clone()), |result| assert!(result.is_err(), "{told}"));
        }
        for told in [
            "",
            " ",
            "null",
            "[]",
            "\"asked-1\"",
            "7",
            "true",
            "{}",
            &format!("[{asked}]"),
            "{\"data\":null}",
        ] {
            judged(&decoder, "", &reply(200, told.to_owned()), |result| assert!(result.is_err(), "{told}"));
        }
        // The conversation, and an error beside it.
        for sign in [
            ("error", object(&[("message", text("rate limited"))])),
            ("errors", Tree::List(vec![text("x")])),
            ("success", Tree::Bool(false)),
            ("statusCode", Tree::Number("500".to_owned())),
        ] {
            let mut told = decoder.of(Some(text("asked-1")));
            let way = conversation(&decoder, &told);
            for place in [way, Vec::new()] {
                let before = told.clone();
                let Tree::Object(members) = at_mut(&mut told, &place) else { panic!("an object") };
                members.push((sign.0.to_owned(), sign.1.clone()));
                judged(&decoder, "", &reply(200, told.to_string()), |result| {
                    assert!(result.is_err(), "{told}");
                });
                told = before;
            }
        }
    }
}

#[test]
fn an_answer_about_another_conversation_has_a_warning() {
    for decoder in decoders().into_iter().filter(|decoder| !decoder.is_read) {
        for id in [text("asked-2"), Tree::Number("17".to_owned())] {
            let told = decoder.of(Some(id)).to_string();
            judged(&decoder, &any_patch(&decoder), &reply(200, told), |result| {
                let conversation = result.unwrap();
                assert!(codes(&conversation).contains(&("other-id", None)), "{decoder:?}");
                assert!(!conversation.is_whole());
                let kept = conversation.vendor_data.iter().any(|member| member.name == decoder.id_member());
                assert!(kept, "{decoder:?}");
            });
        }
        let told = decoder.of(Some(text("asked-1"))).to_string();
        for (status, is_accepted) in [(200, false), (201, false), (202, true), (207, false)] {
            judged(&decoder, &any_patch(&decoder), &reply(status, told.clone()), |result| {
                let conversation = result.unwrap();
                assert_eq!(codes(&conversation).contains(&("accepted", None)), is_accepted, "{status}");
                assert_eq!(conversation.is_whole(), decoder.reports() && !is_accepted, "{status}");
            });
        }
    }
}

/// An error of which a part says so, in an answer in parts.
#[test]
fn an_answer_in_parts_confirms_nothing_for_sure() {
    for decoder in decoders().into_iter().filter(|decoder| !decoder.is_read) {
        let row = decoder.spec().rows().next().unwrap();
        for told in ["{}", "{\"results\":[{\"status\":200}]}", "[{\"status\":\"ok\"}]", "7"] {
            judged(&decoder, &row_value(row), &reply(207, told), |result| {
                let conversation = result.unwrap_or_else(|error| panic!("{decoder:?} {told}: {error}"));
                assert_eq!(codes(&conversation), [("accepted", None)], "{told}");
                assert!(conversation.warnings[0].detail.contains("207") && !conversation.is_whole());
                assert_eq!(conversation.vendor_data.is_empty(), told == "{}");
            });
        }
        for told in ["{\"results\":[{\"status\":423}]}", "[{\"error\":\"locked\"}]", "[[{\"ok\":false}]]"] {
            judged(&decoder, &row_value(row), &reply(207, told), |result| {
                assert!(matches!(result, Err(DecodeError::Failed(_))), "{told}");
            });
        }
        judged(&decoder, &row_value(row), &reply(207, "<multistatus/>"), |result| {
            assert!(matches!(result, Err(DecodeError::Invalid(_))));
        });
    }
}

/// The vendor's words, and its members as pointers, wherever they stand.
#[test]
fn an_error_in_a_success_has_its_words() {
    for adapter in ALL {
        let decoder = Decoder { adapter: *adapter, is_read: false };
        let row = decoder.spec().rows().next().unwrap();
        let wire = row.wire;
        let failed = |told: String, kind: Option<&'static str>| {
            let mut answer = reply(200, told.clone());
            if let Some(kind) = kind {
                answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            }
            judged(&decoder, &row_value(row), &answer, |result| match result {
                Err(DecodeError::Failed(failure)) => failure,
                other => panic!("{decoder:?} {told}: {:?}", other.map(|it| codes(&it))),
            })
        };
        let failure = failed(
            format!("{{\"success\":false,\"errors\":[{{\"field\":\"{wire}\",\"message\":\"bad\"}}]}}"),
            None,
        );
        assert_eq!(failure.fields, [(row.field.pointer().to_owned(), "bad".to_owned())]);
        for told in [
            r#"{"error":{"message":"Conversation is locked","code":"LOCKED"}}"#,
            r#"{"statusCode":500,"message":"Conversation is locked","code":"LOCKED"}"#,
            r#"{"status":"success","message":"ok","data":{"status":"failed","message":"Conversation is locked","code":"LOCKED"}}"#,
            "\u{FEFF}{\"ok\":false,\"message\":\"Conversation is locked\",\"code\":\"LOCKED\"}",
            r#"[{"error":{"message":"Conversation is locked","code":"LOCKED"}}]"#,
        ] {
            let known = conversation(&decoder, &decoder.sample());
            if told.contains("\"data\"") && known.is_empty() {
                continue; // It has no envelope.
            }
            let failure = failed(told.to_owned(), None);
            assert_eq!(failure.vendor_message.as_deref(), Some("Conversation is locked"), "{told}");
            assert_eq!(failure.vendor_code.as_deref(), Some("LOCKED"), "{told}");
        }
        let problem = r#"{"title":"Locked","detail":"Conversation is locked"}"#;
        let failure = failed(problem.to_owned(), Some("application/problem+json; charset=utf-8"));
        assert_eq!(failure.vendor_message.as_deref(), Some("Conversation is locked"));
        failed(String::new(), Some("Application/Problem+JSON"));
        failed("no JSON at all".to_owned(), Some("application/problem+json"));
    }
}

/// Members that say that all is well, and an error beside a whole conversation, are no errors of an update.
#[test]
fn a_conversation_is_one_whatever_stands_beside_it() {
    for decoder in decoders().into_iter().filter(|decoder| !decoder.is_read) {
        for (name, value) in [
            ("error", Tree::Null),
            ("error", Tree::Bool(false)),
            ("error", text("")),
            ("errors", Tree::List(Vec::new())),
            ("errors", Tree::Object(Vec::new())),
            ("success", Tree::Bool(true)),
            ("ok", Tree::Bool(true)),
            ("statusCode", Tree::Number("200".to_owned())),
            ("code", Tree::Number("415".to_owned())),
            ("lastError", text("model overloaded")),
        ] {
            let mut told = decoder.of(Some(text("asked-1")));
            let way = conversation(&decoder, &told);
            let Tree::Object(members) = at_mut(&mut told, &way) else { panic!("an object") };
            members.push((name.to_owned(), value));
            judged(&decoder, &any_patch(&decoder), &reply(200, told.to_string()), |result| {
                assert!(result.is_ok(), "{decoder:?} {told}");
            });
        }
        if decoder.reports() {
            let mut told = decoder.of(Some(text("asked-1")));
            let way = conversation(&decoder, &told);
            let Tree::Object(members) = at_mut(&mut told, &way) else { panic!("an object") };
            members.push(("error".to_owned(), object(&[("message", text("model overloaded"))])));
            judged(&decoder, &any_patch(&decoder), &reply(200, told.to_string()), |result| {
                assert!(result.is_ok_and(|it| it.is_whole()), "{decoder:?} {told}");
            });
        }
    }
}

/// Values that hold what was set, and values that do not.
#[test]
fn a_value_is_compared_by_what_it_says() {
    let raw = |text: &'static str| Reader::strict(text.as_bytes()).unwrap().raw().unwrap();
    for (set, reported, is_covered) in [
        ("1.50", "1.5", true),
        ("1.50", "15e-1", true),
        ("1.50", "0.015E+2", true),
        ("1.50", "1.51", false),
        ("100", "1e2", true),
        ("-0", "0.00e7", true),
        ("-1", "1", false),
        ("12345678901234567890123", "12345678901234567890123.0", true),
        ("12345678901234567890123", "12345678901234567890124", false),
        ("12345678901234567890123", "1.2345678901234568e22", false),
        ("1e400", "10e399", true),
        ("1e400", "1e401", false),
        ("1e-99999999999", "0", false),
        ("1", "\"1\"", false),
        ("1", "true", false),
        ("\"\\u00e9\\/\"", "\"é/\"", true),
        ("\"a\"", "\"a \"", false),
        ("true", "1", false),
        ("[1,2]", "[1.0, 2.0]", true),
        ("[1,2]", "[2,1]", false),
        ("[1,2]", "[1,2,3]", false),
        ("[{\"a\":1}]", "[{\"a\":1,\"id\":7}]", true),
        ("{}", "{\"a\":1}", true),
        ("{\"a\":{\"b\":1}}", "{\"c\":2,\"a\":{\"d\":3,\"\\u0062\":1}}", true),
        ("{\"a\":{\"b\":1}}", "{\"a\":{\"c\":1}}", false),
        ("{\"a\":null}", "{}", true),
        ("{\"a\":null}", "{\"a\":null}", true),
        ("{\"a\":null}", "{\"a\":0}", false),
        ("{\"a\":1}", "{\"a\":null}", false),
        ("{}", "[]", false),
    ] {
        assert_eq!(covers(raw(set), raw(reported)), is_covered, "{set} and {reported}");
    }
    // Many members, in another order.
    let member = |n: usize| format!("\"m{n}\":{n}");
    let set = format!("{{{}}}", (0..20_000).map(member).collect::<Vec<_>>().join(","));
    let reported = format!("{{{}}}", (0..20_001).rev().map(member).collect::<Vec<_>>().join(","));
    let read = |text: &str| {
        covers(
            Reader::strict(set.as_bytes()).unwrap().raw().unwrap(),
            Reader::strict(text.as_bytes()).unwrap().raw().unwrap(),
        )
    };
    assert!(read(&reported));
    assert!(!read(&reported.replacen("\"m7\":7,", "", 1)));
}
