//! Pure translation between the canonical conversation and the vendors' dialects.
//!
//! ```text
//! canonical body ── Patch::parse ──> Patch ── encode ──> Encoded ──> UpstreamCall { Request<Bytes>, .. }
//! canonical answer <── Conversation::write ── Conversation <── decode ── Response<Bytes>
//!                                             Failure <── Adapter::failure ── Response<Bytes>
//! ```
//!
//! No IO, clock, randomness, environment or logging: every input is an argument.

mod adapter;
mod body;
mod call;
pub mod canonical;
mod classify;
pub mod docs;
mod failure;
pub mod json;
pub mod merge;
pub mod reading;
mod request;
mod spec;
mod table;
mod target;
mod translate;
mod vendors;

pub use adapter::Adapter;
pub use call::{
    DecodeContext, DecodeError, EncodeRequest, Encoded, PendingMerge, UpstreamCall, ValidationError,
};
pub use classify::into_failure;
pub use failure::{Failure, FailureKind, VendorError};
pub use reading::confirm;
pub use spec::{
    BodyFormat, Conversion, Credential, Endpoint, Example, NullHandling, Row, SettingPlacement, Spec,
    VendorSetting,
};
pub use target::{IdFault, Origin, OriginError, Target, VendorEndpoint, decode_segment, locate};
pub use translate::{decode, fault_codes, fields};
pub use vendors::{ALL, vendor};
