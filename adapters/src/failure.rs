//! Errors that vendors report, and the tolerant reading of their bodies.
//!
//! Vendors document several shapes and use further ones, so one reading serves all: `message`, `error` (a string or an
//! object), `detail` (a string or FastAPI's list), `title`, `errors` (a list, or lists by field), or no JSON at all.

use bytes::Bytes;
use http::{HeaderMap, Response, header};

use crate::json::{Kind, Raw, Reader};
use crate::message::{of_body, presentable};

/// Maximum length of a forwarded vendor text, in characters.
const MAX_MESSAGE: usize = 1000;

/// Maximum number of forwarded field errors of one list.
const MAX_FIELDS: usize = 100;

/// Maximum nesting of `error` objects.
const MAX_LEVELS: usize = 3;

/// A vendor's refusal or failure, in canonical terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Kind of failure.
    pub kind: FailureKind,
    /// Vendor's error code.
    pub vendor_code: Option<String>,
    /// Vendor's error message.
    pub vendor_message: Option<String>,
    /// JSON pointers into the canonical body (empty if the member is unknown), with the vendor's message for each.
    pub fields: Vec<(String, String)>,
}

/// Kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The vendor rejected the request as invalid.
    Rejected,
    /// The vendor rejected the gateway's credential.
    Unauthenticated,
    /// The account needs payment or credits.
    PaymentRequired,
    /// The credential has no access to the conversation.
    Forbidden,
    /// The conversation does not exist.
    NotFound,
    /// The conversation's state does not allow the update.
    Conflict,
    /// The vendor's rate limit is exceeded.
    RateLimited,
    /// Internal error of the vendor.
    Error,
    /// The vendor is temporarily unavailable.
    Unavailable,
    /// A status that no vendor documents for the call.
    UnexpectedStatus,
}

/// Readable parts of a vendor's error body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VendorError {
    /// Vendor's error code.
    pub code: Option<String>,
    /// Vendor's error message.
    pub message: Option<String>,
    /// Paths of vendor members, with the message for each.
    pub fields: Vec<(Vec<String>, String)>,
}

impl VendorError {
    /// Reads an error reply. A body that is no text is not read: with a content coding, of a binary type, or a page.
    pub fn of(reply: &Response<Bytes>) -> VendorError {
        match body_kind(reply.headers()) {
            BodyKind::Text => VendorError::read(reply.body()),
            BodyKind::Page => VendorError::read_as(reply.body(), |_| None),
            BodyKind::Binary => VendorError::default(),
        }
    }

    /// Reads an error body. A body that is no JSON becomes the message, unless it is no text or a page.
    pub fn read(body: &[u8]) -> VendorError {
        VendorError::read_as(body, of_body)
    }

    fn read_as(body: &[u8], text: fn(&[u8]) -> Option<&str>) -> VendorError {
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        let parsed = Reader::lenient(body).and_then(|mut reader| {
            let whole = reader.raw()?;
            reader.end()?;
            Ok(whole)
        });
        let mut error = VendorError::default();
        match parsed {
            Ok(value) if value.kind() == Kind::Object => error.object(value, MAX_LEVELS),
            Ok(value) if value.kind() == Kind::String => error.message = value.as_str().map(Into::into),
            _ => error.message = text(body).map(str::to_owned),
        }
        error.code = error.code.and_then(|code| shown(&code));
        error.message = error.message.and_then(|message| shown(&message));
        for (_, detail) in &mut error.fields {
            *detail = shown(detail).unwrap_or_default();
        }
        error
    }

    fn object(&mut self, body: Raw<'_>, levels: usize) {
        let members = body.members();
        let get = |name: &str| members.iter().find(|(key, _)| key.name() == name).map(|(_, value)| *value);
        let string = |name: &str| get(name).and_then(Raw::as_str).map(String::from);
        if let Some(inner) = get("error").filter(|error| error.kind() == Kind::Object && levels > 0) {
            self.object(inner, levels - 1);
        }
        for list in ["details", "detail", "errors"].into_iter().filter_map(get) {
            self.list(list);
        }
        let message =
            string("message").or_else(|| string("error_message")).or_else(|| string("error_description"));
        let error = string("error");
        let code = string("code")
            .or_else(|| message.is_some().then(|| error.clone()).flatten())
            .or_else(|| string("error_type"))
            .or_else(|| string("type").filter(|kind| kind != "about:blank"));
        let message = message.or_else(|| string("detail")).or_else(|| string("title")).or(error);
        self.code = self.code.take().or(code);
        self.message = self.message.take().or(message);
        if self.message.is_none() && !self.fields.is_empty() {
            let words: Vec<&str> = self.fields.iter().map(|(_, detail)| detail.as_str()).collect();
            self.message = Some(words.join("; "));
        }
    }

    /// Reads FastAPI's `[{loc, msg}]`, `[{field, message}]`, or `{field: [message]}`.
    fn list(&mut self, list: Raw<'_>) {
        match list.kind() {
            Kind::Array => {
                for item in list.items().into_iter().take(MAX_FIELDS) {
                    self.item(item);
                }
            }
            Kind::Object => {
                for (key, value) in list.members().into_iter().take(MAX_FIELDS) {
                    let words: Vec<String> = match value.kind() {
                        Kind::Array => value.items().into_iter().map(words).collect(),
                        _ => vec![words(value)],
                    };
                    self.fields.push((dotted(&key.name()), words.join("; ")));
                }
            }
            _ => {}
        }
    }

    fn item(&mut self, item: Raw<'_>) {
        let members = item.members();
        let get = |name: &str| members.iter().find(|(key, _)| key.name() == name).map(|(_, value)| *value);
        let path = if let Some(loc) = get("loc") {
            let mut path: Vec<String> = loc.items().into_iter().map(words).collect();
            if path.first().is_some_and(|first| first == "body") {
                path.remove(0);
            }
            path
        } else if let Some(field) = get("field").or_else(|| get("param")).and_then(Raw::as_str) {
            dotted(&field)
        } else {
            Vec::new()
        };
        let detail =
            ["msg", "message", "detail"].into_iter().find_map(get).map_or_else(|| words(item), words);
        self.fields.push((path, detail));
    }
}

/// Text of a string, JSON text of any other value.
fn words(value: Raw<'_>) -> String {
    value.as_str().map_or_else(|| value.text().to_owned(), String::from)
}

fn dotted(path: &str) -> Vec<String> {
    let path = path.strip_prefix("body.").unwrap_or(path);
    path.split('.').map(str::to_owned).collect()
}

/// The part of a text that is shown to callers.
fn shown(text: &str) -> Option<String> {
    presentable(text).map(|text| clip(&text))
}

/// Kinds of bodies by their headers.
enum BodyKind {
    Text,
    Page,
    Binary,
}

fn body_kind(headers: &HeaderMap) -> BodyKind {
    let is_plain = |coding: &str| coding.trim().is_empty() || coding.trim().eq_ignore_ascii_case("identity");
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    if !codings.all(|value| value.to_str().is_ok_and(|codings| codings.split(',').all(is_plain))) {
        return BodyKind::Binary;
    }
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return BodyKind::Text };
    let kind = String::from_utf8_lossy(kind.as_bytes()).to_ascii_lowercase();
    let (kind, parameters) = kind.split_once(';').unwrap_or((&kind, ""));
    let kind = kind.trim();
    match kind {
        _ if parameters.contains("utf-16") || parameters.contains("utf-32") => BodyKind::Binary,
        // JSON of this type is read: it is the default of PHP.
        "text/html" | "application/xhtml+xml" => BodyKind::Page,
        "" | "application/javascript" | "application/x-www-form-urlencoded" => BodyKind::Text,
        _ if kind.starts_with("text/") => BodyKind::Text,
        _ if kind.contains("json") || kind.contains("xml") || !kind.contains('/') => BodyKind::Text,
        _ => BodyKind::Binary,
    }
}

/// Cuts a message at `MAX_MESSAGE` and replaces control characters by blanks.
pub(crate) fn clip(message: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut clipped: String = message.chars().take(MAX_MESSAGE).map(clean).collect();
    if message.chars().nth(MAX_MESSAGE).is_some() {
        clipped.push('…');
    }
    clipped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, coding: &str, body: &[u8]) -> VendorError {
        let reply =
            Response::builder().header(header::CONTENT_TYPE, kind).header(header::CONTENT_ENCODING, coding);
        VendorError::of(&reply.body(Bytes::copy_from_slice(body)).unwrap())
    }

    #[test]
    fn a_byte_order_mark_hides_nothing() {
        let error =
            VendorError::read("\u{feff}{\"errors\":[{\"field\":\"a.b\",\"message\":\"no\"}]}".as_bytes());
        assert_eq!(error.fields, [(vec!["a".to_owned(), "b".to_owned()], "no".to_owned())]);
        assert_eq!(error.message.as_deref(), Some("no"));
    }

    #[test]
    fn headers_tell_what_is_no_text() {
        let json = br#"{"message":"no","code":"c"}"#;
        for (kind, coding, body, message) in [
            ("text/plain", "identity", &b"no"[..], Some("no")),
            ("application/json", "", json, Some("no")),
            ("application/problem+json; charset=utf-8", "Identity", json, Some("no")),
            ("text/html; charset=UTF-8", "", json, Some("no")),
            ("text/html", "", b"no", None),
            ("application/xhtml+xml", "", b"no", None),
            ("application/json", "gzip", json, None),
            ("text/plain", "identity, br", b"no", None),
            ("image/png", "", b"no", None),
            ("application/octet-stream", "", json, None),
            ("text/plain; charset=utf-16le", "", b"no", None),
        ] {
            assert_eq!(read(kind, coding, body).message.as_deref(), message, "{kind}, {coding}");
        }
    }

    #[test]
    fn markup_within_json_is_not_shown() {
        let error = VendorError::read(
            br#"{"code":"<b>c</b>","message":"<p>no</p>","errors":{"title":["<br>"],"x":["a < b"]}}"#,
        );
        assert_eq!((error.code, error.message), (None, None));
        let fields: Vec<_> =
            error.fields.iter().map(|(path, detail)| (path[0].as_str(), detail.as_str())).collect();
        assert_eq!(fields, [("title", ""), ("x", "a < b")]);
    }
}
