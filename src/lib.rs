//! parlance: one conversations API over every vendor's dialect.
//!
//! ```text
//! caller ──> server ──> edge ────────> gateway ──────────────> upstream ──────────> vendor
//!            sockets,   id, limits,    route, prepare, send,   circuit, rate limit,
//!            TLS        headers        decode                  credential, transport
//!                                        │
//!                                      parlance_adapters: Patch ──> UpstreamCall, reply ──> Conversation
//! ```
//!
//! Modules form layers, and each imports only layers below its own:
//! `cli > runtime > admin > edge > gateway > upstream > {telemetry, server, idempotency} > settings > types`.
//! Everything that does IO is here; a vendor's dialect is in `parlance_adapters`, and no vendor's name stands in this
//! crate.

pub mod admin;
pub mod cli;
pub mod edge;
pub mod gateway;
pub mod idempotency;
pub mod runtime;
pub mod server;
pub mod settings;
pub mod telemetry;
pub mod types;
pub mod upstream;
