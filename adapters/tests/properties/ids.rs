//! Ids and where requests go: nothing in an id can lead them anywhere else.

use bytes::Bytes;
use parlance_adapters::canonical::Patch;
use parlance_adapters::{ALL, EncodeRequest, Origin, SettingPlacement, Spec, decode_segment, locate};
use proptest::prelude::*;
use proptest::sample::select;

use crate::made::row_value;
use crate::{adapter, cases, unmerged, usual};

/// Values that vendors' settings have in the examples.
fn configured() -> Vec<&'static str> {
    ALL.iter().flat_map(|adapter| adapter.spec().example.settings).map(|(_, value)| *value).collect()
}

fn id() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        1 => (select(configured()), select(vec!["", ":", "::"])).prop_map(|(value, colons)| format!("{value}{colons}")),
        3 => "[A-Za-z0-9_-]{1,8}",
        2 => select(vec![
            "/", "//", "\\", "?", "#", "%", "%2F", "%00", "..", ".", "../", ":", ";", "&", "=", "@", "+", " ", "é", "😀",
            "\u{202E}", "\u{200B}", "\u{FEFF}", "\"", "{id}", "<", "|", "\u{0}", "\n", "\u{7f}", "\u{85}", "~", "a/../b",
        ])
        .prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// One segment of a caller's URL, with everything encoded that may be.
fn encode_all(id: &str) -> String {
    id.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

fn settings_in_path(spec: &Spec) -> usize {
    spec.settings.iter().filter(|setting| setting.place == SettingPlacement::Path).count()
}

proptest! {
    #![proptest_config(cases(3000))]

    #[test]
    fn an_id_is_one_segment_and_nothing_else(
        adapter in adapter(),
        id in id(),
        base in select(vec![None, Some("http://127.0.0.1:9105"), Some("https://proxy.example/v9/b%20c/")]),
    ) {
        let spec = adapter.spec();
        let mut upstream = usual(spec);
        if let Some(base) = base {
            upstream.origin = Origin::parse(base).unwrap();
        }
        let encoded = encode_all(&id);
        prop_assert_eq!(decode_segment(&encoded).unwrap(), id.clone());

        // By the promise: a vendor with an id of its own in the path takes it from before the first colon.
        let configured = upstream.settings.clone();
        let (mut parts, mut rest) = (Vec::new(), id.as_str());
        for (_, usual) in &configured {
            match rest.split_once(':') {
                Some((before, behind)) => {
                    parts.push(before);
                    rest = behind;
                }
                None => parts.push(usual),
            }
        }
        parts.push(rest);
        let wrong = |part: &&str| {
            part.is_empty() || [".", ".."].contains(part) || part.chars().any(char::is_control)
        };
        let refused = id.len() > 512 || parts.iter().any(wrong);

        let located = locate(spec, &upstream, &id);
        prop_assert_eq!(located.is_err(), refused, "{:?}: {:?}", id, located);
        let Ok(target) = located else { return Ok(()) };

        let body = Bytes::from(row_value(spec.rows().next().unwrap()));
        let patch = Patch::parse(&body).unwrap();
        let ask = EncodeRequest { endpoint: &upstream, target: &target, patch: &patch, merge: false, lenient: false, idempotency_key: None };
        let call = unmerged(adapter.encode(&ask).unwrap());
        let uri = call.request.uri();
        prop_assert_eq!(uri.authority(), Some(upstream.origin.authority()));
        prop_assert_eq!(uri.scheme_str(), Some(upstream.origin.scheme()));
        prop_assert_eq!(uri.query(), None);
        // As others read it: neither a dot segment nor a fragment, and no character that a URL may not have.
        let text = uri.to_string();
        prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/%".contains(&b)), "{}", text);
        let path = uri.path().strip_prefix(upstream.origin.prefix()).unwrap();
        let segments: Vec<&str> = path.split('/').collect();
        let template: Vec<&str> = spec.update[0].path.split('/').collect();
        prop_assert_eq!(segments.len(), template.len(), "{}", path);
        let mut values = parts.iter();
        for (segment, template) in segments.iter().zip(template) {
            prop_assert!(!["..", "."].contains(segment));
            match template.starts_with('{') {
                true => prop_assert_eq!(decode_segment(segment).unwrap(), *values.next().unwrap()),
                false => prop_assert_eq!(*segment, template),
            }
        }

        // The answer's id can be sent back, and is the same conversation.
        let again = target.id().strip_prefix("up-1:").unwrap();
        let again = locate(spec, &upstream, again).unwrap();
        let ask = EncodeRequest { target: &again, ..ask };
        let sent = unmerged(adapter.encode(&ask).unwrap()).request;
        prop_assert_eq!(sent.uri(), uri);
        prop_assert_eq!(again.id(), target.id());
        prop_assert_eq!(target.vendor_id(), *parts.last().unwrap());

        // Without configured values the id must name them all.
        upstream.settings.clear();
        let located = locate(spec, &upstream, &id);
        let silent = id.matches(':').count() < settings_in_path(spec);
        prop_assert_eq!(located.is_err(), silent, "{:?}", located);
    }
}

#[test]
fn odd_segments_and_long_ids() {
    for bad in ["%", "%z", "%zz", "%4", "a%", "%%", "%g0", "%0g", "%+1", "%ff", "%c3", "%ed%a0%80", "%c0%af"]
    {
        let fault = decode_segment(bad).unwrap_err();
        assert!(fault.0.ends_with('.'), "{bad}");
    }
    for (segment, id) in
        [("a", "a"), ("%41", "A"), ("%25zz", "%zz"), ("%2e%2E", ".."), ("é", "é"), ("%C3%A9", "é")]
    {
        assert_eq!(decode_segment(segment).unwrap(), id, "once, not twice");
    }
    assert_eq!(decode_segment("%252F").unwrap(), "%2F");
    for adapter in ALL {
        let upstream = usual(adapter.spec());
        let long = |bytes: usize| locate(adapter.spec(), &upstream, &format!("{}x", "é".repeat(bytes / 2)));
        assert!(long(511).is_ok() && long(513).is_err());
        assert!(long(511).unwrap().id().starts_with("up-1:é"));
    }
}

#[test]
fn origins() {
    for (text, scheme, authority, prefix) in [
        ("https://api.example.com", "https", "api.example.com", ""),
        ("https://api.example.com/", "https", "api.example.com", ""),
        ("http://127.0.0.1:9105", "http", "127.0.0.1:9105", ""),
        ("http://[::1]:80/a/b/", "http", "[::1]:80", "/a/b"),
        ("https://api.example.com/v1//", "https", "api.example.com", "/v1"),
    ] {
        let origin = Origin::parse(text).unwrap();
        assert_eq!(
            (origin.scheme(), origin.authority().as_str(), origin.prefix()),
            (scheme, authority, prefix)
        );
    }
    for text in [
        "",
        "api.example.com",
        "/v1",
        "ftp://api.example.com",
        "https://",
        "https://user@api.example.com",
        "https://user:secret@api.example.com",
        "https://api.example.com?key=1",
        "https://api.example.com/#part",
        "https://api.example.com/a b",
        "mailto:a@example.com",
    ] {
        let fault = Origin::parse(text).unwrap_err().to_string();
        assert!(!fault.is_empty() && !fault.contains("secret"), "{text}: {fault}");
    }
}
