//! Requests: what a body sets is sent, and what is wrong with it is said, all at once.

use bytes::Bytes;
use http::header;
use parlance_adapters::canonical::{Field, Patch, READ_ONLY, VENDOR_FIELDS, pointer};
use parlance_adapters::{
    ALL, Adapter, BodyFormat, Conversion, Credential, DecodeContext, EncodeRequest, Encoded, NullHandling,
    Origin, SettingPlacement, Spec, ValidationError, VendorEndpoint, confirm, docs, fields, vendor,
};
use proptest::prelude::*;
use proptest::sample::select;

use crate::made::{name, near, object_of, row_value, tree, words};
use crate::support::{Tree, names, root};
use crate::{adapter, cases, decoders, target, unmerged, usual};

fn wanted(
    adapter: &dyn Adapter,
    upstream: &VendorEndpoint,
    body: &str,
) -> Result<(Tree, Vec<String>), ValidationError> {
    let target = target(adapter.spec(), upstream);
    let body = Bytes::copy_from_slice(body.as_bytes());
    let patch = Patch::parse(&body).unwrap();
    let ask = EncodeRequest {
        endpoint: upstream,
        target: &target,
        patch: &patch,
        merge: false,
        lenient: false,
        idempotency_key: Some("k-1"),
    };
    let call = unmerged(adapter.encode(&ask)?);
    let set = call.fields().map(|field| field.name().to_owned()).collect();
    Ok((Tree::parse(call.request.body()).unwrap(), set))
}

#[test]
fn a_row_is_accepted_and_any_other_member_is_refused_by_name() {
    for adapter in ALL {
        let spec = adapter.spec();
        let upstream = usual(spec);
        for field in fields() {
            match spec.row(field) {
                Some(row) => {
                    let (body, set) = wanted(*adapter, &upstream, &row_value(row)).unwrap();
                    assert!(body.get(row.wire).is_some(), "{} {}", spec.vendor, row.wire);
                    assert_eq!(set, [field.name()]);
                }
                None => {
                    let body = format!("{{\"{}\": null}}", field.name());
                    let refusal = wanted(*adapter, &upstream, &body).unwrap_err();
                    let [fault] = refusal.faults.as_slice() else { panic!("one fault: {refusal:?}") };
                    assert_eq!(fault.pointer, format!("/{}", field.name()));
                    assert_eq!(fault.code.as_str(), "unsupported-field");
                    assert!(fault.detail.contains(field.name()) && fault.detail.contains(spec.title));
                }
            }
        }
    }
}

#[test]
fn a_request_has_its_headers_and_no_credential() {
    for adapter in ALL {
        let spec = adapter.spec();
        let upstream = usual(spec);
        let target = target(spec, &upstream);
        let text = Bytes::from(row_value(spec.rows().next().unwrap()));
        let patch = Patch::parse(&text).unwrap();
        let key = Some("k-1");
        let ask = EncodeRequest {
            endpoint: &upstream,
            target: &target,
            patch: &patch,
            merge: false,
            lenient: false,
            idempotency_key: key,
        };
        let call = unmerged(adapter.encode(&ask).unwrap());
        let read = adapter.read_request(&upstream, &target).unwrap().unwrap();
        assert_eq!((call.request.method().as_str(), read.method().as_str()), ("PATCH", "GET"));
        assert!(read.body().is_empty());
        for request in [&call.request, &read] {
            let headers = request.headers();
            assert_eq!(headers[header::ACCEPT], "application/json");
            assert_eq!(headers[header::ACCEPT_ENCODING], "identity");
            assert!(!headers.contains_key(spec.credential.header()));
            for setting in spec.settings {
                if let SettingPlacement::Header(name) = setting.place {
                    assert_eq!(headers[name], "setting-1");
                }
            }
        }
        assert_eq!(call.request.headers()[header::CONTENT_TYPE], "application/json");
        assert!(!read.headers().contains_key(header::CONTENT_TYPE));
        assert_eq!(call.request.headers().contains_key("idempotency-key"), spec.idempotency_key);
        assert!(!read.headers().contains_key("idempotency-key"));

        let value = spec.credential.value("secret-1").unwrap();
        assert!(value.is_sensitive() && !format!("{value:?}").contains("secret-1"));
        let (travels, shown) = match spec.credential {
            Credential::Bearer => ("Bearer secret-1", "Authorization: Bearer"),
            Credential::Header(name) => ("secret-1", name),
        };
        assert_eq!((value.as_bytes(), spec.credential.shown().as_str()), (travels.as_bytes(), shown));
        assert!(spec.credential.value("a\nb").is_err());
    }
}

#[test]
fn the_tables_are_sound() {
    for adapter in ALL {
        let spec = adapter.spec();
        assert!(vendor(spec.vendor).is_some_and(|found| std::ptr::eq(found.spec(), spec)));
        assert!(Origin::parse(spec.base_url).is_ok_and(|origin| origin.scheme() == "https"));
        assert!(spec.docs.starts_with("https://") && !spec.title.is_empty());
        assert!(!spec.update.is_empty());
        let calls: Vec<_> = spec.update.iter().chain(&spec.read).collect();
        for call in &calls {
            assert!(call.path.starts_with('/') && call.path.contains("{id}"));
        }
        for update in spec.update {
            assert!(!update.rows.is_empty() && update.body != BodyFormat::Empty);
        }
        assert!(spec.read.iter().all(|read| read.rows.is_empty() && read.body == BodyFormat::Empty));
        for setting in spec.settings {
            assert!(setting.about.ends_with('.'));
            let in_path = setting.place == SettingPlacement::Path;
            let name = format!("{{{}}}", setting.key);
            assert!(calls.iter().all(|call| call.path.contains(&name) == in_path));
            assert!(!in_path || spec.example.settings.iter().any(|(key, _)| *key == setting.key));
        }
        let (mut wires, mut fields): (Vec<_>, Vec<_>) = spec.rows().map(|row| (row.wire, row.field)).unzip();
        wires.sort_unstable();
        wires.dedup();
        fields.sort_unstable();
        fields.dedup();
        assert_eq!(wires.len(), spec.rows().count(), "two rows would set one member");
        assert_eq!(fields.len(), spec.rows().count(), "two rows would translate one member");
        for row in spec.rows() {
            let told = docs::describe(row);
            assert!(
                told.ends_with(match row.null {
                    NullHandling::Refused => "no null",
                    NullHandling::Sent => "null clears",
                    NullHandling::EmptyText => "(sent as \"\")",
                }),
                "{told}"
            );
            assert!(!row.field.about().is_empty() && row.wire.is_ascii());
        }
        let mut reported = spec.reported_members.iter().chain(spec.read_members);
        assert!(reported.all(|name| Field::named(name).is_some() || READ_ONLY.contains(name)));
    }
    assert!(vendor("nobody").is_none());
    assert_eq!(names(&root()).iter().filter(|name| vendor(name).is_some()).count(), ALL.len());
}

/// Faults of one member, by the API's promise: pointer and code.
fn expected(spec: &Spec, ask: &Wish, name: &str, value: &Tree) -> Vec<(String, &'static str)> {
    let one = |code| vec![(pointer("", name), code)];
    if name == VENDOR_FIELDS {
        return match value {
            Tree::Object(members) if members.is_empty() => Vec::new(),
            Tree::Object(_) if !ask.allow => one("vendor-field-refused"),
            Tree::Object(members) => {
                let sets = |wire: &str| spec.rows().any(|row| row.wire == wire && ask.has(row.field.name()));
                let conflicts = members.iter().filter(|(name, _)| sets(name));
                conflicts.map(|(name, _)| (pointer("/vendor_fields", name), "vendor-field-refused")).collect()
            }
            _ => one("wrong-type"),
        };
    }
    if READ_ONLY.contains(&name) {
        return one("read-only-field");
    }
    let Some(field) = fields().find(|field| field.name() == name) else { return one("unknown-field") };
    let Some(row) = spec.row(field) else { return one("unsupported-field") };
    let too_long = |count: usize, max: Option<usize>| max.is_some_and(|max| count > max);
    match (row.conversion, value) {
        (_, Tree::Null) if row.null == NullHandling::Refused => one("null-not-allowed"),
        (_, Tree::Null) => Vec::new(),
        (Conversion::Flag, Tree::Bool(_)) => Vec::new(),
        (Conversion::Text { max }, Tree::Text(text)) if too_long(text.chars().count(), max) => {
            one("too-long")
        }
        (Conversion::Text { .. }, Tree::Text(_)) | (Conversion::ObjectOrString, Tree::Text(_)) => Vec::new(),
        (
            Conversion::ContextAsText { .. } | Conversion::Object | Conversion::ObjectOrString,
            Tree::Object(_),
        ) if ask.merge && !spec.is_mergeable() => one("merge-unsupported"),
        (Conversion::Object | Conversion::ObjectOrString, Tree::Object(_)) => Vec::new(),
        (Conversion::ContextAsText { max_utf16 }, Tree::Text(_) | Tree::Object(_)) => {
            let text = value.text().map_or_else(|| value.to_string(), str::to_owned);
            if too_long(text.encode_utf16().count(), Some(max_utf16)) { one("too-long") } else { Vec::new() }
        }
        (Conversion::Id { min, max, .. }, Tree::Object(members)) => {
            let others = members.iter().map(|(name, _)| name).filter(|name| *name != "id");
            let mut faults: Vec<_> = others
                .map(|other| {
                    let known = field.read_only_members().contains(&other.as_str());
                    (
                        pointer(&pointer("", name), other),
                        if known { "read-only-field" } else { "unknown-field" },
                    )
                })
                .collect();
            let count = value.get("id").and_then(Tree::text).map(|id| id.chars().count());
            let code = match count {
                None => Some("wrong-type"),
                Some(count) if count < min => Some("too-short"),
                Some(count) if too_long(count, max) => Some("too-long"),
                Some(_) => None,
            };
            faults.extend(code.map(|code| (field.pointer().to_owned(), code)));
            faults
        }
        (Conversion::Word(words), Tree::Text(text)) => {
            if words.iter().any(|(word, _)| word == text) {
                Vec::new()
            } else {
                one("unknown-value")
            }
        }
        (Conversion::Strings, Tree::List(items)) => {
            let wrong = items.iter().enumerate().filter(|(_, item)| item.text().is_none());
            wrong.map(|(at, _)| (format!("/{name}/{at}"), "wrong-type")).collect()
        }
        _ => one("wrong-type"),
    }
}

/// Members of the vendor's request for one valid member.
fn sent(spec: &Spec, name: &str, value: &Tree) -> Vec<(String, Tree)> {
    if let (VENDOR_FIELDS, Tree::Object(members)) = (name, value) {
        return members.clone();
    }
    let Some(row) = spec.rows().find(|row| row.field.name() == name) else { return Vec::new() };
    let wire = match (row.conversion, value) {
        (_, Tree::Null) if row.null == NullHandling::EmptyText => Tree::Text(String::new()),
        (Conversion::ContextAsText { .. }, Tree::Object(_)) => Tree::Text(value.to_string()),
        (Conversion::Word(words), _) => {
            let wire = words.iter().find(|(word, _)| Some(*word) == value.text());
            Tree::Text(wire.unwrap().1.to_owned())
        }
        (Conversion::Id { .. }, _) => value.get("id").unwrap_or(&Tree::Null).clone(),
        _ => value.clone(),
    };
    vec![(row.wire.to_owned(), wire)]
}

/// A body and how it is to be taken.
#[derive(Debug, Clone)]
struct Wish {
    members: Vec<(String, Tree)>,
    allow: bool,
    merge: bool,
    lenient: bool,
}

impl Wish {
    fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(other, _)| other == name)
    }
}

fn wish() -> impl Strategy<Value = Wish> {
    let length = select(vec![0_usize, 1, 2, 64, 65, 499, 500, 501, 1500, 1501, 2993, 2994, 2999, 3000, 3001]);
    let long = (select(vec!["x", "é", "😀", "\\", "\u{202E}"]), length).prop_map(|(c, n)| c.repeat(n));
    let text = prop_oneof![words(), long];
    let flat = || prop::collection::vec((name(), tree()), 0..4).prop_map(object_of);
    let context = prop_oneof![
        3 => flat(),
        2 => text.clone().prop_map(Tree::Text),
        1 => text.clone().prop_map(|text| Tree::Object(vec![("k".to_owned(), Tree::Text(text))])),
    ];
    let id = text.clone().prop_map(|id| ("id".to_owned(), Tree::Text(id)));
    let with_id = prop_oneof![
        4 => id.clone().prop_map(|id| Tree::Object(vec![id])),
        1 => (id, (name(), tree()), any::<bool>()).prop_map(|(id, other, first)| {
            let mut members = if first { vec![other, id] } else { vec![id, other] };
            members.dedup_by(|a, b| a.0 == b.0);
            Tree::Object(members)
        }),
        1 => flat(),
    ];
    let fields = prop_oneof![
        2 => flat(),
        1 => select(wires()).prop_map(|wire| Tree::Object(vec![(wire, Tree::Null), ("other".into(), Tree::Null)])),
        1 => Just(Tree::Object(Vec::new())),
    ];
    let odd =
        |usual: BoxedStrategy<Tree>| prop_oneof![6 => usual, 1 => tree(), 1 => Just(Tree::Null)].boxed();
    let canonical: Vec<(&str, BoxedStrategy<Tree>)> = vec![
        ("context", odd(context.boxed())),
        ("title", odd(text.clone().prop_map(Tree::Text).boxed())),
        ("instructions", odd(text.prop_map(Tree::Text).boxed())),
        ("agent", odd(with_id.clone().boxed())),
        ("contact", odd(with_id.boxed())),
        ("archived", odd(any::<bool>().prop_map(Tree::Bool).boxed())),
        ("important", odd(any::<bool>().prop_map(Tree::Bool).boxed())),
        (VENDOR_FIELDS, odd(fields.boxed())),
    ];
    let known: Vec<_> = canonical
        .into_iter()
        .map(|(name, value)| {
            prop::option::weighted(0.25, value.prop_map(move |value| (name.to_owned(), value)))
        })
        .collect();
    let others = prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec((name(), tree()), 1..3),
        1 => (select(READ_ONLY.to_vec()), tree()).prop_map(|(name, value)| vec![(name.to_owned(), value)]),
    ];
    let members = (known, others).prop_map(|(known, others)| {
        let mut members: Vec<(String, Tree)> = known.into_iter().flatten().collect();
        for (name, value) in others {
            if !members.iter().any(|(other, _)| *other == name) {
                members.push((name, value));
            }
        }
        members
    });
    (members.prop_shuffle(), any::<bool>(), prop::bool::weighted(0.3), any::<bool>())
        .prop_map(|(members, allow, merge, lenient)| Wish { members, allow, merge, lenient })
}

/// The vendors' own names of what can be set.
fn wires() -> Vec<String> {
    ALL.iter().flat_map(|adapter| adapter.spec().rows()).map(|row| row.wire.to_owned()).collect()
}

const LENIENT: [&str; 3] = ["unknown-field", "read-only-field", "unsupported-field"];

proptest! {
    #![proptest_config(cases(6000))]

    #[test]
    fn a_body_is_judged_and_sent_as_promised(adapter in adapter(), wish in wish()) {
        let spec = adapter.spec();
        let mut upstream = usual(spec);
        upstream.allow_vendor_fields = wish.allow;
        let target = target(spec, &upstream);
        let text = Tree::Object(wish.members.clone()).to_string();
        let source = Bytes::from(text.clone());
        let patch = Patch::parse(&source).unwrap();
        let (merge, lenient) = (wish.merge, wish.lenient);
        let idempotency_key = Some("k-1");
        let ask = EncodeRequest { endpoint: &upstream, target: &target, patch: &patch, merge, lenient, idempotency_key };

        let faults: Vec<_> =
            wish.members.iter().flat_map(|(name, value)| expected(spec, &wish, name, value)).collect();
        let (warned, mut faults): (Vec<_>, Vec<_>) =
            faults.into_iter().partition(|(_, code)| lenient && LENIENT.contains(code));
        let right = |(name, value): &&(String, Tree)| {
            let faults = expected(spec, &wish, name, value);
            // A member with an id is right where only what stands beside the id is left out.
            faults.iter().all(|(at, code)| lenient && LENIENT.contains(code) && at.matches('/').count() == 2)
        };
        let body: Vec<_> =
            wish.members.iter().filter(right).flat_map(|(name, value)| sent(spec, name, value)).collect();
        if faults.is_empty() && body.is_empty() {
            faults.push((String::new(), "empty-patch"));
        }

        match adapter.encode(&ask) {
            Err(refusal) => {
                let actual: Vec<_> =
                    refusal.faults.iter().map(|it| (it.pointer.clone(), it.code.as_str())).collect();
                prop_assert_eq!(actual, faults, "{}", text);
                for fault in refusal.faults {
                    prop_assert!(fault.detail.ends_with('.'), "{}", fault.detail);
                }
            }
            Ok(encoded) => {
                prop_assert!(faults.is_empty(), "{} must be refused: {:?}", text, faults);
                let needs_stored = matches!(encoded, Encoded::NeedsStored(_));
                let call = unmerged(encoded);
                let actual: Vec<_> =
                    call.warnings.iter().map(|it| (it.pointer.clone().unwrap(), it.code)).collect();
                prop_assert_eq!(actual, warned);
                prop_assert_eq!(Tree::parse(call.request.body()).unwrap(), Tree::Object(body), "{}", text);
                let object = wish.members.iter().any(|(name, it)| name == "context" && matches!(it, Tree::Object(_)));
                let sets_context = call.fields().any(|field| field == Field::Context);
                prop_assert_eq!(needs_stored, merge && object && sets_context && spec.is_mergeable());

                // An answer without a body confirms exactly what was set.
                let mut out = Vec::new();
                confirm(&DecodeContext::of_update(&target, &call)).write(target.id(), spec.vendor, "up-1", &[], &mut out);
                let set = wish.members.iter().filter(|(name, _)| {
                    Field::named(name).is_some_and(|field| spec.row(field).is_some())
                });
                let mut echo: Vec<_> = set
                    .map(|(name, value)| match value.get("id") {
                        Some(id) if name != "context" => (name.clone(), Tree::Object(vec![("id".into(), id.clone())])),
                        _ => (name.clone(), value.clone()),
                    })
                    .collect();
                for (name, value) in [("id", "up-1:asked-1"), ("vendor", spec.vendor), ("upstream", "up-1")] {
                    echo.push((name.to_owned(), Tree::Text(value.to_owned())));
                }
                prop_assert_eq!(Tree::parse(&out).unwrap().sorted(), Tree::Object(echo).sorted());
            }
        }
    }

    #[test]
    fn any_bytes_are_a_patch_only_where_they_are_an_object(adapter in adapter(), bytes in near(&decoders()[0])) {
        let upstream = usual(adapter.spec());
        let target = target(adapter.spec(), &upstream);
        let bytes = Bytes::from(bytes);
        let Ok(patch) = Patch::parse(&bytes) else { return Ok(()) };
        for (merge, lenient) in [(false, false), (true, true)] {
            let ask = EncodeRequest { endpoint: &upstream, target: &target, patch: &patch, merge, lenient, idempotency_key: None };
            match adapter.encode(&ask) {
                Ok(encoded) => {
                    let call = unmerged(encoded);
                    let Ok(Tree::Object(members)) = Tree::parse(call.request.body()) else { panic!("no object") };
                    let known = |name: &str| adapter.spec().rows().any(|row| row.wire == name);
                    prop_assert!(members.iter().all(|(name, _)| known(name)));
                }
                Err(refusal) => prop_assert!(!refusal.faults.is_empty()),
            }
        }
    }
}

#[test]
fn a_body_that_is_no_object_is_of_the_wrong_type() {
    for adapter in ALL {
        for body in ["null", "[]", "7", "\"context\"", "true", "[{\"context\":\"x\"}]"] {
            let refusal = wanted(*adapter, &usual(adapter.spec()), body).unwrap_err();
            let [fault] = refusal.faults.as_slice() else { panic!("one fault") };
            assert_eq!((fault.pointer.as_str(), fault.code.as_str()), ("", "wrong-type"));
        }
    }
}
