//! The one connection to the shared store: made when it is needed, given up when it is silent, made anew at a pace.
//!
//! All requests share it: commands are answered in their order, so behind one that is late everything is late. While
//! that lasts, requests are told at once instead of each waiting in turn.

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

/// For a connection: name, TCP, TLS, password. Requests that wait for it give up sooner.
const CONNECT: Duration = Duration::from_secs(1);
/// After a command without an answer: silence for so long ends the connection.
const SILENCE: Duration = Duration::from_secs(1);
/// Between attempts to connect: the first pause and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(40), Duration::from_millis(500));
/// The largest certificate file.
const MAX_CA_FILE: u64 = 1024 * 1024;

/// The connection, if there is one. A clone is the same one.
#[derive(Clone)]
pub(super) struct StoreConnection(Arc<Inner>);

struct Inner {
    client: Client,
    state: watch::Sender<State>,
    pace: Mutex<Pace>,
    made: AtomicU64,
    told: AtomicBool,
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

/// When the next attempt may begin.
struct Pace {
    not_before: Instant,
    pause: Duration,
}

impl fmt::Debug for StoreConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("up", &self.is_up()).finish_non_exhaustive()
    }
}

impl StoreConnection {
    /// Reads the URL and the authorities; connects to nothing.
    pub(super) fn new(url: &Secret, ca_file: Option<&Path>) -> Result<Self, String> {
        let unusable = |error: RedisError| format!("store: the URL cannot be used ({})", about(&error));
        let info = url.expose().into_connection_info().map_err(unusable)?;
        // Small commands go out at once.
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let tls = url.expose().starts_with("rediss:") || url.expose().starts_with("valkeys:");
        let client = match ca_file.filter(|_| tls) {
            None => Client::open(info),
            Some(path) => {
                let root_cert = Some(read(path).map_err(|why| format!("ca_file: {why}"))?);
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
            }
        };
        Ok(StoreConnection(Arc::new(Inner {
            client: client.map_err(unusable)?,
            state: watch::Sender::new(State::Down),
            pace: Mutex::new(Pace { not_before: Instant::now(), pause: Duration::ZERO }),
            made: AtomicU64::new(0),
            told: AtomicBool::new(false),
        })))
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(&*self.0.state.borrow(), State::Up(up) if !up.silent.load(Relaxed))
    }

    /// Sends a command and waits for its answer, for at most `patience`, connecting included. If there is none,
    /// `after_silence` is sent behind it on the same connection.
    pub(super) async fn call(
        &self,
        command: &Cmd,
        patience: Duration,
        after_silence: impl FnOnce() -> Cmd,
    ) -> Result<Value, StoreError> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut up = self.up(deadline).await?;
        match tokio::time::timeout_at(deadline, command.query_async::<Value>(&mut up.connection)).await {
            Ok(Ok(value)) => {
                self.0.works();
                Ok(value)
            }
            Ok(Err(error)) => Err(self.0.failed(&up, &error)),
            Err(_) => {
                up.silent.store(true, Relaxed);
                self.0.tell("no answer in time");
                let (inner, command) = (Arc::clone(&self.0), after_silence());
                tokio::spawn(async move {
                    match timeout(SILENCE, command.query_async::<Value>(&mut up.connection)).await {
                        Ok(Err(error)) if error.code().is_none() => {
                            inner.failed(&up, &error);
                        }
                        Ok(_) => {
                            up.silent.store(false, Relaxed);
                            inner.works();
                        }
                        Err(_) => inner.give_up(&up),
                    }
                });
                Err(StoreError::Slow)
            }
        }
    }

    /// The connection; if there is none, one is made, which others wait for as well.
    async fn up(&self, deadline: tokio::time::Instant) -> Result<Up, StoreError> {
        let mut state = self.0.state.subscribe();
        if let State::Up(up) = &*state.borrow_and_update() {
            return if up.silent.load(Relaxed) { Err(StoreError::Slow) } else { Ok(up.clone()) };
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
    /// Begins to connect, unless that has begun already or it is too early.
    fn connect(inner: &Arc<Self>) {
        let begun = inner.state.send_if_modified(|state| {
            let begin = matches!(state, State::Down) && inner.pace().not_before <= Instant::now();
            if begin {
                *state = State::Connecting;
            }
            begin
        });
        if begun {
            let attempt = Attempt(Arc::clone(inner));
            tokio::spawn(attempt.make());
        }
    }

    fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer came: the next attempt need not wait.
    fn works(&self) {
        if self.told.load(Relaxed) && self.told.swap(false, Relaxed) {
            tracing::info!("the store of idempotency records answers again");
        }
        let mut pace = self.pace();
        pace.pause = Duration::ZERO;
    }

    /// The next attempt waits, longer each time, and not as long as that of the next replica.
    fn slow_down(&self) {
        let mut pace = self.pace();
        pace.pause = (pace.pause * 2).clamp(PAUSES.0, PAUSES.1);
        let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
        let share = f64::from(u8::try_from(random % 128).unwrap_or_default()) / 256.0;
        pace.not_before = Instant::now() + pace.pause.mul_f64(0.5 + share);
    }

    /// What an error means for the connection.
    fn failed(&self, up: &Up, error: &RedisError) -> StoreError {
        let Some(code) = error.code() else {
            self.tell(&about(error));
            self.give_up(up);
            return StoreError::Down;
        };
        // About one key, or about memory: the connection is as good as any other. Else (a replica that may not be
        // written to, a password that was changed) a new one may lead to where things are right.
        if !matches!(code, "WRONGTYPE" | "OOM") {
            self.give_up(up);
        }
        self.tell(&about(error));
        StoreError::Refused(code.to_owned())
    }

    fn give_up(&self, up: &Up) {
        let gone = self.state.send_if_modified(|state| {
            let is_it = matches!(state, State::Up(now) if now.number == up.number);
            if is_it {
                *state = State::Down;
            }
            is_it
        });
        if gone {
            self.slow_down();
        }
    }

    /// Once, until it answers again.
    fn tell(&self, why: &str) {
        if !self.told.swap(true, Relaxed) {
            tracing::warn!(why, "the store of idempotency records fails");
        }
    }
}

/// An attempt to connect. However it ends, nobody waits for it any longer.
struct Attempt(Arc<Inner>);

impl Attempt {
    async fn make(self) {
        // Patience is measured by the calls.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connecting = self.0.client.get_multiplexed_async_connection_with_config(&config);
        match timeout(CONNECT, connecting).await {
            Ok(Ok(connection)) => {
                let number = self.0.made.fetch_add(1, Relaxed);
                let up = Up { number, connection: connection.clone(), silent: Arc::default() };
                self.0.state.send_replace(State::Up(up));
                warn_of_eviction(connection).await;
            }
            Ok(Err(error)) => self.0.tell(&about(&error)),
            Err(_) => self.0.tell("no connection in time"),
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

/// A store that drops records to make room forgets what must not be done twice.
async fn warn_of_eviction(mut connection: MultiplexedConnection) {
    let mut command = redis::cmd("INFO");
    command.arg("memory");
    let Ok(Ok(info)) = timeout(SILENCE, command.query_async::<String>(&mut connection)).await else { return };
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

fn read(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read ({})", error.kind()))?;
    let mut bytes = Vec::new();
    file.take(MAX_CA_FILE)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read ({})", error.kind()))?;
    Ok(bytes)
}

/// Sort and code of an error: its own words may hold what was sent.
fn about(error: &RedisError) -> String {
    match error.code() {
        Some(code) => code.to_owned(),
        None if error.is_connection_refusal() => "connection refused".to_owned(),
        None => error.category().to_owned(),
    }
}
