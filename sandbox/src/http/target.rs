//! Request targets: segments decoded once, queries only where a call takes them.

use std::borrow::Cow;

/// A target taken apart.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) segments: Vec<Cow<'a, str>>,
    pub(crate) query: Option<&'a str>,
}

/// Takes a target apart. `None` when a segment is empty, badly encoded, or hides what only a forged path hides.
pub(crate) fn split(target: &str) -> Option<Target<'_>> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let segments = path.strip_prefix('/')?.split('/').map(segment).collect::<Option<Vec<_>>>()?;
    Some(Target { segments, query })
}

fn segment(raw: &str) -> Option<Cow<'_, str>> {
    let text = decode(raw, false)?;
    let forged = text.is_empty()
        || text == "."
        || text == ".."
        || text.chars().any(|c| c.is_control() || "/\\%".contains(c));
    (!forged).then_some(text)
}

/// Percent-decodes once; in forms a plus is a space.
pub(crate) fn decode(raw: &str, form: bool) -> Option<Cow<'_, str>> {
    let plain = !raw.contains('%') && (!form || !raw.contains('+'));
    if plain {
        return Some(Cow::Borrowed(raw));
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|d| char::from(d).to_digit(16));
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' if form => b' ',
            other => other,
        });
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// The pairs of a query or form; `None` when it is malformed, names something unknown, or names something twice.
pub(crate) fn pairs<'a>(raw: &'a str, known: &[&str]) -> Option<Vec<(Cow<'a, str>, Cow<'a, str>)>> {
    let mut out: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
    for pair in raw.split('&') {
        let (name, value) = pair.split_once('=')?;
        let (name, value) = (decode(name, true)?, decode(value, true)?);
        if !known.contains(&name.as_ref()) || out.iter().any(|(have, _)| *have == name) {
            return None;
        }
        out.push((name, value));
    }
    Some(out)
}

/// A whole number of a query, within its bounds.
pub(crate) fn number(text: &str, low: usize, high: usize) -> Option<usize> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| plain && (low..=high).contains(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_once_and_forged_ones_refused() {
        assert_eq!(
            split("/v1/a%20b/c?x=1").map(|t| t.segments),
            Some(vec!["v1".into(), "a b".into(), "c".into()])
        );
        for bad in [
            "/a//b",
            "/a/",
            "/a/..",
            "/a/%2e%2e",
            "/a%2Fb",
            "/a%5cb",
            "/a%252f",
            "/a%00",
            "/a%zz",
            "/a%f",
            "/%ff",
        ] {
            assert!(split(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn queries_are_strict() {
        assert!(pairs("limit=1&offset=2", &["limit", "offset"]).is_some());
        for bad in ["", "limit", "limit=1&limit=2", "other=1"] {
            assert!(pairs(bad, &["limit"]).is_none(), "{bad}");
        }
        assert_eq!(number("100", 1, 100), Some(100));
        assert_eq!([number("0", 1, 100), number("101", 1, 100), number("+5", 1, 100)], [None; 3]);
    }
}
