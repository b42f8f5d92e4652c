//! Snapshot of a configuration in use: its settings and the services built from them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use crate::gateway::callers::Callers;
use crate::gateway::file_digests::{self, FileDigests};
use crate::gateway::routing::Routes;
use crate::idempotency::Idempotency;
use crate::server::tls::Tls;
use crate::settings::{self, Settings};
use crate::telemetry::traffic::Traffic;
use crate::types::build_error::BuildError;
use crate::upstream::Upstream;

/// One configuration in use. A request uses the same snapshot from start to end.
#[derive(Debug)]
pub struct Snapshot {
    /// Settings.
    pub settings: Arc<Settings>,
    /// Upstreams and routing rules.
    pub routes: Routes,
    /// Keyed requests and their store.
    pub idempotency: Idempotency,
    /// Configured callers.
    pub callers: Callers,
    /// TLS of the API listener; `None` for plain HTTP.
    pub tls: Option<Arc<Tls>>,
    /// Number of this configuration in the process, counted from 1.
    pub generation: u64,
    /// Time since which it is in use.
    pub since: Timestamp,
    /// Digests of the certificates and keys that it was built from, taken before they were read.
    pub certificates: FileDigests,
}

impl Snapshot {
    /// Builds everything that a configuration needs; connects to nothing. Parts of `previous` whose settings and files are
    /// unchanged are kept: an upstream with its connections, stored responses, the count of a caller's limit, TLS sessions.
    ///
    /// # Errors
    ///
    /// All settings that cannot be put to work.
    pub fn build(settings: Settings, previous: Option<&Snapshot>) -> Result<Self, Vec<BuildError>> {
        let settings = Arc::new(settings);
        // Before the files are read: a change in between is seen as a change, and the file is read again.
        let certificates = file_digests::digests(file_digests::certificates(&settings));
        let unchanged = |path: &Path| {
            previous.is_some_and(|previous| previous.certificates.get(path) == certificates.get(path))
        };
        let mut errors = Vec::new();

        let mut upstreams = BTreeMap::new();
        for (name, upstream) in &settings.upstreams {
            let known = previous.and_then(|previous| previous.routes.upstreams().get(name));
            let same = known.filter(|known| {
                known.settings == *upstream && upstream.ca_file.as_deref().is_none_or(unchanged)
            });
            let built = match same {
                Some(same) => Ok(Arc::clone(same)),
                None => Upstream::new(upstream.clone(), traffic(known, name, upstream)).map(Arc::new),
            };
            match built {
                Ok(upstream) => {
                    upstreams.insert(name.clone(), upstream);
                }
                Err(error) => errors.push(error.below(&format!("upstreams.{name}"))),
            }
        }

        let tls = settings.server.tls.as_ref().and_then(|wanted| {
            let same = previous.filter(|previous| {
                previous.settings.server.tls.as_ref() == Some(wanted)
                    && file_digests::tls_files(wanted).all(unchanged)
            });
            match same.and_then(|previous| previous.tls.as_ref()) {
                Some(same) => Some(Arc::clone(same)),
                None => Tls::new(wanted).map(Arc::new).map_err(|error| errors.push(error)).ok(),
            }
        });

        let idempotency = Idempotency::new(&settings.idempotency, settings.callers.len());
        let idempotency = idempotency.map_err(|error| errors.push(error)).ok();
        let Some(idempotency) = idempotency.filter(|_| errors.is_empty()) else { return Err(errors) };
        Ok(Snapshot {
            idempotency: match previous {
                Some(previous) => idempotency.carry(&previous.idempotency),
                None => idempotency,
            },
            callers: Callers::new(&settings.callers, previous.map(|previous| &previous.callers)),
            routes: Routes::new(Arc::clone(&settings), upstreams),
            tls,
            generation: previous.map_or(1, |previous| previous.generation + 1),
            since: Timestamp::now(),
            certificates,
            settings,
        })
    }
}

/// Instruments of an upstream: those of the upstream with the same name and vendor before it, if there was one.
fn traffic(known: Option<&Arc<Upstream>>, name: &str, upstream: &settings::Upstream) -> Arc<Traffic> {
    let vendor = upstream.vendor.spec().vendor;
    let known = known.map(|known| &known.traffic).filter(|traffic| traffic.is_of(vendor));
    known.map_or_else(|| Arc::new(Traffic::new(Arc::from(name), vendor)), Arc::clone)
}
