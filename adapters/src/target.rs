//! Conversation ids: from a path segment to the parameters of a vendor's path, and back into one segment each.

use std::borrow::Cow;

use crate::adapter::{Place, Spec, Target, Upstream};

/// Ids may be this many bytes long once decoded.
const MAX_ID: usize = 512;

/// Why an id is refused; the text says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdFault(pub String);

/// Decodes one path segment, once.
pub fn decode_segment(segment: &str) -> Result<Cow<'_, str>, IdFault> {
    if !segment.contains('%') {
        return Ok(Cow::Borrowed(segment));
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit =
            || bytes.next().and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        match (digit(), digit()) {
            (Some(high), Some(low)) => decoded.push(high * 16 + low),
            _ => {
                return Err(IdFault(
                    "The id has a '%' that two hexadecimal digits do not follow; write '%25' for '%'.".into(),
                ));
            }
        }
    }
    match String::from_utf8(decoded) {
        Ok(text) => Ok(Cow::Owned(text)),
        Err(_) => Err(IdFault("The id is not UTF-8 once decoded.".into())),
    }
}

/// Finds the parameters of the vendor's path in `vendor_id`, the id without the upstream's name.
pub fn locate<'a>(
    spec: &'static Spec,
    upstream: &'a Upstream,
    vendor_id: Cow<'a, str>,
) -> Result<Target<'a>, IdFault> {
    if vendor_id.len() > MAX_ID {
        return Err(IdFault(format!("The id is longer than {MAX_ID} bytes.")));
    }
    let mut rest = vendor_id;
    let mut segments = Vec::with_capacity(2);
    let mut explicit = Vec::new();
    for setting in spec.settings.iter().filter(|setting| setting.place == Place::Path) {
        let configured = upstream.setting(setting.key);
        let (value, behind) = match (rest.find(':'), configured) {
            (Some(colon), _) => split(rest, colon),
            (None, Some(configured)) => (Cow::Borrowed(configured), rest),
            (None, None) => {
                return Err(IdFault(format!(
                    "The id names no {key}: write {upstream}:{{{key}}}:{{id}}, or configure '{key}' for the upstream '{upstream}'.",
                    key = setting.key,
                    upstream = upstream.name,
                )));
            }
        };
        check(&value, setting.key)?;
        // Left out where it is the configured one, unless the rest would then be taken for two.
        if configured != Some(&*value) || behind.contains(':') {
            explicit.push(value.clone());
        }
        segments.push((setting.key, value));
        rest = behind;
    }
    check(&rest, "id")?;
    let mut id = String::with_capacity(upstream.name.len() + 64 + rest.len());
    id.push_str(&upstream.name);
    for part in explicit.iter().chain([&rest]) {
        id.push(':');
        id.push_str(part);
    }
    segments.push(("id", rest.clone()));
    Ok(Target { upstream, segments, vendor_id: rest, id })
}

/// What stands before and behind the colon.
fn split(text: Cow<'_, str>, colon: usize) -> (Cow<'_, str>, Cow<'_, str>) {
    match text {
        Cow::Borrowed(text) => {
            let (before, behind) = text.split_at(colon);
            (Cow::Borrowed(before), Cow::Borrowed(behind.get(1..).unwrap_or_default()))
        }
        Cow::Owned(text) => {
            let (before, behind) = text.split_at(colon);
            (Cow::Owned(before.to_owned()), Cow::Owned(behind.get(1..).unwrap_or_default().to_owned()))
        }
    }
}

fn check(part: &str, what: &str) -> Result<(), IdFault> {
    let wrong = if part.is_empty() {
        "is empty"
    } else if part == "." || part == ".." {
        "is a dot segment"
    } else if part.chars().any(char::is_control) {
        "has a control character"
    } else {
        return Ok(());
    };
    Err(IdFault(format!("The conversation's {what} {wrong}; give the id as the vendor gave it.")))
}

/// Appends a value as exactly one path segment: everything but unreserved characters (RFC 3986) is encoded.
fn encode_segment(value: &str, path: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            path.push(char::from(byte));
        } else {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().map_or('0', char::from);
            path.push('%');
            path.push(digit(byte >> 4));
            path.push(digit(byte & 0xF));
        }
    }
}

/// The path of the vendor's call, with everything that the base URL puts before it.
pub(crate) fn path(spec: &Spec, target: &Target<'_>) -> String {
    let mut path = String::with_capacity(96);
    path.push_str(target.upstream.origin.prefix());
    // `/v1/chats/{id}`: every second piece is a name.
    for (at, piece) in spec.path.split(['{', '}']).enumerate() {
        if at % 2 == 0 {
            path.push_str(piece);
        } else if let Some((_, value)) = target.segments.iter().find(|(key, _)| *key == piece) {
            encode_segment(value, &mut path);
        }
    }
    path
}
