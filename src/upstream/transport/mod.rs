//! Transport to one origin: connections, name lookups, and one request with its whole answer.

mod client;
mod connect;
mod connect_error;
mod connection;
mod error;
mod resolve;

pub use client::{Client, Reply, UpstreamRequest};
pub use connect::{Roots, system_roots};
pub use error::{TransportError, TransportErrorKind};
