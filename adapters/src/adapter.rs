//! The contract between the gateway and a vendor.

use std::borrow::Cow;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Request, Response, Uri};

use crate::canonical::{Conversation, Fault, Field, Patch, Slot, Warning};
use crate::json::Raw;
use crate::{explain, table};

/// One vendor. Implementations hold no state and do no IO.
pub trait Adapter: Sync {
    /// Everything about the vendor that is data.
    fn spec(&self) -> &'static Spec;

    /// The one call that applies the patch, or every reason why none can. Its credential is put in by whoever sends it.
    fn encode<'a>(&self, ask: &Ask<'a>) -> Result<Call<'a>, Refusal> {
        table::encode(self.spec(), ask)
    }

    /// The conversation that a successful reply with a body describes.
    fn decode<'a>(&self, done: &Done<'a>, reply: &'a Response<Bytes>) -> Result<Conversation<'a>, Unusable>;

    /// What an unsuccessful reply means. Total: an unreadable body is still a failure.
    fn explain(&self, reply: &Response<Bytes>) -> Failure {
        explain::failure(self.spec(), reply)
    }
}

/// What a vendor is, as data. Requests, checks, the support matrix and the OpenAPI document are read from it.
#[derive(Debug)]
pub struct Spec {
    /// The name in configuration files.
    pub vendor: &'static str,
    /// The name for people.
    pub title: &'static str,
    /// The vendor's own page of the call.
    pub docs: &'static str,
    /// Origin (and whatever comes before the path) that is used unless the configuration names another.
    pub base_url: &'static str,
    /// Path of the one call; `{id}` and the names of path settings stand for one segment each.
    pub path: &'static str,
    /// How the credential travels.
    pub credential: Credential,
    /// Settings of an upstream that only this vendor has.
    pub settings: &'static [Setting],
    /// The members that can be set.
    pub rows: &'static [Row],
    /// What answers report.
    pub reports: &'static [&'static str],
    /// Whether (and how) the stored context can be read, which a merge patch needs.
    pub reads: bool,
    /// Every call carries an `Idempotency-Key`.
    pub idempotency_key: bool,
    /// The published rate limit: so many requests in so many seconds.
    pub rate_limit: Option<(u32, u32)>,
    /// A conversation and an update of it, in canonical words, after the vendor's own sample.
    pub example: Example,
    /// Whether a 403 with this error is about money, not about rights.
    pub quota: fn(&explain::VendorError) -> bool,
}

/// A vendor's own sample, in canonical words.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// The conversation's id at the vendor.
    pub id: &'static str,
    /// Values of the vendor's settings, by key.
    pub settings: &'static [(&'static str, &'static str)],
    /// The canonical body.
    pub patch: &'static str,
}

/// How a credential travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// `Authorization: Bearer …`
    Bearer,
    /// The bare key in a header of this (lower-case) name.
    Header(&'static str),
}

impl Credential {
    /// The header that carries the credential.
    pub fn header(self) -> HeaderName {
        match self {
            Credential::Bearer => http::header::AUTHORIZATION,
            Credential::Header(name) => HeaderName::from_static(name),
        }
    }

    /// The header's value for this key, marked as sensitive so that no `Debug` shows it.
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

/// A setting that only one vendor has.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The key in an upstream's configuration.
    pub key: &'static str,
    /// Where its value goes.
    pub place: Place,
    /// One sentence.
    pub about: &'static str,
}

/// Where a setting's value goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A path segment of the same name. The caller's id may name it instead, before a colon.
    Path,
    /// A header of this (lower-case) name.
    Header(&'static str),
}

/// One canonical member at one vendor.
#[derive(Debug)]
pub struct Row {
    /// The canonical member.
    pub field: Field,
    /// The vendor's member.
    pub wire: &'static str,
    /// How the value is checked and translated.
    pub convert: Convert,
    /// What becomes of null.
    pub null: Null,
}

/// How a value is checked and translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Convert {
    /// An object as its compact JSON text, a string as it is; at most so many UTF-16 units.
    ContextAsText {
        /// The limit in UTF-16 units.
        max_utf16: usize,
    },
    /// An object, as it was written.
    Object,
    /// An object or a string, as it was written.
    ObjectOrString,
    /// A string; at most so many characters.
    Text {
        /// The limit in characters (Unicode scalar values).
        max: Option<usize>,
    },
    /// `{"id": string}` as the bare string of so many characters.
    Id {
        /// The least number of characters.
        min: usize,
        /// The limit in characters.
        max: Option<usize>,
    },
    /// A boolean.
    Flag,
}

/// What becomes of null, the canonical word for "clear this".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Null {
    /// The vendor has no way to clear the member: refused before any call.
    Refused,
    /// Sent as null.
    Sent,
    /// Sent as the empty string.
    EmptyText,
}

/// Where a vendor is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    authority: Authority,
    prefix: String,
}

impl Origin {
    /// Reads a base URL: scheme, authority and whatever comes before the vendor's paths.
    pub fn parse(base_url: &str) -> Result<Origin, String> {
        let uri: Uri = base_url.parse().map_err(|_| "is not a URL".to_owned())?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err("needs a scheme and a host, as in https://api.example.com".to_owned());
        };
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(format!("has the scheme '{scheme}', but only http and https are known"));
        }
        if authority.as_str().contains('@') {
            return Err("must not contain a user name or password".to_owned());
        }
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        if path.query().is_some() || base_url.contains('#') {
            return Err("must not have a query or a fragment".to_owned());
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

    /// The path that comes before the vendor's paths, without a slash at its end.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn uri(&self, path: String) -> Result<Uri, http::Error> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_maybe_shared(Bytes::from(path))?);
        Ok(Uri::from_parts(parts)?)
    }
}

/// One configured upstream, as an adapter needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its name in the configuration.
    pub name: String,
    /// Where it is reached.
    pub origin: Origin,
    /// The vendor's own settings that are given, by key.
    pub settings: Vec<(&'static str, String)>,
    /// Headers that come from settings, ready to be sent.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether callers may send members that the table lacks.
    pub allow_vendor_fields: bool,
}

impl Upstream {
    /// The value of a setting.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str())
    }
}

/// A conversation at an upstream: the values of the path's parameters, all of them checked.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    pub(crate) upstream: &'a Upstream,
    pub(crate) segments: Vec<(&'a str, Cow<'a, str>)>,
    pub(crate) vendor_id: Cow<'a, str>,
    pub(crate) id: String,
}

impl<'a> Target<'a> {
    /// The canonical id: it names the upstream and can be sent back.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The conversation's id at the vendor.
    pub fn vendor_id(&self) -> &str {
        &self.vendor_id
    }

    /// The upstream that keeps the conversation.
    pub fn upstream(&self) -> &'a Upstream {
        self.upstream
    }
}

/// All that a translation needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Which conversation.
    pub target: &'a Target<'a>,
    /// What to change.
    pub patch: &'a Patch<'a>,
    /// `application/merge-patch+json`: an object `context` is merged into the stored one.
    pub merge: bool,
    /// Members that cannot be written are left out and named, not refused.
    pub lenient: bool,
    /// The key for vendors that take one.
    pub idempotency_key: Option<&'a str>,
}

/// A value as it was set, for vendors that do not send the conversation back.
#[derive(Debug, Clone)]
pub struct Set<'a> {
    /// Which member.
    pub field: Field,
    /// The canonical value; of an agent or contact its id.
    pub value: Raw<'a>,
}

/// The one upstream request, with what was learnt on the way.
#[derive(Debug)]
pub struct Call<'a> {
    /// The request, without its credential.
    pub request: Request<Bytes>,
    /// What it sets.
    pub set: Vec<Set<'a>>,
    /// What was left out.
    pub warnings: Vec<Warning>,
    /// The body must be built again with the stored context merged in ([`merge`](crate::merge)).
    pub needs_stored_context: bool,
}

/// What was done, for the decoding of the answer.
#[derive(Debug, Clone, Copy)]
pub struct Done<'a> {
    /// Which conversation.
    pub target: &'a Target<'a>,
    /// What was set.
    pub set: &'a [Set<'a>],
}

impl<'a> Done<'a> {
    /// The value that was set for this field.
    pub fn set(&self, field: Field) -> Slot<Raw<'a>> {
        match self.set.iter().find(|set| set.field == field) {
            Some(set) if set.value == Raw::NULL => Slot::Null,
            Some(set) => Slot::Value(set.value),
            None => Slot::Absent,
        }
    }
}

/// Why no call can apply a patch: every reason, in the order of the body.
#[derive(Debug)]
pub struct Refusal {
    /// The faults; never empty.
    pub faults: Vec<Fault>,
}

/// Why a reply with a 2xx status gives no conversation.
#[derive(Debug)]
pub enum Unusable {
    /// It is not what the vendor documents; the text says where.
    Invalid(String),
    /// It says that the update failed, in spite of its status.
    Failed(Failure),
}

impl From<crate::json::Malformed> for Unusable {
    fn from(malformed: crate::json::Malformed) -> Self {
        Unusable::Invalid(malformed.to_string())
    }
}

/// What an unsuccessful reply means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What sort.
    pub kind: FailureKind,
    /// The vendor's own code.
    pub vendor_code: Option<String>,
    /// The vendor's own words.
    pub vendor_message: Option<String>,
    /// The members that the vendor names: canonical pointer, and its words about them.
    pub fields: Vec<(String, String)>,
}

/// The sorts of failure that a vendor's reply can mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The vendor refused what was sent.
    Rejected,
    /// The vendor does not know the gateway's credential.
    Unauthenticated,
    /// The vendor wants money first.
    PaymentRequired,
    /// The credential may not touch this conversation.
    Forbidden,
    /// No such conversation.
    NotFound,
    /// The conversation's state does not allow it.
    Conflict,
    /// Too many requests.
    RateLimited,
    /// The vendor failed.
    Error,
    /// The vendor is out of service.
    Unavailable,
    /// A status that no vendor documents for this call.
    UnexpectedStatus,
}
