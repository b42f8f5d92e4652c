//! What an unsuccessful reply means: the status decides, the body gives the words.
//!
//! Vendors disagree with themselves about error bodies, so one tolerant reading serves all: `message`, `error` (a
//! string or an object), `detail` (a string or FastAPI's list), `title`, `errors` (a list, or lists by field), or no
//! JSON at all.

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::adapter::{Failure, FailureKind, Spec};
use crate::canonical::pointer;
use crate::json::{Kind, Raw, Reader};

/// Longest text of a vendor that is passed on, in characters.
const MAX_MESSAGE: usize = 1000;

/// So many complaints of one list are passed on.
const MAX_FIELDS: usize = 100;

/// An `error` may stand in an `error` so many times.
const MAX_LEVELS: usize = 3;

/// A vendor's error body, as far as it can be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VendorError {
    /// The vendor's code.
    pub code: Option<String>,
    /// The vendor's words.
    pub message: Option<String>,
    /// Members that it names (the vendor's name, or a path of names), and what it says of each.
    pub fields: Vec<(Vec<String>, String)>,
}

/// Classifies a reply that is no success.
pub(crate) fn failure(spec: &Spec, reply: &Response<Bytes>) -> Failure {
    let error = VendorError::read(reply.body());
    let kind = match reply.status() {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            FailureKind::Rejected
        }
        StatusCode::UNAUTHORIZED => FailureKind::Unauthenticated,
        StatusCode::PAYMENT_REQUIRED => FailureKind::PaymentRequired,
        StatusCode::FORBIDDEN if (spec.quota)(&error) => FailureKind::PaymentRequired,
        StatusCode::FORBIDDEN => FailureKind::Forbidden,
        StatusCode::NOT_FOUND | StatusCode::GONE => FailureKind::NotFound,
        StatusCode::CONFLICT => FailureKind::Conflict,
        StatusCode::TOO_MANY_REQUESTS => FailureKind::RateLimited,
        StatusCode::SERVICE_UNAVAILABLE => FailureKind::Unavailable,
        status if (500..600).contains(&status.as_u16()) => FailureKind::Error,
        _ => FailureKind::UnexpectedStatus,
    };
    error.into_failure(spec, kind)
}

impl VendorError {
    /// Reads an error body. Never fails: a body of another kind is its own message.
    pub fn read(body: &[u8]) -> VendorError {
        let parsed = Reader::lenient(body).and_then(|mut reader| {
            let whole = reader.raw()?;
            reader.end()?;
            Ok(whole)
        });
        let mut error = VendorError::default();
        match parsed {
            Ok(value) if value.kind() == Kind::Object => error.object(value, MAX_LEVELS),
            Ok(value) if value.kind() == Kind::String => error.message = value.as_str().map(Into::into),
            _ => error.message = text(body),
        }
        error.code = error.code.map(|code| clip(&code));
        error.message = error.message.map(|message| clip(&message));
        error
    }

    /// As a failure, its fields translated into canonical pointers.
    pub(crate) fn into_failure(self, spec: &Spec, kind: FailureKind) -> Failure {
        let fields = self.fields.iter().map(|(path, detail)| (canonical(spec, path), clip(detail))).collect();
        Failure { kind, vendor_code: self.code, vendor_message: self.message, fields }
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

    /// FastAPI's `[{loc, msg}]`, `[{field, message}]`, or `{field: [message]}`.
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

/// A value as words: a string's text, anything else as it was written.
fn words(value: Raw<'_>) -> String {
    value.as_str().map_or_else(|| value.text().to_owned(), String::from)
}

fn dotted(path: &str) -> Vec<String> {
    let path = path.strip_prefix("body.").unwrap_or(path);
    path.split('.').map(str::to_owned).collect()
}

/// The canonical pointer to what the vendor calls `path`.
fn canonical(spec: &Spec, path: &[String]) -> String {
    let Some((wire, deeper)) = path.split_first() else { return String::new() };
    let base = match spec.rows.iter().find(|row| row.wire == wire) {
        Some(row) => row.field.pointer().to_owned(),
        None => return String::new(),
    };
    deeper.iter().fold(base, |base, name| pointer(&base, name))
}

fn text(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body.get(..body.len().min(8 * MAX_MESSAGE)).unwrap_or_default());
    let text = text.trim();
    // A page for browsers is no message.
    (!text.is_empty() && !text.starts_with('<')).then(|| text.to_owned())
}

/// At most so many characters, without control characters.
fn clip(message: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut clipped: String = message.chars().take(MAX_MESSAGE).map(clean).collect();
    if message.chars().nth(MAX_MESSAGE).is_some() {
        clipped.push('…');
    }
    clipped
}
