//! What one configuration looks like at work.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::gateway::callers::Callers;
use crate::gateway::routing::Routes;
use crate::idempotency::Idempotency;
use crate::server::tls::Tls;
use crate::settings::{self, Settings};
use crate::telemetry::traffic::Traffic;
use crate::upstream::Upstream;

/// More than the settings take of any file.
const MAX_FILE: u64 = 2 * 1024 * 1024;

/// What stood in a file; none where it could not be read.
pub type Content = Option<[u8; 32]>;

/// One whole configuration at work: a request uses the same one from its start to its end.
#[derive(Debug)]
pub struct Snapshot {
    /// The configuration.
    pub settings: Arc<Settings>,
    /// Its upstreams and rules.
    pub routes: Routes,
    /// Its stored answers.
    pub idempotency: Idempotency,
    /// Who may call.
    pub callers: Callers,
    /// TLS of the API listener; without it plain HTTP.
    pub tls: Option<Arc<Tls>>,
    /// How many configurations were at work in this process before this one, and this one.
    pub generation: u64,
    /// Since when it is at work.
    pub since: Timestamp,
    /// The certificates and keys that it was made of.
    files: BTreeMap<PathBuf, Content>,
}

impl Snapshot {
    /// Prepares everything that a configuration needs; connects to nothing. Every fault at once.
    pub fn new(settings: Settings) -> Result<Self, Vec<String>> {
        Snapshot::made(settings, None)
    }

    /// Prepares the configuration that follows this one. What did not change is taken over as it is: an upstream with
    /// its connections, stored answers, a caller's limit with its count, TLS with its sessions.
    pub fn next(&self, settings: Settings) -> Result<Self, Vec<String>> {
        Snapshot::made(settings, Some(self))
    }

    fn made(settings: Settings, previous: Option<&Snapshot>) -> Result<Self, Vec<String>> {
        let settings = Arc::new(settings);
        // Noted before the files are used: one that changes in between is used again, not missed.
        let files: BTreeMap<PathBuf, Content> =
            certificate_files(&settings).map(|path| (path.to_owned(), content(path))).collect();
        let unchanged = |path: &Path| previous.is_some_and(|live| live.files.get(path) == files.get(path));
        let mut faults = Vec::new();

        let mut upstreams = BTreeMap::new();
        for (name, upstream) in &settings.upstreams {
            let known = previous.and_then(|live| live.routes.upstreams().get(name));
            let same = known.filter(|known| {
                known.settings == *upstream && upstream.ca_file.as_deref().is_none_or(unchanged)
            });
            let made = match same {
                Some(same) => Ok(Arc::clone(same)),
                None => Upstream::new(upstream.clone(), traffic(known, name, upstream)).map(Arc::new),
            };
            match made {
                Ok(upstream) => {
                    upstreams.insert(name.clone(), upstream);
                }
                Err(error) => faults.push(error.below(&format!("upstreams.{name}")).to_string()),
            }
        }

        let mut tls = None;
        if let Some(wanted) = &settings.server.tls {
            let known = previous.and_then(|live| {
                let same = live.settings.server.tls.as_ref() == Some(wanted);
                live.tls.as_ref().filter(|_| same && files_of(wanted).all(unchanged))
            });
            match known.map_or_else(|| Tls::new(wanted).map(Arc::new), |same| Ok(Arc::clone(same))) {
                Ok(made) => tls = Some(made),
                Err(fault) => faults.push(fault),
            }
        }

        let idempotency =
            Idempotency::new(&settings.idempotency).map_err(|error| faults.push(error.to_string()));
        let idempotency = match idempotency {
            Ok(idempotency) if faults.is_empty() => match previous {
                Some(live) => idempotency.carry(&live.idempotency),
                None => idempotency,
            },
            _ => return Err(faults),
        };
        Ok(Snapshot {
            idempotency,
            callers: Callers::new(&settings.callers, previous.map(|live| &live.callers)),
            routes: Routes::new(Arc::clone(&settings), upstreams),
            tls,
            generation: previous.map_or(1, |live| live.generation + 1),
            since: Timestamp::now(),
            files,
            settings,
        })
    }

    /// The certificates and keys that it was made of, and what stood in them just before.
    pub fn files(&self) -> &BTreeMap<PathBuf, Content> {
        &self.files
    }

    /// Every file that makes another configuration when it changes. Files that hold one credential are not among
    /// them: whoever uses a credential reads it again.
    pub fn sources(&self) -> impl Iterator<Item = &Path> {
        self.settings.files.iter().map(PathBuf::as_path).chain(certificate_files(&self.settings))
    }
}

/// Where an upstream's traffic is counted: with that of the upstream of the same name and vendor before it.
fn traffic(known: Option<&Arc<Upstream>>, name: &str, upstream: &settings::Upstream) -> Arc<Traffic> {
    let vendor = upstream.vendor.spec().vendor;
    let known = known.map(|known| &known.traffic).filter(|traffic| traffic.is_of(vendor));
    known.map_or_else(|| Arc::new(Traffic::new(Arc::from(name), vendor)), Arc::clone)
}

fn certificate_files(settings: &Settings) -> impl Iterator<Item = &Path> {
    let authorities = settings.upstreams.values().filter_map(|upstream| upstream.ca_file.as_deref());
    settings.server.tls.iter().flat_map(files_of).chain(authorities)
}

fn files_of(tls: &crate::settings::ServerTls) -> impl Iterator<Item = &Path> {
    [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()]
        .into_iter()
        .flatten()
        .map(PathBuf::as_path)
}

/// What stands in a file now, as the SHA-256 of its beginning, which no file that is used exceeds: times and sizes say
/// too little where files are swapped by links.
pub fn content(path: &Path) -> Content {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    Some(Sha256::digest(bytes).into())
}
