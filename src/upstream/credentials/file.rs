//! A secret in a file that is read again when it changes.
//!
//! One thread of the process reads every watched file four times a second and compares what stands in it: so a file that
//! is rewritten, renamed over or reached through a symbolic link that is swapped (Kubernetes' `..data`) is the same to
//! it, and times of modification, which such mounts get wrong, do not matter. Watching directories for events would see
//! a change 0.2 s sooner, and on some file systems not at all.
//!
//! A changed text is used when it was read twice, [`SETTLE`] apart: a file caught while it is rewritten in place is not
//! taken half. A file that is missing, empty or otherwise unusable leaves the secret in use as it is. So a change is
//! used within about 0.3 s. A file system that hangs delays the files after it, never a request.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;

use super::stats::Stats;
use crate::settings::Secret;
use crate::types::deadline::Deadline;

/// The time between two readings of every file.
pub const INTERVAL: Duration = Duration::from_millis(250);
/// How long a changed text must stand before it is used.
pub const SETTLE: Duration = Duration::from_millis(25);
/// How often a file is read after a 401, [`SETTLE`] apart, until it is known to be as it was or changed for good.
const LOOKS: u32 = 4;

type Make<T> = Box<dyn Fn(Secret) -> Result<T, String> + Send + Sync>;

/// A file, and what was made of the secret in it.
pub(super) struct WatchedFile<T> {
    upstream: String,
    path: PathBuf,
    make: Make<T>,
    current: ArcSwap<T>,
    state: Mutex<State>,
    /// When the last reading that a 401 asked for began; held while one is under way.
    asked: tokio::sync::Mutex<Option<Instant>>,
    generation: AtomicU64,
    failed: AtomicU64,
}

struct State {
    /// The text in use.
    accepted: Secret,
    /// Another text that was read, and when first.
    candidate: Option<(Secret, Instant)>,
    /// What is wrong with the file.
    fault: Option<String>,
    changed: Option<SystemTime>,
}

/// What a reading found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Same,
    Changed,
    /// Another text, not yet read twice.
    Settling,
    Unusable,
}

impl<T: Send + Sync + 'static> WatchedFile<T> {
    /// Watches a file whose secret was already read; `make` says what becomes of it.
    pub(super) fn new(
        upstream: &str,
        path: &Path,
        initial: &Secret,
        make: impl Fn(Secret) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, String> {
        let state = State { accepted: initial.clone(), candidate: None, fault: None, changed: None };
        let watched = Arc::new(WatchedFile {
            upstream: upstream.to_owned(),
            path: path.to_owned(),
            current: ArcSwap::from_pointee(make(initial.clone())?),
            make: Box::new(make),
            state: Mutex::new(state),
            asked: tokio::sync::Mutex::new(None),
            generation: AtomicU64::new(1),
            failed: AtomicU64::new(0),
        });
        let strong: Arc<dyn Poll> = Arc::<Self>::clone(&watched);
        watch(Arc::downgrade(&strong)).map_err(|e| format!("the file cannot be watched: {e}"))?;
        Ok(watched)
    }

    /// What is in use.
    pub(super) fn load(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// What is in use once the file was read anew, unless that is another than `used` already. All who ask while a
    /// reading is about to begin share it.
    pub(super) async fn reload_if_still(self: &Arc<Self>, used: &Arc<T>, deadline: &Deadline) -> Arc<T> {
        let asked = Instant::now();
        let reading = async {
            let mut last = self.asked.lock().await;
            if last.is_some_and(|began| began >= asked) {
                return;
            }
            let began = Instant::now();
            for _ in 0..LOOKS {
                if !Arc::ptr_eq(&self.load(), used) {
                    break;
                }
                let file = Arc::clone(self);
                // Never on the threads that serve: a file system may hang.
                match tokio::task::spawn_blocking(move || file.look()).await {
                    Ok(Look::Settling | Look::Unusable) => tokio::time::sleep(SETTLE).await,
                    Ok(Look::Same | Look::Changed) | Err(_) => break,
                }
            }
            *last = Some(began);
        };
        // Out of time: what is in use stands.
        if Arc::ptr_eq(&self.load(), used) {
            let _ = deadline.within(reading).await;
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

    fn unusable(&self, state: &mut State, what: String) -> Look {
        state.candidate = None;
        if state.fault.as_ref() != Some(&what) {
            self.failed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                upstream = self.upstream,
                path = %self.path.display(),
                fault = what,
                "the credential file cannot be used; the credential in use stays"
            );
            state.fault = Some(what);
        }
        Look::Unusable
    }
}

/// What the thread does with each file.
trait Poll: Send + Sync {
    fn look(&self) -> Look;
}

impl<T: Send + Sync + 'static> Poll for WatchedFile<T> {
    fn look(&self) -> Look {
        let read = Secret::from_file(&self.path);
        let mut state = self.state();
        let secret = match read {
            Ok(secret) => secret,
            Err(error) => return self.unusable(&mut state, error.into()),
        };
        if secret.expose() == state.accepted.expose() {
            state.candidate = None;
            state.fault = None;
            return Look::Same;
        }
        match &state.candidate {
            Some((candidate, since)) if candidate.expose() == secret.expose() => {
                if since.elapsed() < SETTLE {
                    return Look::Settling;
                }
            }
            _ => {
                state.candidate = Some((secret, Instant::now()));
                return Look::Settling;
            }
        }
        match (self.make)(secret.clone()) {
            Ok(made) => self.current.store(Arc::new(made)),
            Err(error) => return self.unusable(&mut state, error.into()),
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
        Look::Changed
    }
}

impl<T> fmt::Debug for WatchedFile<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Every file that is watched, and the thread that reads them.
struct Watcher {
    files: Vec<Weak<dyn Poll>>,
    thread: Option<JoinHandle<()>>,
}

static WATCHER: Mutex<Watcher> = Mutex::new(Watcher { files: Vec::new(), thread: None });

fn watcher() -> MutexGuard<'static, Watcher> {
    WATCHER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a file from now on, as long as it is of use to somebody.
fn watch(file: Weak<dyn Poll>) -> std::io::Result<()> {
    let mut watcher = watcher();
    watcher.files.push(file);
    if watcher.thread.as_ref().is_none_or(JoinHandle::is_finished) {
        let thread = thread::Builder::new().name("credential-files".to_owned()).spawn(read_for_ever)?;
        watcher.thread = Some(thread);
    }
    Ok(())
}

fn read_for_ever() {
    let mut pause = INTERVAL;
    loop {
        thread::sleep(pause);
        let files: Vec<Arc<dyn Poll>> = {
            let mut watcher = watcher();
            watcher.files.retain(|file| file.strong_count() > 0);
            watcher.files.iter().filter_map(Weak::upgrade).collect()
        };
        // All first looks, then all second ones: many files that change together are as quick as one.
        let settling = files.iter().filter(|file| file.look() == Look::Settling).count();
        pause = if settling > 0 { SETTLE } else { INTERVAL };
    }
}
