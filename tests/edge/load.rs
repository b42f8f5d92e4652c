//! Callers that keep a gateway busy and forgive nothing.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustls::ClientConfig;
use serde_json::json;
use testkit::{Connection, PATIENCE};

use crate::bench::{ID, patch, secured};

/// The answers that the callers of a load saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    good: AtomicU64,
    failed: std::sync::Mutex<Vec<String>>,
}

impl Seen {
    fn fail(&self, what: String) {
        self.failed.lock().unwrap().push(what);
    }

    pub(crate) fn good(&self) -> u64 {
        self.good.load(Ordering::Relaxed)
    }

    /// The number of requests that failed, and of all that were sent.
    pub(crate) fn failed(&self) -> (usize, usize) {
        let failed = self.failed.lock().unwrap().len();
        (failed, failed + usize::try_from(self.good()).unwrap())
    }

    #[track_caller]
    pub(crate) fn is_perfect(&self) {
        let failed = self.failed.lock().unwrap();
        assert!(
            failed.is_empty(),
            "{} of {}: {:?}",
            failed.len(),
            self.good(),
            &failed[..failed.len().min(5)]
        );
    }
}

/// Callers with kept connections that ask one after the other, as a balancer would have them: where the ready
/// addresses are is looked up for each connection, and an address that takes no connection is no failure.
pub(crate) struct Callers {
    pub(crate) seen: Arc<Seen>,
    over: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Callers {
    pub(crate) fn start(
        number: usize,
        tls: Option<&Arc<ClientConfig>>,
        ready: impl Fn() -> Option<SocketAddr> + Clone + Send + Sync + 'static,
    ) -> Self {
        Callers::start_with(number, tls, ready, |_| String::new())
    }

    /// Each request has the headers, whole lines, that there are for its caller's number then.
    pub(crate) fn start_with(
        number: usize,
        tls: Option<&Arc<ClientConfig>>,
        ready: impl Fn() -> Option<SocketAddr> + Clone + Send + Sync + 'static,
        headers: impl Fn(usize) -> String + Clone + Send + Sync + 'static,
    ) -> Self {
        let (seen, over) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
        let tasks = (0..number)
            .map(|number| {
                let (seen, over) = (Arc::clone(&seen), Arc::clone(&over));
                let (ready, headers, tls) = (ready.clone(), headers.clone(), tls.cloned());
                tokio::spawn(async move {
                    while !over.load(Ordering::Relaxed) {
                        let Some(address) = ready() else { break };
                        let conn = match &tls {
                            None => Connection::open(address).await,
                            Some(config) => secured(address, config).await,
                        };
                        match conn {
                            Ok(conn) => ask(conn, number, &headers, &seen, &over).await,
                            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                            Err(error) => seen.fail(format!("connecting: {error}")),
                        }
                    }
                })
            })
            .collect();
        Callers { seen, over, tasks }
    }

    pub(crate) async fn end(self) -> Arc<Seen> {
        self.over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
        }
        self.seen
    }
}

/// Asks on one connection until it is over, or an answer says that it is the last.
async fn ask(
    mut conn: Connection,
    number: usize,
    headers: &impl Fn(usize) -> String,
    seen: &Seen,
    over: &AtomicBool,
) {
    // Not all callers keep connections for equally long.
    for count in 0..(5 + 40 * number) {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let context = format!("c{number}-{count}");
        let request = patch(ID, &headers(number), &json!({ "context": context }).to_string());
        match conn.exchange(&request).await {
            Ok(answer) if answer.status == 200 && answer.json()["context"] == context => {
                seen.good.fetch_add(1, Ordering::Relaxed);
                if answer.is_last() {
                    return;
                }
            }
            Ok(answer) => {
                return seen.fail(format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)));
            }
            Err(error) => return seen.fail(format!("request {count} of {number}: {error}")),
        }
    }
}
