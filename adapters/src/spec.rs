//! Vendor description as data: endpoints, rows, credential, settings.

use http::{HeaderName, HeaderValue, Method};

use crate::canonical::Field;
use crate::failure::VendorError;

/// Description of one vendor. Requests, checks, the support matrix and the OpenAPI document derive from it.
#[derive(Debug)]
pub struct Spec {
    /// Name in configuration files.
    pub vendor: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// URL of the vendor's documentation of the update.
    pub docs: &'static str,
    /// Default base URL: the origin and any path prefix.
    pub base_url: &'static str,
    /// Authentication scheme.
    pub credential: Credential,
    /// Settings that only upstreams of this vendor have.
    pub settings: &'static [VendorSetting],
    /// Endpoints that update a conversation. Each field is a row of at most one of them.
    pub update: &'static [Endpoint],
    /// Endpoint that reads a conversation, if the vendor has one.
    pub read: Option<Endpoint>,
    /// Canonical members in answers to an update, including those that are only confirmed.
    pub reported_members: &'static [&'static str],
    /// Canonical members in answers to a read.
    pub read_members: &'static [&'static str],
    /// True if every update carries an `Idempotency-Key`.
    pub idempotency_key: bool,
    /// Published rate limit: number of requests, and the period in seconds.
    pub rate_limit: Option<(u32, u32)>,
    /// Sample conversation and update.
    pub example: Example,
    /// Returns true if a 403 with this error asks for payment.
    pub is_payment_required: fn(&VendorError) -> bool,
}

impl Spec {
    /// Rows of all update endpoints.
    pub fn rows(&self) -> impl Iterator<Item = &'static Row> {
        self.update.iter().flat_map(|endpoint| endpoint.rows)
    }

    /// The row of a field.
    pub fn row(&self, field: Field) -> Option<&'static Row> {
        self.update.iter().find_map(|endpoint| endpoint.rows.iter().find(|row| row.field == field))
    }

    /// Returns true if the stored context can be read and set, as merging into it requires.
    pub fn is_mergeable(&self) -> bool {
        let context = Field::Context;
        self.read.is_some() && self.read_members.contains(&context.name()) && self.row(context).is_some()
    }

    /// Returns true if a read shows every member that can be set, as a condition on the stored state requires.
    pub fn is_conditional(&self) -> bool {
        self.read.is_some() && self.rows().all(|row| self.read_members.contains(&row.field.name()))
    }
}

/// One call of a vendor's API.
#[derive(Debug)]
pub struct Endpoint {
    /// HTTP method.
    pub method: Method,
    /// Path template; `{id}` and the keys of path settings stand for one segment each.
    pub path: &'static str,
    /// Headers with constant values; names are in lower case.
    pub headers: &'static [(&'static str, &'static str)],
    /// Members that the call can set.
    pub rows: &'static [Row],
    /// Encoding of the request body.
    pub body: BodyFormat,
}

impl Endpoint {
    /// A `PATCH` with a JSON object.
    pub const fn patch(path: &'static str, rows: &'static [Row]) -> Self {
        Endpoint { method: Method::PATCH, path, headers: &[], rows, body: BodyFormat::Json }
    }

    /// A `GET` without a body.
    pub const fn get(path: &'static str) -> Self {
        Endpoint { method: Method::GET, path, headers: &[], rows: &[], body: BodyFormat::Empty }
    }
}

/// Encoding of a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFormat {
    /// No body.
    Empty,
    /// A JSON object.
    Json,
    /// A JSON object in the member of this name of another object.
    JsonEnvelope(&'static str),
    /// `application/x-www-form-urlencoded`: strings as their text, other values as their JSON text.
    Form,
}

/// A vendor's own sample, in canonical terms.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// Conversation id at the vendor.
    pub id: &'static str,
    /// Values of the vendor's settings, by key.
    pub settings: &'static [(&'static str, &'static str)],
    /// Canonical request body.
    pub patch: &'static str,
}

/// Authentication scheme of a vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// `Authorization: Bearer …` (RFC 6750).
    Bearer,
    /// The bare key in a header of this lower-case name.
    Header(&'static str),
}

impl Credential {
    /// Name of the header that carries the credential.
    pub fn header(self) -> HeaderName {
        match self {
            Credential::Bearer => http::header::AUTHORIZATION,
            Credential::Header(name) => HeaderName::from_static(name),
        }
    }

    /// Header value for `key`, marked as sensitive so that its `Debug` output hides the key.
    ///
    /// # Errors
    ///
    /// Fails if the key has a character that a header value may not have.
    pub fn value(self, key: &str) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
        let mut value = match self {
            Credential::Bearer => HeaderValue::from_str(&format!("Bearer {key}"))?,
            Credential::Header(_) => HeaderValue::from_str(key)?,
        };
        value.set_sensitive(true);
        Ok(value)
    }

    /// The header as documentation shows it.
    pub fn shown(self) -> String {
        match self {
            Credential::Bearer => "Authorization: Bearer".to_owned(),
            Credential::Header(name) => name.to_owned(),
        }
    }
}

/// A setting that only upstreams of one vendor have.
#[derive(Debug, Clone, Copy)]
pub struct VendorSetting {
    /// Key in an upstream's configuration.
    pub key: &'static str,
    /// Place of the value in requests.
    pub place: SettingPlacement,
    /// One sentence of documentation.
    pub about: &'static str,
}

/// Place of a setting's value in requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingPlacement {
    /// A path segment of the same name. A caller's id may give the value instead, before a colon.
    Path,
    /// A header of this lower-case name.
    Header(&'static str),
}

/// Mapping of one canonical member to a vendor's member.
#[derive(Debug)]
pub struct Row {
    /// Canonical member.
    pub field: Field,
    /// Vendor's member in requests.
    pub wire: &'static str,
    /// Vendor's member in answers; a dot leads into an object.
    pub reported: &'static str,
    /// Check and translation of a value.
    pub conversion: Conversion,
    /// Translation of null.
    pub null: NullHandling,
}

/// Check and translation of a value that is not null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversion {
    /// An object as its compact JSON text, a string unchanged.
    ContextAsText {
        /// Limit of the text in UTF-16 code units.
        max_utf16: usize,
    },
    /// An object, unchanged.
    Object,
    /// An object or a string, unchanged.
    ObjectOrString,
    /// A string, unchanged.
    Text {
        /// Limit in characters (Unicode scalar values).
        max: Option<usize>,
    },
    /// `{"id": string}` as the bare string.
    Id {
        /// Minimum in characters.
        min: usize,
        /// Limit in characters.
        max: Option<usize>,
        /// Prefix of the same id in some of the vendor's answers or requests; empty for none.
        prefix: &'static str,
    },
    /// A boolean, unchanged.
    Flag,
    /// One of the canonical words, as the vendor's word beside it.
    Word(&'static [(&'static str, &'static str)]),
    /// A list of strings, unchanged.
    Strings,
}

/// Translation of null, which clears a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NullHandling {
    /// Refused before any call, because the vendor cannot clear the member.
    Refused,
    /// Sent as null.
    Sent,
    /// Sent as the empty string.
    EmptyText,
}
