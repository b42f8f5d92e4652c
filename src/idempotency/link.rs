//! Connection to the shared store: opened on demand, dropped when silent, reopened with pauses.
//!
//! All requests share one connection. Replies come in the order of the commands, so one late reply delays all others.
//! While a reply is late, further requests fail at once instead of waiting.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo, RedisError, TlsCertificates, Value};
use tokio::sync::watch;
use tokio::time::timeout;

use super::claim::StoreError;
use crate::settings::Secret;
use crate::settings::limited_file;
use crate::types::build_error::BuildError;

/// Timeout of connecting: name lookup, TCP, TLS and password. Requests wait for at most their own `store_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Silence, after a command that timed out, that ends the connection.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(1);
/// First and longest pause between attempts to connect.
const CONNECT_PAUSES: (Duration, Duration) = (Duration::from_millis(40), Duration::from_millis(500));
/// Largest certificate file, in bytes.
const MAX_CA_FILE: u64 = 1024 * 1024;

/// Connection to the store, if there is one. Clones share it.
#[derive(Clone)]
pub(super) struct StoreConnection(Arc<Inner>);

struct Inner {
    client: Client,
    state: watch::Sender<State>,
    pace: Mutex<Pace>,
    connections: AtomicU64,
    failure_reported: AtomicBool,
}

#[derive(Clone)]
enum State {
    Down,
    Connecting,
    Up(Up),
}

#[derive(Clone)]
struct Up {
    number: u64,
    connection: MultiplexedConnection,
    silent: Arc<AtomicBool>,
}

/// Earliest time of the next attempt to connect, and the pause before it.
struct Pace {
    not_before: Instant,
    pause: Duration,
}

impl fmt::Debug for StoreConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConnection").field("up", &self.is_up()).finish_non_exhaustive()
    }
}

impl StoreConnection {
    /// Reads the URL and the CA file; connects to nothing.
    pub(super) fn new(url: &Secret, ca_file: Option<&Path>) -> Result<Self, BuildError> {
        let unusable = |error: RedisError| {
            BuildError::new("idempotency.store", format!("the URL cannot be used ({})", describe(&error)))
        };
        let info = url.expose().into_connection_info().map_err(unusable)?;
        // Small commands go out at once.
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let tls = url.expose().starts_with("rediss:") || url.expose().starts_with("valkeys:");
        let client = match ca_file.filter(|_| tls) {
            None => Client::open(info).map_err(unusable)?,
            Some(path) => {
                let pem = limited_file::read_limited(path, MAX_CA_FILE)
                    .map_err(|error| ca_file_error(path, error))?;
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem) };
                Client::build_with_tls(info, certificates)
                    .map_err(|_| ca_file_error(path, "holds a certificate that cannot be used"))?
            }
        };
        Ok(StoreConnection(Arc::new(Inner {
            client,
            state: watch::Sender::new(State::Down),
            pace: Mutex::new(Pace { not_before: Instant::now(), pause: Duration::ZERO }),
            connections: AtomicU64::new(0),
            failure_reported: AtomicBool::new(false),
        })))
    }

    /// True if both are the same connection.
    pub(super) fn is(&self, other: &StoreConnection) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// True if there is a connection and no reply is late.
    pub(super) fn is_up(&self) -> bool {
        matches!(&*self.0.state.borrow(), State::Up(up) if !up.silent.load(Relaxed))
    }

    /// Sends `command`; times out after `limit`, connecting included. On timeout sends `after_timeout` on the same
    /// connection. If the connection turns out to be closed, sends `command` once more on a new one: a connection that the
    /// server closed while it was idle costs no request. So every command must be safe to repeat.
    pub(super) async fn call(
        &self,
        command: &Cmd,
        limit: Duration,
        after_timeout: impl FnOnce() -> Cmd,
    ) -> Result<Value, StoreError> {
        let deadline = tokio::time::Instant::now() + limit;
        let mut up = self.up(deadline).await?;
        let send = async |up: &mut Up| {
            tokio::time::timeout_at(deadline, command.query_async::<Value>(&mut up.connection)).await
        };
        let mut reply = send(&mut up).await;
        if matches!(&reply, Ok(Err(error)) if error.code().is_none()) {
            self.0.give_up(&up);
            // The first one may have been executed, whatever became of its reply.
            up = self.up(deadline).await.map_err(|_| StoreError::Lost)?;
            reply = send(&mut up).await;
        }
        match reply {
            Ok(Ok(value)) => {
                self.0.succeeded();
                Ok(value)
            }
            Ok(Err(error)) => Err(self.0.failed(&up, &error)),
            Err(_) => {
                up.silent.store(true, Relaxed);
                self.0.report("no answer in time");
                let (inner, command) = (Arc::clone(&self.0), after_timeout());
                tokio::spawn(async move {
                    match timeout(SILENCE_TIMEOUT, command.query_async::<Value>(&mut up.connection)).await {
                        Ok(Err(error)) if error.code().is_none() => {
                            inner.failed(&up, &error);
                        }
                        Ok(_) => {
                            up.silent.store(false, Relaxed);
                            inner.succeeded();
                        }
                        Err(_) => inner.give_up(&up),
                    }
                });
                Err(StoreError::Slow)
            }
        }
    }

    /// The connection. If there is none, one attempt to connect serves all who wait.
    async fn up(&self, deadline: tokio::time::Instant) -> Result<Up, StoreError> {
        let mut state = self.0.state.subscribe();
        if let State::Up(up) = &*state.borrow_and_update() {
            return if up.silent.load(Relaxed) { Err(StoreError::Down) } else { Ok(up.clone()) };
        }
        Inner::connect(&self.0);
        let connected = state.wait_for(|state| !matches!(state, State::Connecting));
        match tokio::time::timeout_at(deadline, connected).await {
            Ok(Ok(state)) => match &*state {
                State::Up(up) => Ok(up.clone()),
                State::Down | State::Connecting => Err(StoreError::Down),
            },
            Ok(Err(_)) | Err(_) => Err(StoreError::Down),
        }
    }
}

impl Inner {
    /// Starts to connect, unless an attempt runs already or the pause is not over.
    fn connect(inner: &Arc<Self>) {
        let started = inner.state.send_if_modified(|state| {
            let start = matches!(state, State::Down) && inner.pace().not_before <= Instant::now();
            if start {
                *state = State::Connecting;
            }
            start
        });
        if started {
            let attempt = Attempt(Arc::clone(inner));
            tokio::spawn(attempt.run());
        }
    }

    fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resets the pause after a reply.
    fn succeeded(&self) {
        if self.failure_reported.load(Relaxed) && self.failure_reported.swap(false, Relaxed) {
            tracing::info!("the store of idempotency records answers again");
        }
        let mut pace = self.pace();
        pace.pause = Duration::ZERO;
    }

    /// Sets the pause before the next attempt, and doubles the one after it. The first attempt after a reply has none.
    /// Jitter keeps replicas apart.
    fn slow_down(&self) {
        let mut pace = self.pace();
        pace.not_before = Instant::now() + pace.pause.mul_f64((1.0 + fastrand::f64()) / 2.0);
        pace.pause = (pace.pause * 2).clamp(CONNECT_PAUSES.0, CONNECT_PAUSES.1);
    }

    /// Maps an error of a command, and drops the connection unless the error is about one key or about memory.
    fn failed(&self, up: &Up, error: &RedisError) -> StoreError {
        let Some(code) = error.code() else {
            self.report(&describe(error));
            self.give_up(up);
            return StoreError::Lost;
        };
        // After other errors, such as READONLY from a replica or NOAUTH, a new connection may reach a server that works.
        if !matches!(code, "WRONGTYPE" | "OOM") {
            self.give_up(up);
        }
        self.report(&describe(error));
        StoreError::Refused(code.to_owned())
    }

    /// Drops the connection, unless it was replaced already.
    fn give_up(&self, up: &Up) {
        let dropped = self.state.send_if_modified(|state| {
            let is_current = matches!(state, State::Up(now) if now.number == up.number);
            if is_current {
                *state = State::Down;
            }
            is_current
        });
        if dropped {
            self.slow_down();
        }
    }

    /// Logs a failure, once until the store answers again.
    fn report(&self, why: &str) {
        if !self.failure_reported.swap(true, Relaxed) {
            tracing::warn!(why, "the store of idempotency records fails");
        }
    }
}

/// Attempt to connect. Dropping it, on failure or panic too, ends the state [`State::Connecting`].
struct Attempt(Arc<Inner>);

impl Attempt {
    async fn run(self) {
        // Calls have their own timeouts.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connecting = self.0.client.get_multiplexed_async_connection_with_config(&config);
        match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => {
                let number = self.0.connections.fetch_add(1, Relaxed);
                let up = Up { number, connection: connection.clone(), silent: Arc::default() };
                self.0.state.send_replace(State::Up(up));
                warn_of_eviction(connection).await;
            }
            Ok(Err(error)) => self.0.report(&describe(&error)),
            Err(_) => self.0.report("no connection in time"),
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let failed = self.0.state.send_if_modified(|state| {
            let unfinished = matches!(state, State::Connecting);
            if unfinished {
                *state = State::Down;
            }
            unfinished
        });
        if failed {
            self.0.slow_down();
        }
    }
}

/// Logs a warning if the store may evict records: a request whose record is lost would run twice.
async fn warn_of_eviction(mut connection: MultiplexedConnection) {
    let mut command = redis::cmd("INFO");
    command.arg("memory");
    let Ok(Ok(info)) = timeout(SILENCE_TIMEOUT, command.query_async::<String>(&mut connection)).await else {
        return;
    };
    let value =
        |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    if value("maxmemory").is_some_and(|bytes| bytes != "0")
        && let Some(policy) = value("maxmemory_policy").filter(|policy| *policy != "noeviction")
    {
        tracing::warn!(
            policy,
            "the store of idempotency records may drop them when its memory is full; set maxmemory-policy to noeviction"
        );
    }
}

fn ca_file_error(path: &Path, what: impl fmt::Display) -> BuildError {
    BuildError::new("idempotency.ca_file", format!("the file {} {what}", path.display()))
}

/// Code or category of an error. Its text is not shown, because it may repeat what was sent.
fn describe(error: &RedisError) -> String {
    match error.code() {
        Some(code) => code.to_owned(),
        None if error.is_connection_refusal() => "connection refused".to_owned(),
        None => error.category().to_owned(),
    }
}
