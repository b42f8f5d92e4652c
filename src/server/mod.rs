//! Listeners: accepting, serving, draining.
//!
//! ```text
//! accept ──> connection ── TLS ──> Socket (slow heads) ──> hyper ──> Tracked (last responses, client) ──> service
//!               └── Lifetime: idle, too old, stopping ──> GOAWAY or `Connection: close`
//! ```
//!
//! Limits that hyper does not have: the time from a head's first byte to its last, the idle time of a connection, and
//! its age.

mod activity;
mod connection;
mod lifetime;
mod socket;
mod stats;
pub mod tls;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tower::Service;

use self::connection::Builders;
use self::tls::{ClientIdentity, Tls};
use crate::settings;
use crate::types::body::Body;

pub use stats::{ConnectionStats, Connections};

/// Pause after an error of `accept` that does not concern a single connection, such as a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Interval at which a full listener reads its limit again, because a reload may raise it.
const FULL_PAUSE: Duration = Duration::from_millis(500);
/// Time limit on emptying the kernel's queue of connections when the listener stops.
const EMPTY_TIMEOUT: Duration = Duration::from_secs(1);

/// Limits of a listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time limit on a TLS handshake, and on the head of a request from its first byte to its last.
    pub header_timeout: Duration,
    /// Time limit on a connection without a request.
    pub idle_timeout: Duration,
    /// Age at which a connection is closed gracefully.
    pub max_age: Duration,
    /// Concurrent connections.
    pub max_connections: usize,
    /// Time limit on the end of connections when the listener stops.
    pub grace: Duration,
}

impl From<&settings::Server> for Limits {
    fn from(server: &settings::Server) -> Self {
        Limits {
            header_timeout: server.header_timeout,
            idle_timeout: server.idle_timeout,
            max_age: server.max_connection_age,
            max_connections: server.max_connections,
            grace: server.drain_timeout,
        }
    }
}

/// A request with what its connection knows of the client.
#[derive(Debug)]
pub struct IncomingRequest {
    /// The request as received.
    pub request: Request<Incoming>,
    /// Names in the client's certificate; `None` without one.
    pub client: Option<Arc<ClientIdentity>>,
}

/// Settings for new connections. Open connections keep theirs.
#[derive(Debug, Clone)]
pub struct ConnectionConfig {
    /// Limits.
    pub limits: Limits,
    /// TLS; `None` for plain HTTP.
    pub tls: Option<Arc<Tls>>,
}

/// Shutdown phase of a listener. Only advances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Normal service.
    Serving,
    /// Requests are served, on HTTP/1 with `Connection: close`.
    Leaving,
    /// No connection is accepted; requests in flight are finished.
    Stopping,
}

/// A bound listener that does not serve yet; the kernel queues its connections.
#[derive(Debug)]
pub struct BoundListener {
    listener: TcpListener,
    address: SocketAddr,
}

impl BoundListener {
    /// Binds `address`.
    ///
    /// # Errors
    /// An address that cannot be bound; the message names it.
    pub async fn new(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|e| io::Error::new(e.kind(), format!("{address} cannot be bound: {e}")))?;
        let address = listener.local_addr()?;
        Ok(BoundListener { listener, address })
    }

    /// The bound address, with the chosen port if port 0 was requested.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until [`Phase::Stopping`], then finishes requests in flight within the grace period. Returns true if all were
    /// finished. Calls `config` for each new connection.
    pub async fn serve<S>(
        self,
        service: S,
        config: impl Fn() -> ConnectionConfig + Send,
        mut phase: watch::Receiver<Phase>,
        connections: Arc<Connections>,
    ) -> bool
    where
        S: Service<IncomingRequest, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let builders = Arc::new(Builders::new());
        let mut open = JoinSet::new();
        let serve = |stream: TcpStream, phase: watch::Receiver<Phase>| {
            connection::serve(
                stream,
                Arc::clone(&builders),
                service.clone(),
                config(),
                phase,
                Arc::clone(&connections),
            )
        };
        let stop = phase.clone();
        loop {
            // Connections beyond the limit wait in the kernel's queue.
            let full = open.len() >= config().limits.max_connections;
            tokio::select! {
                biased;
                () = stopping(&mut phase) => break,
                Some(ended) = open.join_next() => log_panic(ended),
                accepted = self.listener.accept(), if !full => match accepted {
                    Ok((stream, _)) => {
                        open.spawn(serve(stream, stop.clone()));
                    }
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                () = tokio::time::sleep(FULL_PAUSE), if full => {}
            }
        }
        let deadline = tokio::time::Instant::now() + config().limits.grace;
        // Closing the listener resets connections that the kernel has accepted but this process has not.
        let emptied = deadline.min(tokio::time::Instant::now() + EMPTY_TIMEOUT);
        while let Ok(Ok((stream, _))) =
            tokio::time::timeout(Duration::from_millis(1), self.listener.accept()).await
        {
            open.spawn(serve(stream, stop.clone()));
            if tokio::time::Instant::now() > emptied {
                break;
            }
        }
        drop(self.listener);
        let finish = async {
            while let Some(ended) = open.join_next().await {
                log_panic(ended);
            }
        };
        tokio::time::timeout_at(deadline, finish).await.is_ok()
    }
}

/// Waits for [`Phase::Stopping`] or for the sender to be dropped.
async fn stopping(phase: &mut watch::Receiver<Phase>) {
    let _ = phase.wait_for(|phase| *phase == Phase::Stopping).await;
}

/// Logs the panic of a connection's task, which ends that connection only.
fn log_panic(ended: Result<(), JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        tracing::error!("the task of a connection panicked");
    }
}

/// Returns true for errors of `accept` that concern the connection, not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
