//! Files and environment become settings: everything parsed, found and known to fit together, or every fault at once.
//!
//! ```text
//! files + PARLANCE__… ── load ──> one tree ── typed ──> Raw ── check ──> Settings
//!          └── places: where each key stands ──────────────────┴──────> Vec<Diagnostic>
//! ```
//!
//! The layers are put together by the `config` crate, whose typing is loose (`1.9` becomes 2, `"on"` becomes true) and
//! which forgets where a key stood. So the types are read strictly from its tree, and each file is walked once more by
//! its own format's parser for line and column.

mod check;
mod checked;
pub(crate) mod diagnose;
mod glob;
pub mod limited_file;
mod load;
mod places;
mod raw;
mod redact;
mod schema;
mod secret;
mod typed;
mod value_error;

pub use checked::{
    Admin, Caller, Circuit, Credential, Idempotency, Log, OAuth2, OnStoreFailure, Rate, Route, Server,
    ServerTls, Settings, Store, TokenStyle, Upstream, Vendor,
};
pub use diagnose::Diagnostic;
pub use glob::Glob;
pub use load::{diagnose, load};
pub use redact::redacted;
pub use schema::schema;
pub use secret::Secret;
pub use value_error::ValueError;

/// The reference: every key with its default and a comment, as TOML.
pub const REFERENCE: &str = include_str!("../../config/parlance.toml");
