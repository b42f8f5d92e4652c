//! Addresses: an upstream's origin, a conversation's id, and the path of a vendor's call.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Uri};

use crate::spec::{SettingPlacement, Spec};

/// Limit of a decoded id, in bytes.
const MAX_ID: usize = 512;

/// Scheme, authority and path prefix of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    authority: Authority,
    prefix: String,
}

/// Errors of [`Origin::parse`]. Their texts continue a sentence that begins with the name of the setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginError {
    /// The text is not a URL.
    NotAUrl,
    /// Scheme or host is missing.
    NoHost,
    /// The scheme is neither `http` nor `https`.
    UnknownScheme(String),
    /// The URL contains a user name or a password.
    UserInfo,
    /// The URL contains a query or a fragment.
    QueryOrFragment,
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OriginError::NotAUrl => f.write_str("is not a URL"),
            OriginError::NoHost => f.write_str("needs a scheme and a host, as in https://api.example.com"),
            OriginError::UnknownScheme(scheme) => {
                write!(f, "has the scheme '{scheme}', but only http and https are known")
            }
            OriginError::UserInfo => f.write_str("must not contain a user name or password"),
            OriginError::QueryOrFragment => f.write_str("must not have a query or a fragment"),
        }
    }
}

impl std::error::Error for OriginError {}

impl Origin {
    /// Parses a base URL: scheme, authority and the prefix of the vendor's paths.
    ///
    /// # Errors
    ///
    /// Fails if the text is not an absolute `http` or `https` URL without user information, query and fragment.
    pub fn parse(base_url: &str) -> Result<Origin, OriginError> {
        let uri: Uri = base_url.parse().map_err(|_| OriginError::NotAUrl)?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(OriginError::NoHost);
        };
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(OriginError::UnknownScheme(scheme.to_string()));
        }
        if authority.as_str().contains('@') {
            return Err(OriginError::UserInfo);
        }
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        if path.query().is_some() || base_url.contains('#') {
            return Err(OriginError::QueryOrFragment);
        }
        Ok(Origin { scheme, authority, prefix: path.path().trim_end_matches('/').to_owned() })
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        self.scheme.as_str()
    }

    /// Host and port.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Prefix of the vendor's paths, without a trailing slash.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    fn uri(&self, path: Bytes) -> Result<Uri, http::Error> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_maybe_shared(path)?);
        Ok(Uri::from_parts(parts)?)
    }
}

/// The part of a configured upstream that adapters use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VendorEndpoint {
    /// Name of the upstream in the configuration.
    pub name: String,
    /// Base URL.
    pub origin: Origin,
    /// Configured vendor settings, by key.
    pub settings: Vec<(&'static str, String)>,
    /// Headers made from settings.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// True if callers may send `vendor_fields`.
    pub allow_vendor_fields: bool,
}

impl VendorEndpoint {
    /// Value of a setting.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str())
    }
}

/// Address of a conversation: its canonical id, with the position of each part in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    id: String,
    vendor_id_start: usize,
    /// Path settings whose values the id contains; any other value is the configured one.
    path_values: Vec<(&'static str, Range<usize>)>,
}

impl Target {
    /// Canonical id, which begins with the name of the upstream.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Conversation id at the vendor.
    pub fn vendor_id(&self) -> &str {
        self.id.get(self.vendor_id_start..).unwrap_or_default()
    }

    /// Address of the conversation at the vendor, the same for every upstream that reaches it there.
    pub fn address(&self, spec: &Spec, endpoint: &VendorEndpoint) -> String {
        let origin = &endpoint.origin;
        let mut address = String::with_capacity(96);
        address.push_str(origin.authority().as_str());
        address.push_str(origin.prefix());
        for setting in spec.settings.iter().filter(|setting| setting.place == SettingPlacement::Path) {
            address.push('/');
            address.push_str(self.parameter(endpoint, setting.key).unwrap_or_default());
        }
        address.push('/');
        address.push_str(self.vendor_id());
        address
    }

    /// Value of a path parameter.
    fn parameter<'a>(&'a self, endpoint: &'a VendorEndpoint, name: &str) -> Option<&'a str> {
        if name == "id" {
            return Some(self.vendor_id());
        }
        match self.path_values.iter().find(|(key, _)| *key == name) {
            Some((_, at)) => self.id.get(at.clone()),
            None => endpoint.setting(name),
        }
    }
}

/// Error of an id; the text says how to correct it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdFault(pub String);

impl fmt::Display for IdFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for IdFault {}

/// Decodes one percent-encoded path segment, once.
///
/// # Errors
///
/// Fails if an escape is incomplete or the decoded bytes are not UTF-8.
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

/// Finds the path parameters in `vendor_id`, the id without the name of the upstream.
///
/// # Errors
///
/// Fails if a parameter is missing, empty, a dot segment, too long, or contains a control character.
pub fn locate(spec: &Spec, endpoint: &VendorEndpoint, vendor_id: &str) -> Result<Target, IdFault> {
    if vendor_id.len() > MAX_ID {
        return Err(IdFault(format!("The id is longer than {MAX_ID} bytes.")));
    }
    let mut id = String::with_capacity(endpoint.name.len() + 1 + vendor_id.len());
    id.push_str(&endpoint.name);
    id.push(':');
    let mut path_values = Vec::new();
    let mut rest = vendor_id;
    for setting in spec.settings.iter().filter(|setting| setting.place == SettingPlacement::Path) {
        let configured = endpoint.setting(setting.key);
        let (value, behind) = match (rest.split_once(':'), configured) {
            (Some(parts), _) => parts,
            (None, Some(configured)) => (configured, rest),
            (None, None) => {
                return Err(IdFault(format!(
                    "The id names no {key}: write {upstream}:{{{key}}}:{{id}}, or configure '{key}' for the upstream '{upstream}'.",
                    key = setting.key,
                    upstream = endpoint.name,
                )));
            }
        };
        check(value, setting.key)?;
        // The configured value is left out, unless the remainder would then be split again.
        if configured != Some(value) || behind.contains(':') {
            let start = id.len();
            id.push_str(value);
            path_values.push((setting.key, start..id.len()));
            id.push(':');
        }
        rest = behind;
    }
    check(rest, "id")?;
    let vendor_id_start = id.len();
    id.push_str(rest);
    Ok(Target { id, vendor_id_start, path_values })
}

fn check(part: &str, name: &str) -> Result<(), IdFault> {
    let fault = if part.is_empty() {
        "is empty"
    } else if part == "." || part == ".." {
        "is a dot segment"
    } else if part.chars().any(char::is_control) {
        "has a control character"
    } else {
        return Ok(());
    };
    Err(IdFault(format!("The conversation's {name} {fault}; give the id as the vendor gave it.")))
}

/// Appends `value` with everything percent-encoded but the unreserved characters of RFC 3986, section 2.3.
pub(crate) fn percent_encode(value: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
    let is_reserved =
        |byte: &u8| !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'));
    let mut rest = value.as_bytes();
    while let Some(at) = rest.iter().position(is_reserved) {
        let (plain, behind) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, behind)) = behind.split_first() else { break };
        out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 0xF)]);
        rest = behind;
    }
    out.extend_from_slice(rest);
}

/// URI of a call: the base URL and the path template with its parameters.
pub(crate) fn uri(template: &str, endpoint: &VendorEndpoint, target: &Target) -> Result<Uri, http::Error> {
    let mut path = Vec::with_capacity(96);
    path.extend_from_slice(endpoint.origin.prefix().as_bytes());
    // Literal text and names alternate: `/v1/chats/{id}` has the pieces `/v1/chats/`, `id` and ``.
    let (mut rest, mut is_name) = (template, false);
    loop {
        let end = rest.bytes().position(|byte| matches!(byte, b'{' | b'}')).unwrap_or(rest.len());
        let (piece, behind) = rest.split_at(end);
        if !is_name {
            path.extend_from_slice(piece.as_bytes());
        } else if let Some(value) = target.parameter(endpoint, piece) {
            percent_encode(value, &mut path);
        }
        let Some(behind) = behind.get(1..) else { break };
        (rest, is_name) = (behind, !is_name);
    }
    endpoint.origin.uri(Bytes::from(path))
}
