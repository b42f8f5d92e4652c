//! Secrets in files that are read again when they change.
//!
//! One thread of the process reads every watched file each [`INTERVAL`] and compares its content. A file that is written
//! in place, one that is renamed over it and a swapped symbolic link (Kubernetes' `..data`) are alike, and modification
//! times, which such mounts get wrong, are not used. Directory events would arrive 0.2 s sooner, and on some file
//! systems never.
//!
//! A changed content is used after two equal reads, [`SETTLE`] apart, so that a half-written file is not used: within
//! about 0.3 s. A missing, empty or otherwise unusable file leaves the current secret in use. A file system that hangs
//! delays the files after it, never a request.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;

use super::key::InvalidKey;
use super::stats::Stats;
use crate::settings::Secret;
use crate::types::build_error::BuildError;
use crate::types::deadline::Deadline;

/// Time between two reads of every file.
pub const INTERVAL: Duration = Duration::from_millis(250);
/// Time for which a changed content must stay the same before it is used.
pub const SETTLE: Duration = Duration::from_millis(25);
/// Maximum reads of a file after a 401, [`SETTLE`] apart.
const MAX_READS: u32 = 4;

type Parse<T> = Box<dyn Fn(Secret) -> Result<T, InvalidKey> + Send + Sync>;

/// A watched file, and the current value parsed from its secret.
pub(super) struct WatchedFile<T> {
    upstream: String,
    path: PathBuf,
    parse: Parse<T>,
    current: ArcSwap<T>,
    state: Mutex<State>,
    /// Start of the last reload after a 401. Locked during a reload.
    reloaded: tokio::sync::Mutex<Option<Instant>>,
    generation: AtomicU64,
    failed: AtomicU64,
}

struct State {
    /// The secret in use.
    accepted: Secret,
    /// Another secret, and the time of its first read.
    candidate: Option<(Secret, Instant)>,
    /// Current fault of the file.
    fault: Option<String>,
    changed: Option<SystemTime>,
}

/// Outcome of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadOutcome {
    Same,
    Changed,
    /// Another secret that was not yet read twice.
    Settling,
    Unusable,
}

impl<T: Send + Sync + 'static> WatchedFile<T> {
    /// Watches a file whose `initial` secret was already read; `parse` makes the value of a secret.
    ///
    /// # Errors
    /// An initial secret that cannot be parsed, or no thread for watching.
    pub(super) fn new(
        upstream: &str,
        path: &Path,
        initial: &Secret,
        parse: impl Fn(Secret) -> Result<T, InvalidKey> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, BuildError> {
        let state = State { accepted: initial.clone(), candidate: None, fault: None, changed: None };
        let watched = Arc::new(WatchedFile {
            upstream: upstream.to_owned(),
            path: path.to_owned(),
            current: ArcSwap::from_pointee(parse(initial.clone()).map_err(|e| BuildError::new("file", e))?),
            parse: Box::new(parse),
            state: Mutex::new(state),
            reloaded: tokio::sync::Mutex::new(None),
            generation: AtomicU64::new(1),
            failed: AtomicU64::new(0),
        });
        let file: Arc<dyn Watch> = Arc::<Self>::clone(&watched);
        watch(Arc::downgrade(&file))
            .map_err(|e| BuildError::new("file", format_args!("the file cannot be watched: {e}")))?;
        Ok(watched)
    }

    /// The current value.
    pub(super) fn load(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Re-reads the file unless the current value already differs from `used`, and returns the current value. Concurrent
    /// calls share one read.
    pub(super) async fn reload_if_still(self: &Arc<Self>, used: &Arc<T>, deadline: &Deadline) -> Arc<T> {
        let called = Instant::now();
        let reload = async {
            let mut reloaded = self.reloaded.lock().await;
            if reloaded.is_some_and(|began| began >= called) {
                return;
            }
            let began = Instant::now();
            for _ in 0..MAX_READS {
                if !Arc::ptr_eq(&self.load(), used) {
                    break;
                }
                let file = Arc::clone(self);
                // Not on the runtime's threads: a file system may hang.
                match tokio::task::spawn_blocking(move || file.read()).await {
                    Ok(ReadOutcome::Settling | ReadOutcome::Unusable) => tokio::time::sleep(SETTLE).await,
                    Ok(ReadOutcome::Same | ReadOutcome::Changed) | Err(_) => break,
                }
            }
            *reloaded = Some(began);
        };
        // On a timeout the current value stays.
        if Arc::ptr_eq(&self.load(), used) {
            let _ = deadline.within(reload).await;
        }
        self.load()
    }

    pub(super) fn stats(&self) -> Stats {
        let state = self.state();
        let generation = self.generation.load(Ordering::Relaxed);
        Stats {
            source: "file",
            generation,
            changed: state.changed,
            expires: None,
            renewed: generation - 1,
            failed: self.failed.load(Ordering::Relaxed),
            last_error: state.fault.as_ref().map(|_| "file"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unusable(&self, state: &mut State, fault: String) -> ReadOutcome {
        state.candidate = None;
        if state.fault.as_ref() != Some(&fault) {
            self.failed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                upstream = self.upstream,
                path = %self.path.display(),
                fault,
                "the credential file cannot be used; the credential in use stays"
            );
            state.fault = Some(fault);
        }
        ReadOutcome::Unusable
    }
}

/// A file as the watcher thread sees it.
trait Watch: Send + Sync {
    /// Reads the file and adopts a settled change.
    fn read(&self) -> ReadOutcome;
}

impl<T: Send + Sync + 'static> Watch for WatchedFile<T> {
    fn read(&self) -> ReadOutcome {
        let read = Secret::from_file(&self.path);
        let mut state = self.state();
        let secret = match read {
            Ok(secret) => secret,
            Err(error) => return self.unusable(&mut state, error.to_string()),
        };
        if secret.expose() == state.accepted.expose() {
            state.candidate = None;
            state.fault = None;
            return ReadOutcome::Same;
        }
        match &state.candidate {
            Some((candidate, since)) if candidate.expose() == secret.expose() => {
                if since.elapsed() < SETTLE {
                    return ReadOutcome::Settling;
                }
            }
            _ => {
                state.candidate = Some((secret, Instant::now()));
                return ReadOutcome::Settling;
            }
        }
        match (self.parse)(secret.clone()) {
            Ok(value) => self.current.store(Arc::new(value)),
            Err(error) => return self.unusable(&mut state, error.to_string()),
        }
        state.accepted = secret;
        state.candidate = None;
        state.fault = None;
        state.changed = Some(SystemTime::now());
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::info!(
            upstream = self.upstream,
            path = %self.path.display(),
            generation,
            "the credential file changed; its new content is in use"
        );
        ReadOutcome::Changed
    }
}

impl<T> fmt::Debug for WatchedFile<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Every watched file, and the thread that reads them.
struct Watcher {
    files: Vec<Weak<dyn Watch>>,
    thread: Option<JoinHandle<()>>,
}

static WATCHER: Mutex<Watcher> = Mutex::new(Watcher { files: Vec::new(), thread: None });

fn watcher() -> MutexGuard<'static, Watcher> {
    WATCHER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Watches a file until its last owner drops it. Starts the thread if there is none.
fn watch(file: Weak<dyn Watch>) -> std::io::Result<()> {
    let mut watcher = watcher();
    watcher.files.push(file);
    if watcher.thread.as_ref().is_none_or(JoinHandle::is_finished) {
        let thread = thread::Builder::new().name("credential-files".to_owned()).spawn(watch_files)?;
        watcher.thread = Some(thread);
    }
    Ok(())
}

fn watch_files() {
    let mut pause = INTERVAL;
    loop {
        thread::sleep(pause);
        let files: Vec<Arc<dyn Watch>> = {
            let mut watcher = watcher();
            watcher.files.retain(|file| file.strong_count() > 0);
            watcher.files.iter().filter_map(Weak::upgrade).collect()
        };
        // All first reads come before all second ones: many files that change together settle as fast as one.
        let settling = files.iter().filter(|file| file.read() == ReadOutcome::Settling).count();
        pause = if settling > 0 { SETTLE } else { INTERVAL };
    }
}
