//! Pure translation between the canonical conversation and the dialects of five vendors.
//!
//! ```text
//! canonical body ── Patch::parse ──> Patch ── Adapter::encode ──> Call { Request<Bytes>, .. }
//! canonical answer <── Conversation::write ── Conversation <── Adapter::decode ── Response<Bytes>
//!                                             Failure      <── Adapter::explain ── Response<Bytes>
//! ```
//!
//! No IO, clock, randomness, environment or logging: all that a translation needs is an argument.

mod adapter;
pub mod canonical;
pub mod docs;
mod explain;
pub mod json;
pub mod merge;
mod reading;
mod table;
mod target;
mod vendors;

pub use adapter::{
    Adapter, Ask, Call, Convert, Credential, Done, Example, Failure, FailureKind, Null, Origin, Place,
    Refusal, Row, Set, Setting, Spec, Target, Unusable, Upstream,
};
pub use explain::VendorError;
pub use merge::stored_context;
pub use table::confirm;
pub use target::{IdFault, decode_segment, locate};
pub use vendors::{ALL, vendor};
