//! Reload of a changed configuration while requests run: completely, or not at all.
//!
//! Files are polled and compared by content. Polling sees a file that is written in place, one that is renamed over it,
//! and the swap of a directory link by Kubernetes, on every file system; notifications of the kernel miss some of these.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::admin::vitals::Reloads;
use crate::gateway::file_digests::{self, FileDigests};
use crate::gateway::snapshot::Snapshot;
use crate::settings::{self, Diagnostic, Settings};
use crate::types::build_error::BuildError;

/// Interval at which files are compared.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Time for which files must not change before they are used. An editor may not be done, or a certificate may be replaced
/// before its key.
const SETTLE_TIME: Duration = Duration::from_millis(100);
/// Comparisons after which files that keep changing are used as they are.
const MAX_SETTLE_POLLS: u32 = 20;
/// Interval at which a rejected configuration is tried again. It may lack a file that is not polled here, such as that of
/// a credential.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Files and environment of a configuration, with the content at the latest read.
#[derive(Debug)]
pub struct Source {
    files: Vec<PathBuf>,
    environment: BTreeMap<String, String>,
    seen: FileDigests,
}

impl Source {
    /// Creates a source of files, the later ones overriding the earlier, and of the environment of the process.
    pub fn new(files: Vec<PathBuf>, environment: BTreeMap<String, String>) -> Self {
        let seen = file_digests::digests(files.iter().map(PathBuf::as_path));
        Source { files, environment, seen }
    }

    /// Loads the configuration.
    ///
    /// # Errors
    /// All faults, each with its place and without a secret.
    pub fn load(&self) -> Result<Settings, Vec<Diagnostic>> {
        settings::load(&self.files, &self.environment)
    }

    /// Builds a snapshot of settings that were loaded from this source.
    ///
    /// # Errors
    /// All settings that cannot be put to work, each with its place and without a secret.
    pub fn build(
        &self,
        settings: Settings,
        previous: Option<&Snapshot>,
    ) -> Result<Snapshot, Vec<Diagnostic>> {
        Snapshot::build(settings, previous).map_err(|errors| self.diagnose(errors))
    }

    fn diagnose(&self, errors: Vec<BuildError>) -> Vec<Diagnostic> {
        settings::diagnose(&self.files, &self.environment, errors)
    }
}

/// Keeps the active configuration up to date with its source.
#[derive(Debug)]
pub struct Reloader {
    source: Source,
    snapshot: Arc<ArcSwap<Snapshot>>,
    reloads: Arc<Reloads>,
}

impl Reloader {
    /// Creates a reloader of `snapshot`, which was made from `source`.
    pub fn new(source: Source, snapshot: Arc<ArcSwap<Snapshot>>, reloads: Arc<Reloads>) -> Self {
        Reloader { source, snapshot, reloads }
    }

    /// Reloads when files change and on each notification. Never returns but for a defect.
    pub async fn run(self, requested: Arc<Notify>) {
        let mut reloader = self;
        reloader.source.seen.extend(reloader.snapshot.load().certificates.clone());
        let mut attempted = Instant::now();
        loop {
            let now = tokio::select! {
                () = requested.notified() => true,
                () = tokio::time::sleep(POLL_INTERVAL) => false,
            };
            // A slow disk must not block the runtime.
            let polled = tokio::task::spawn_blocking(move || {
                if reloader.is_due(now, attempted) {
                    attempted = Instant::now();
                    reloader.attempt();
                }
                (reloader, attempted)
            });
            match polled.await {
                Ok((back, at)) => (reloader, attempted) = (back, at),
                Err(_) => {
                    tracing::error!("reloading ended by a defect; the configuration stays as it is");
                    return;
                }
            }
        }
    }

    /// Returns true if a reload was requested, files changed and have settled, or a rejected configuration is to be tried
    /// again.
    fn is_due(&mut self, requested: bool, attempted: Instant) -> bool {
        let mut found = self.digests();
        if !requested && found != self.source.seen {
            for _ in 0..MAX_SETTLE_POLLS {
                std::thread::sleep(SETTLE_TIME);
                let again = self.digests();
                if again == found {
                    break;
                }
                found = again;
            }
        }
        let changed = found != self.source.seen;
        self.source.seen = found;
        requested || changed || (self.reloads.rejection().is_some() && attempted.elapsed() >= RETRY_INTERVAL)
    }

    fn digests(&self) -> FileDigests {
        file_digests::digests(file_digests::sources(&self.snapshot.load().settings))
    }

    fn attempt(&mut self) {
        let current = self.snapshot.load_full();
        let next = self.source.load().and_then(|settings| {
            let fixed = fixed(&current.settings, &settings);
            if fixed.is_empty() {
                self.source.build(settings, Some(&current))
            } else {
                Err(self.source.diagnose(fixed))
            }
        });
        match next {
            Ok(next) => {
                // The content from before certificates were read, so that a change since then is seen by the next poll.
                self.source.seen.retain(|path, _| self.source.files.contains(path));
                self.source.seen.extend(next.certificates.clone());
                let generation = next.generation;
                self.snapshot.store(Arc::new(next));
                self.reloads.record_applied(generation);
            }
            Err(faults) => {
                self.reloads.record_rejected(faults.iter().map(ToString::to_string).collect());
            }
        }
    }
}

/// Returns an error for each changed setting that cannot change while the process runs.
fn fixed(current: &Settings, next: &Settings) -> Vec<BuildError> {
    let shown = |workers: Option<std::num::NonZeroUsize>| {
        workers.map_or_else(|| "one for each CPU".to_owned(), |workers| workers.to_string())
    };
    let pairs = [
        ("server.listen", current.server.listen.to_string(), next.server.listen.to_string()),
        ("server.workers", shown(current.server.workers), shown(next.server.workers)),
        ("admin.listen", current.admin.listen.to_string(), next.admin.listen.to_string()),
        ("log.level", current.log.level.clone(), next.log.level.clone()),
        ("log.access", current.log.access.to_string(), next.log.access.to_string()),
    ];
    pairs
        .into_iter()
        .filter(|(_, current, next)| current != next)
        .map(|(key, current, next)| {
            let message = format!("cannot become '{next}' while parlance runs with '{current}': restart it, or take the change back");
            BuildError::new(key, message)
        })
        .collect()
}
