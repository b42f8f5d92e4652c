//! Escaping and unescaping of strings, and removal of white space.

use std::borrow::Cow;

/// Unescapes the text between the quotes of a JSON string. Half of a surrogate pair becomes U+FFFD.
pub fn unescape(written: &str) -> Cow<'_, str> {
    // Most texts are short: a plain loop is faster than a vectorised search.
    let Some(first) = written.bytes().position(|byte| byte == b'\\') else { return Cow::Borrowed(written) };
    let (plain, mut rest) = written.split_at(first);
    let mut text = String::with_capacity(written.len());
    text.push_str(plain);
    while let Some(after) = rest.strip_prefix('\\') {
        let mut chars = after.chars();
        match chars.next() {
            Some('b') => text.push('\u{8}'),
            Some('f') => text.push('\u{c}'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some('u') => {
                let (decoded, behind) = code_point(chars.as_str());
                text.push(decoded);
                chars = behind.chars();
            }
            Some(itself) => text.push(itself),
            None => break,
        }
        rest = chars.as_str();
        let until = rest.find('\\').unwrap_or(rest.len());
        let (plain, next) = rest.split_at(until);
        text.push_str(plain);
        rest = next;
    }
    Cow::Owned(text)
}

/// Decodes `XXXX` and the other half of a surrogate pair; returns the character and the remaining text.
fn code_point(after_u: &str) -> (char, &str) {
    let unit = |digits: &str| digits.get(..4).and_then(|d| u32::from_str_radix(d, 16).ok());
    let behind = after_u.get(4..).unwrap_or_default();
    let Some(high) = unit(after_u) else { return (char::REPLACEMENT_CHARACTER, behind) };
    if (0xD800..0xDC00).contains(&high)
        && let Some(second) = behind.strip_prefix("\\u")
        && let Some(low @ 0xDC00..=0xDFFF) = unit(second)
    {
        let code = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
        return (
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
            second.get(4..).unwrap_or_default(),
        );
    }
    (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), behind)
}

/// Appends `text` as a JSON string with its quotes.
pub fn quote(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|b| b < 0x20 || b == b'"' || b == b'\\') {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain.as_bytes());
        match special.as_bytes().first() {
            Some(b'"') => out.extend_from_slice(b"\\\""),
            Some(b'\\') => out.extend_from_slice(b"\\\\"),
            Some(b'\n') => out.extend_from_slice(b"\\n"),
            Some(b'\r') => out.extend_from_slice(b"\\r"),
            Some(b'\t') => out.extend_from_slice(b"\\t"),
            Some(control) => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
            None => {}
        }
        rest = special.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest.as_bytes());
    out.push(b'"');
}

/// Returns `text` as a JSON string with its quotes.
pub fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    quote(text, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// Removes the white space between the tokens of a JSON text.
pub fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find(['"', ' ', '\t', '\n', '\r']) {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        if found.starts_with('"') {
            let end = string_end(found);
            let (string, behind) = found.split_at(end);
            out.push_str(string);
            rest = behind;
        } else {
            rest = found.get(1..).unwrap_or_default();
        }
    }
    out.push_str(rest);
    out
}

/// Length of the JSON string at the start of `text`, with its quotes.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}
