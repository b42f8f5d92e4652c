//! A changed configuration takes the place of the old one while requests run: whole, or not at all.
//!
//! Files are compared by what stands in them, twice a second. That sees a file that is written in place, one that is
//! renamed over it and Kubernetes' swap of a link to a directory alike, on every file system, and costs less than the
//! watching of directories would cost in special cases.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::admin::vitals::Reloads;
use crate::gateway::snapshot::{Content, Snapshot, content};
use crate::settings::{self, Settings};

/// How often files are compared.
const LOOK: Duration = Duration::from_millis(500);
/// How long files must stay as they are before they are used: an editor may be half-way, a certificate may have changed
/// while its key has not.
const SETTLE: Duration = Duration::from_millis(100);
/// How often files that do not settle are looked at before they are used as they are.
const SETTLE_LOOKS: u32 = 20;
/// How often a rejected configuration is tried again: what it lacks may be a file that nobody watches, such as that of
/// a credential.
const AGAIN: Duration = Duration::from_secs(5);

/// Where a configuration comes from, and what stood there when it was read.
#[derive(Debug)]
pub struct Source {
    files: Vec<PathBuf>,
    environment: BTreeMap<String, String>,
    seen: BTreeMap<PathBuf, Content>,
}

impl Source {
    /// The files in their order, and the environment as it was when the process started.
    pub fn new(files: Vec<PathBuf>, environment: BTreeMap<String, String>) -> Self {
        let seen = files.iter().map(|path| (path.clone(), content(path))).collect();
        Source { files, environment, seen }
    }

    /// Reads it. Every fault at once, each with its place, none with a secret.
    pub fn load(&self) -> Result<Settings, Vec<String>> {
        settings::load(&self.files, &self.environment)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }
}

/// Keeps a live configuration like its source.
#[derive(Debug)]
pub struct Reloader {
    source: Source,
    live: Arc<ArcSwap<Snapshot>>,
    reloads: Arc<Reloads>,
}

impl Reloader {
    /// For a configuration that was made of this source.
    pub fn new(source: Source, live: Arc<ArcSwap<Snapshot>>, reloads: Arc<Reloads>) -> Self {
        Reloader { source, live, reloads }
    }

    /// Works for as long as it is polled: when files change, and when it is asked to.
    pub async fn run(self, asked: Arc<Notify>) {
        let mut reloader = self;
        reloader.source.seen.extend(reloader.live.load().files().clone());
        let mut tried = Instant::now();
        loop {
            let now = tokio::select! {
                () = asked.notified() => true,
                () = tokio::time::sleep(LOOK) => false,
            };
            // Files are read on threads that may wait for a slow disk.
            let looked = tokio::task::spawn_blocking(move || {
                if reloader.is_due(now, tried) {
                    tried = Instant::now();
                    reloader.attempt();
                }
                (reloader, tried)
            });
            match looked.await {
                Ok((back, at)) => (reloader, tried) = (back, at),
                Err(_) => {
                    tracing::error!("reloading ended by a defect; the configuration stays as it is");
                    return;
                }
            }
        }
    }

    /// Whether there is something new, as soon as it has settled.
    fn is_due(&mut self, asked: bool, tried: Instant) -> bool {
        let mut found = self.look();
        if !asked && found != self.source.seen {
            for _ in 0..SETTLE_LOOKS {
                std::thread::sleep(SETTLE);
                let again = self.look();
                if again == found {
                    break;
                }
                found = again;
            }
        }
        let changed = found != self.source.seen;
        self.source.seen = found;
        asked || changed || (self.reloads.rejection().is_some() && tried.elapsed() >= AGAIN)
    }

    fn look(&self) -> BTreeMap<PathBuf, Content> {
        self.live.load().sources().map(|path| (path.to_owned(), content(path))).collect()
    }

    fn attempt(&mut self) {
        let current = self.live.load_full();
        let next = self.source.load().and_then(|settings| {
            let fixed = fixed(&current.settings, &settings);
            if fixed.is_empty() { current.next(settings) } else { Err(fixed) }
        });
        match next {
            Ok(next) => {
                // Certificates as they were before they were read; what changed since is due at the next look.
                self.source.seen.retain(|path, _| self.source.files.contains(path));
                self.source.seen.extend(next.files().clone());
                let generation = next.generation;
                self.live.store(Arc::new(next));
                self.reloads.take(generation);
            }
            Err(faults) => self.reloads.reject(faults),
        }
    }
}

/// What cannot change while the process runs, as faults.
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
