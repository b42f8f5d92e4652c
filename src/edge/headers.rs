//! Request head: media type, preferences, dry run, keys, trace. Pure readings of headers and query.

use std::borrow::Cow;

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use crate::types::code::Code;
use crate::types::problem::Problem;

/// Preferences of RFC 7240 that the API honours; others are ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Preferences {
    /// `handling=lenient`
    pub lenient: bool,
    /// `return=minimal`
    pub minimal: bool,
}

/// Requires exactly one valid `Host` (RFC 9112 3.2).
///
/// # Errors
///
/// `invalid-header`; the connection is closed.
pub(super) fn host(head: &Parts) -> Result<(), Problem> {
    if head.version > Version::HTTP_11 {
        return Ok(());
    }
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let wrong = match (hosts.next(), hosts.next()) {
        (None, _) if head.version < Version::HTTP_11 => return Ok(()),
        (None, _) => "is missing",
        (Some(_), Some(_)) => "is given more than once",
        (Some(host), None) => {
            let valid = host.to_str().is_ok_and(|host| {
                host.is_empty()
                    || is_plain_host(host)
                    || host.parse::<Authority>().is_ok_and(|authority| !authority.as_str().contains('@'))
            });
            if valid {
                return Ok(());
            }
            "is not a host"
        }
    };
    Err(Problem::new(Code::InvalidHeader, format!("The Host header {wrong}."))
        .header(header::CONNECTION, "close"))
}

/// True for a name or an IPv4 address with or without a port: the common forms, for which no URI is parsed.
fn is_plain_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
        && (1..=5).contains(&port.len())
        && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Rejects framing that hyper accepts and another server could read otherwise (RFC 9112 6.1), and an `Expect` that is
/// not met here.
///
/// # Errors
///
/// `invalid-header`; the connection is closed.
pub(super) fn framing(head: &Parts) -> Result<(), Problem> {
    let refuse =
        |detail: &str| Err(Problem::new(Code::InvalidHeader, detail).header(header::CONNECTION, "close"));
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => {}
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {}
        _ => return refuse("The only Transfer-Encoding is chunked, given once."),
    }
    let mut expectations = head.headers.get_all(header::EXPECT).iter();
    if expectations.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return refuse("The only Expect that can be met is 100-continue.");
    }
    Ok(())
}

/// Parses the query: `dry_run=true` or `dry_run=false`, and nothing else.
///
/// # Errors
///
/// `invalid-query`.
pub(super) fn dry_run(query: Option<&str>) -> Result<bool, Problem> {
    match query {
        None | Some("" | "dry_run=false") => Ok(false),
        Some("dry_run=true") => Ok(true),
        Some(_) => Err(Problem::new(
            Code::InvalidQuery,
            "The only query parameter is dry_run, given once, with the value true or false.",
        )),
    }
}

/// True if the body is a merge patch (RFC 7396), false if it is JSON.
///
/// # Errors
///
/// `unsupported-media-type`.
pub(super) fn is_merge_patch(headers: &HeaderMap) -> Result<bool, Problem> {
    let refuse = |detail: &str| Err(Problem::new(Code::UnsupportedMediaType, detail));
    if headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return refuse("Send the body without a Content-Encoding.")
            .map_err(|problem| problem.header(header::ACCEPT_ENCODING, "identity"));
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(kind), None) = (types.next(), types.next()) else {
        return refuse("Say exactly one Content-Type: application/json or application/merge-patch+json.");
    };
    let kind = kind.to_str().unwrap_or_default();
    let mut parts = kind.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let merge = essence.eq_ignore_ascii_case("application/merge-patch+json");
    if !merge && !essence.eq_ignore_ascii_case("application/json") {
        return refuse("Send application/json or application/merge-patch+json.");
    }
    for parameter in parts {
        if let Some((name, value)) = parameter.split_once('=')
            && name.trim().eq_ignore_ascii_case("charset")
            && !value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        {
            return refuse("JSON is UTF-8; leave the charset out or say utf-8.");
        }
    }
    Ok(merge)
}

/// Parses every `Prefer`. Unknown preferences are ignored; of two values for one the first counts (RFC 7240 2).
pub(super) fn preferences(headers: &HeaderMap) -> Preferences {
    const PREFER: HeaderName = HeaderName::from_static("prefer");
    let (mut handling, mut returning) = (None, None);
    let lines = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    for preference in lines.flat_map(|line| split_unquoted(line, ',')) {
        let preference = split_unquoted(preference, ';').next().unwrap_or_default();
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        let value = unquoted(value.trim());
        if name.trim().eq_ignore_ascii_case("handling") {
            handling.get_or_insert(value.eq_ignore_ascii_case("lenient"));
        } else if name.trim().eq_ignore_ascii_case("return") {
            returning.get_or_insert(value.eq_ignore_ascii_case("minimal"));
        }
    }
    Preferences { lenient: handling.unwrap_or_default(), minimal: returning.unwrap_or_default() }
}

/// Splits a header value at each separator that stands outside of quoted strings.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |c| {
        if is_escaped {
            is_escaped = false;
            return false;
        }
        match c {
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => return c == separator && !is_quoted,
        }
        false
    })
}

/// Text of a quoted string, or a token unchanged.
fn unquoted(value: &str) -> Cow<'_, str> {
    let Some(inner) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return Cow::Borrowed(value);
    };
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut is_escaped = false;
    let keep = |c: &char| {
        is_escaped = *c == '\\' && !is_escaped;
        !is_escaped
    };
    Cow::Owned(inner.chars().filter(keep).collect())
}

/// Parses `Idempotency-Key`: 1 to 255 visible ASCII characters, bare or as a quoted string.
///
/// # Errors
///
/// `invalid-header`.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    const KEY: HeaderName = HeaderName::from_static("idempotency-key");
    let mut keys = headers.get_all(KEY).iter();
    let refuse = |detail: &str| Err(Problem::new(Code::InvalidHeader, detail));
    let key = match (keys.next(), keys.next()) {
        (None, _) => return Ok(None),
        (Some(_), Some(_)) => return refuse("Idempotency-Key is given more than once."),
        (Some(key), None) => key,
    };
    let text = key.to_str().unwrap_or_default().trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if text.is_empty() || text.len() > 255 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return refuse("Idempotency-Key must be 1 to 255 visible ASCII characters.");
    }
    Ok(Some(text.to_owned()))
}

/// Trace context for the vendor's request (W3C Trace Context): the caller's trace with a new span id.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<HeaderValue> {
    let given = headers.get("traceparent")?.to_str().ok()?;
    let mut parts = given.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let zero = |text: &str| text.bytes().all(|b| b == b'0');
    let valid = hex(version, 2)
        && version != "ff"
        && hex(trace, 32)
        && !zero(trace)
        && hex(parent, 16)
        && !zero(parent)
        && hex(flags, 2)
        && (version != "00" || parts.next().is_none());
    if !valid {
        return None;
    }
    let (_, span) = uuid::Uuid::new_v4().as_u64_pair();
    HeaderValue::from_str(&format!("00-{trace}-{:016x}-{flags}", span | 1)).ok()
}
