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
pub mod api;
pub mod body;
pub mod callers;
pub mod cli;
pub mod credentials;
pub mod deadline;
pub mod demo;
pub mod facts;
pub mod gateway;
pub mod idempotency;
pub mod layers;
pub mod live;
pub mod metrics;
pub mod openapi;
pub mod problem;
pub mod reload;
pub mod retry_after;
pub mod routes;
pub mod run;
pub mod server;
pub mod settings;
pub mod stack;
pub mod support;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod wishes;
