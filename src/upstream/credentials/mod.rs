//! The gateway's own credential at a vendor: a fixed key, a key in a watched file, or a token that is fetched and
//! renewed.
//!
//! | source | change | after a 401 of the vendor |
//! | --- | --- | --- |
//! | `value`, `env` | never | the 401 stands |
//! | `file` | used within about 0.3 s ([`mod@file`]) | the file is read at once; with another key one repeat |
//! | `oauth2` | renewed at 80 % of its life ([`mod@token`]) | one new token for all requests; with it one repeat |

mod endpoint;
pub mod file;
mod key;
mod mask;
mod stats;
pub mod token;

pub use self::key::Key;
pub use self::stats::Stats;

use std::sync::Arc;

use self::file::WatchedFile;
use self::token::Tokens;
use crate::settings::{self, Credential, Secret};
use crate::types::build_error::BuildError;
use crate::types::deadline::Deadline;
use crate::upstream::transport::TransportError;

/// Credential of an upstream, and its source. Clones share both.
#[derive(Debug, Clone)]
pub struct Credentials(Source);

#[derive(Debug, Clone)]
enum Source {
    Fixed(Arc<Key>),
    File(Arc<WatchedFile<Key>>),
    Token(Tokens),
}

impl Credentials {
    /// Prepares the configured credential; fetches no token yet.
    ///
    /// # Errors
    /// A key at or below `credential` that cannot be used.
    pub fn new(settings: &settings::Upstream) -> Result<Self, BuildError> {
        let scheme = settings.vendor.spec().credential;
        let fixed = |secret, place| match Key::new(scheme, secret) {
            Ok(key) => Ok(Source::Fixed(Arc::new(key))),
            Err(error) => Err(BuildError::new(place, error)),
        };
        Ok(Credentials(match &settings.credential {
            Credential::Value(value) => fixed(value, "credential.value")?,
            Credential::Env { value, .. } => fixed(value, "credential.env")?,
            Credential::File { path, value } => {
                let parse = move |secret: Secret| Key::new(scheme, &secret);
                let file = WatchedFile::new(&settings.adapter.name, path, value, parse);
                Source::File(file.map_err(|error| error.below("credential"))?)
            }
            Credential::OAuth2(oauth2) => Source::Token(Tokens::new(settings, oauth2)?),
        }))
    }

    /// The credential to send now. Waits, at most until `deadline`, only for a token.
    ///
    /// # Errors
    /// The token endpoint's error: nothing was sent to the vendor.
    pub async fn current(&self, deadline: &Deadline) -> Result<Arc<Key>, TransportError> {
        match &self.0 {
            Source::Fixed(key) => Ok(Arc::clone(key)),
            Source::File(file) => Ok(file.load()),
            Source::Token(tokens) => tokens.current(deadline).await,
        }
    }

    /// True if another credential can replace one that the vendor refused.
    pub fn is_renewable(&self) -> bool {
        !matches!(self.0, Source::Fixed(_))
    }

    /// The credential to send after a 401 to `used`; `used` itself without another one. Concurrent calls share one read
    /// of the file and one token request.
    ///
    /// # Errors
    /// As [`current`](Self::current).
    pub async fn renew(&self, used: &Arc<Key>, deadline: &Deadline) -> Result<Arc<Key>, TransportError> {
        match &self.0 {
            Source::Fixed(key) => Ok(Arc::clone(key)),
            Source::File(file) => Ok(file.reload_if_still(used, deadline).await),
            Source::Token(tokens) => tokens.renew(used, deadline).await,
        }
    }

    /// State and counters of the credential.
    pub fn stats(&self) -> Stats {
        match &self.0 {
            Source::Fixed(_) => Stats { source: "fixed", generation: 1, ..Stats::default() },
            Source::File(file) => file.stats(),
            Source::Token(tokens) => tokens.stats(),
        }
    }
}
