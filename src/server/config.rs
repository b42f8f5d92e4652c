//! Values between a listener, its connections and its service.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;

use super::tls::{ClientIdentity, Tls};
use crate::settings;

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
