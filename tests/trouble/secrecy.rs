//! Credentials that must be seen nowhere: not in an answer, not in a line of the log.

use std::io::{Result, Write};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Once, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parlance_adapters::ALL;
use testkit::{Reply, Sandbox};

/// A credential as it may be written.
fn codings(key: &str) -> [String; 3] {
    [key.to_owned(), STANDARD.encode(key), key.bytes().map(|byte| format!("{byte:02x}")).collect()]
}

/// Tells whether the credential or a coding of it is anywhere in an answer.
pub(crate) fn is_shown(answer: &Reply, key: &str) -> bool {
    let text = format!("{:?}{}", answer.headers, String::from_utf8_lossy(&answer.body));
    codings(key).iter().any(|code| text.contains(code))
}

static LINES: AtomicUsize = AtomicUsize::new(0);
static LEAKS: AtomicUsize = AtomicUsize::new(0);

/// Codings that no line of the log may hold.
static SOUGHT: RwLock<Vec<String>> = RwLock::new(Vec::new());

struct Search;

impl Write for Search {
    /// The log writes whole lines.
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        LINES.fetch_add(1, Relaxed);
        let sought = SOUGHT.read().unwrap();
        LEAKS.fetch_add(usize::from(sought.iter().any(|code| line.contains(code))), Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// From now on every line that any crate logs, at every level, is searched for the sandbox's credentials.
pub(crate) fn search_logs(sandbox: &Sandbox) {
    let credentials = sandbox.credentials();
    search_logs_for(ALL.iter().flat_map(|adapter| credentials[adapter.spec().vendor].keys.clone()));
}

/// From now on every line that any crate logs, at every level, is searched for these credentials too.
pub(crate) fn search_logs_for(keys: impl IntoIterator<Item = String>) {
    static ONCE: Once = Once::new();
    let codings = keys.into_iter().flat_map(|key| codings(&key));
    let mut sought = SOUGHT.write().unwrap();
    sought.extend(codings);
    sought.sort();
    sought.dedup();
    drop(sought);
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
        tracing::subscriber::set_global_default(subscriber.with_writer(|| Search).finish()).unwrap();
    });
}

/// Lines that were logged, and those of them that show a credential.
pub(crate) fn searched() -> (usize, usize) {
    (LINES.load(Relaxed), LEAKS.load(Relaxed))
}
