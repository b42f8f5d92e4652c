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
use crate::gateway::snapshot::{Content, Snapshot, content};
use crate::settings::{self, Settings};

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
    seen: BTreeMap<PathBuf, Content>,
}

impl Source {
    /// Creates a source of files, the later ones overriding the earlier, and of the environment of the process.
    pub fn new(files: Vec<PathBuf>, environment: BTreeMap<String, String>) -> Self {
        let seen = files.iter().map(|path| (path.clone(), content(path))).collect();
        Source { files, environment, seen }
    }

    /// Loads the configuration.
    ///
    /// # Errors
    /// All faults, each with its place and without a secret.
    pub fn load(&self) -> Result<Settings, Vec<String>> {
        settings::load(&self.files, &self.environment)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect())
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
        reloader.source.seen.extend(reloader.snapshot.load().files().clone());
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
        let mut found = self.contents();
        if !requested && found != self.source.seen {
            for _ in 0..MAX_SETTLE_POLLS {
                std::thread::sleep(SETTLE_TIME);
                let again = self.contents();
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

    fn contents(&self) -> BTreeMap<PathBuf, Content> {
        self.snapshot.load().sources().map(|path| (path.to_owned(), content(path))).collect()
    }

    fn attempt(&mut self) {
        let current = self.snapshot.load_full();
        let next = self.source.load().and_then(|settings| {
            let fixed = fixed(&current.settings, &settings);
            if fixed.is_empty() { current.next(settings) } else { Err(fixed) }
        });
        match next {
            Ok(next) => {
                // The content from before certificates were read, so that a change since then is seen by the next poll.
                self.source.seen.retain(|path, _| self.source.files.contains(path));
                self.source.seen.extend(next.files().clone());
                let generation = next.generation;
                self.snapshot.store(Arc::new(next));
                self.reloads.record_applied(generation);
            }
            Err(faults) => self.reloads.record_rejected(faults),
        }
    }
}

/// Returns a fault for each changed setting that cannot change while the process runs.
fn fixed(current: &Settings, next: &Settings) -> Vec<String> {
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
            format!("{key}: cannot become '{next}' while parlance runs with '{current}': restart it, or take the change back")
        })
        .collect()
}
