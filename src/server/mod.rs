//! Listeners: accepting, serving, draining.
//!
//! ```text
//! accept ──> connection ── TLS ──> Socket (slow heads) ──> hyper ──> Tracked (last answers, who asks) ──> stack
//!               └── Lifetime: idle, too old, stopping ──> GOAWAY or `Connection: close`
//! ```
//!
//! What hyper does not limit is limited here: the time from a head's first byte to its last, the life of a connection
//! that asks nothing, and the age of one that never stops asking.

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

/// Pause after an error of `accept` that is not the fault of one connection (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often a full listener looks whether its limit was raised.
const FULL_PAUSE: Duration = Duration::from_millis(500);
/// How long connections are still taken out of the kernel's queue after the end was announced.
const EMPTYING: Duration = Duration::from_secs(1);

/// What a listener keeps to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For a TLS handshake, and for the head of a request from its first byte to its last.
    pub header_timeout: Duration,
    /// For a connection without a request.
    pub idle_timeout: Duration,
    /// After which a connection is ended gently.
    pub max_age: Duration,
    /// Connections at a time.
    pub max_connections: usize,
    /// How long connections may take to end once the listener stops.
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

/// What holds for a new connection. Connections that are open keep what held when they came.
#[derive(Debug, Clone)]
pub struct ConnectionConfig {
    /// Times and numbers.
    pub limits: Limits,
    /// TLS; without it plain HTTP.
    pub tls: Option<Arc<Tls>>,
}

/// How far a listener is on its way to the end. It only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not on it.
    Serving,
    /// Everything is still answered, over HTTP/1 with `Connection: close`.
    Leaving,
    /// Nothing new is accepted, what is in flight is finished.
    Stopping,
}

/// A listener that is bound and takes connections into its queue, but serves none yet.
#[derive(Debug)]
pub struct BoundListener {
    listener: TcpListener,
    address: SocketAddr,
}

impl BoundListener {
    /// Binds an address. The error says which.
    pub async fn new(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|e| io::Error::new(e.kind(), format!("{address} cannot be bound: {e}")))?;
        let address = listener.local_addr()?;
        Ok(BoundListener { listener, address })
    }

    /// The address, with the port that was chosen if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `phase` says [`Phase::Stopping`]; then finishes what is in flight, for at most the profile's
    /// grace. Gives whether all of it was finished. `profile` is asked anew for each connection.
    pub async fn serve<S>(
        self,
        service: S,
        profile: impl Fn() -> ConnectionConfig + Send,
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
                profile(),
                phase,
                Arc::clone(&connections),
            )
        };
        let stop = phase.clone();
        loop {
            // Beyond the limit connections wait in the kernel's queue.
            let full = open.len() >= profile().limits.max_connections;
            tokio::select! {
                biased;
                () = stopping(&mut phase) => break,
                Some(ended) = open.join_next() => note(ended),
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
        let over = tokio::time::Instant::now() + profile().limits.grace;
        // Connections that the kernel has accepted for us already are not ours to drop: closing the listener would
        // reset them.
        let emptied = over.min(tokio::time::Instant::now() + EMPTYING);
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
                note(ended);
            }
        };
        tokio::time::timeout_at(over, finish).await.is_ok()
    }
}

/// Waits for the word to stop, or for nobody being left to give it.
async fn stopping(phase: &mut watch::Receiver<Phase>) {
    let _ = phase.wait_for(|phase| *phase == Phase::Stopping).await;
}

/// A defect in the task of one connection is that connection's end, and nobody else's.
fn note(ended: Result<(), JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        tracing::error!("the task of a connection panicked");
    }
}

/// Errors of `accept` that are about the connection that was to be accepted, not about the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
