//! Transport to one origin: name lookups, connections, and the exchange of one request and its complete response.

mod client;
mod connect;
mod connect_error;
mod connection;
mod error;
mod resolve;

pub use client::{Client, Reply, UpstreamRequest};
pub use connect::{Roots, system_roots};
pub use error::{TransportError, TransportErrorKind};
