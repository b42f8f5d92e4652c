//! Credentials that must be seen nowhere: not in an answer, not in a line of the log.

use std::io::{Result, Write};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Once};

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

struct Search(Arc<[String]>);

impl Write for Search {
    /// The log writes whole lines.
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        LINES.fetch_add(1, Relaxed);
        LEAKS.fetch_add(usize::from(self.0.iter().any(|code| line.contains(code))), Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// From now on every line that any crate logs, at every level, is searched for the sandbox's credentials.
pub(crate) fn search_logs(sandbox: &Sandbox) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let credentials = sandbox.credentials();
        let keys = ALL.iter().flat_map(|adapter| &credentials[adapter.spec().vendor].keys);
        let secrets: Arc<[String]> = keys.flat_map(|key| codings(key)).collect();
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
        let subscriber = subscriber.with_writer(move || Search(Arc::clone(&secrets)));
        tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    });
}

/// Lines that were logged, and those of them that show a credential.
pub(crate) fn searched() -> (usize, usize) {
    (LINES.load(Relaxed), LEAKS.load(Relaxed))
}
