//! The gateway's own credential at a vendor.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderValue;
use memchr::memmem;
use parlance_adapters::Credential as Scheme;

use crate::settings::{self, Credential, Secret};
use crate::upstream::Trouble;

/// A secret shorter than this is not searched for: it would be found everywhere.
const MIN_SEARCHED: usize = 8;

/// One credential, ready to be sent.
#[derive(Debug)]
pub struct Key {
    secret: Secret,
    header: HeaderValue,
}

impl Key {
    /// Prepares a secret for the vendor's header.
    pub fn new(scheme: Scheme, secret: Secret) -> Result<Self, String> {
        let header = scheme
            .value(secret.expose())
            .map_err(|_| "the credential cannot stand in a header".to_owned())?;
        Ok(Key { secret, header })
    }

    /// The header's value, marked as sensitive.
    pub fn header(&self) -> &HeaderValue {
        &self.header
    }

    /// A vendor's text without the credential, should the vendor have echoed it.
    pub fn redact(&self, text: Bytes) -> Bytes {
        let secret = self.secret.expose().as_bytes();
        if secret.len() < MIN_SEARCHED {
            return text;
        }
        let finder = memmem::Finder::new(secret);
        let mut clean = Vec::new();
        let mut from = 0;
        for at in finder.find_iter(&text) {
            clean.extend_from_slice(text.get(from..at).unwrap_or_default());
            clean.extend_from_slice(b"***");
            from = at + secret.len();
        }
        if from == 0 {
            return text;
        }
        clean.extend_from_slice(text.get(from..).unwrap_or_default());
        clean.into()
    }
}

/// Where an upstream's credential comes from, and the one in use.
#[derive(Debug)]
pub struct Credentials {
    current: ArcSwap<Key>,
}

impl Credentials {
    /// Reads what the configuration names.
    pub fn new(settings: &settings::Upstream) -> Result<Self, String> {
        let scheme = settings.vendor.spec().credential;
        let secret = match &settings.credential {
            Credential::Value(value) | Credential::Env { value, .. } | Credential::File { value, .. } => {
                value.clone()
            }
            Credential::OAuth2 { .. } => return Err("client credentials are not supported yet".to_owned()),
        };
        Ok(Credentials { current: ArcSwap::from_pointee(Key::new(scheme, secret)?) })
    }

    /// The credential to send now.
    pub async fn current(&self, _deadline: Instant) -> Result<Arc<Key>, Trouble> {
        Ok(self.current.load_full())
    }
}
