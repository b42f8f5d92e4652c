//! The gateway's own credential at a vendor: a fixed key, a key in a file that is read again when it changes, or a token
//! that is fetched and renewed.
//!
//! | source | a change is seen | after a 401 of the vendor |
//! | --- | --- | --- |
//! | `value`, `env` | never | the 401 stands |
//! | `file` | within about 0.3 s ([`mod@file`]) | the file is read at once; with another key one repeat |
//! | `oauth2` | renewed at 80 % of its life ([`mod@token`]) | one new token for all who wait; with it one repeat |

mod endpoint;
pub mod file;
mod key;
mod stats;
pub mod token;

pub use self::key::Key;
pub use self::stats::Stats;

use std::sync::Arc;

use self::file::WatchedFile;
use self::token::Tokens;
use crate::settings::{self, Credential, Secret};
use crate::types::deadline::Deadline;
use crate::upstream::transport::TransportError;

/// Where an upstream's credential comes from, and the one in use. A clone is the same credential.
#[derive(Debug, Clone)]
pub struct Credentials(Source);

#[derive(Debug, Clone)]
enum Source {
    Fixed(Arc<Key>),
    File(Arc<WatchedFile<Key>>),
    Token(Tokens),
}

impl Credentials {
    /// Prepares what the configuration names; fetches nothing yet. The error says what cannot be used.
    pub fn new(settings: &settings::Upstream) -> Result<Self, String> {
        let scheme = settings.vendor.spec().credential;
        Ok(Credentials(match &settings.credential {
            Credential::Value(value) | Credential::Env { value, .. } => {
                Source::Fixed(Arc::new(Key::new(scheme, value)?))
            }
            Credential::File { path, value } => {
                let make = move |secret: Secret| Key::new(scheme, &secret);
                Source::File(WatchedFile::new(&settings.adapter.name, path, value, make)?)
            }
            Credential::OAuth2(oauth2) => Source::Token(Tokens::new(settings, oauth2)?),
        }))
    }

    /// The credential to send now. Waits, until `deadline` at most, only where there is no valid token. Every trouble is
    /// the token endpoint's: nothing was sent to the vendor.
    pub async fn current(&self, deadline: &Deadline) -> Result<Arc<Key>, TransportError> {
        match &self.0 {
            Source::Fixed(key) => Ok(Arc::clone(key)),
            Source::File(file) => Ok(file.load()),
            Source::Token(tokens) => tokens.current(deadline).await,
        }
    }

    /// Whether another credential could take the place of one that the vendor refused.
    pub fn is_renewable(&self) -> bool {
        !matches!(self.0, Source::Fixed(_))
    }

    /// The credential to use after the vendor answered 401 to `used`; `used` itself where there is no other. However
    /// many ask at a time, the file is read and a token is fetched once. Troubles as in [`current`](Self::current).
    pub async fn renew(&self, used: &Arc<Key>, deadline: &Deadline) -> Result<Arc<Key>, TransportError> {
        match &self.0 {
            Source::Fixed(key) => Ok(Arc::clone(key)),
            Source::File(file) => Ok(file.reload_if_still(used, deadline).await),
            Source::Token(tokens) => tokens.renew(used, deadline).await,
        }
    }

    /// What happened to it so far.
    pub fn stats(&self) -> Stats {
        match &self.0 {
            Source::Fixed(_) => Stats { source: "fixed", generation: 1, ..Stats::default() },
            Source::File(file) => file.stats(),
            Source::Token(tokens) => tokens.stats(),
        }
    }
}
