//! parlance: one conversations API over every vendor's dialect.
//!
//! ```text
//! caller ──> server ──> stack (observe, rescue, shed, limit) ──> api ──> gateway ──> upstream ──> vendor
//!            listeners   one middleware, one file              head      one use      pool, TLS,
//!            and drain                                         to wish   case         deadlines
//!                                                                          │
//!                                                     adapters: Patch -> Call, Reply -> Conversation
//! ```
//!
//! Everything that does IO is here; what a vendor says and means is in `parlance_adapters`. No vendor's name stands in
//! this crate.

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
