//! Canonical requests ([`Patch`]) and answers ([`Conversation`]).

mod conversation;
mod field;
mod patch;
mod time;
mod warning;

pub use conversation::{
    Agent, Attachment, Contact, Conversation, Message, Messages, RawMember, Reported, Role, Status, Subject,
    Warning,
};
pub use field::{Field, READ_ONLY, VENDOR_FIELDS};
pub use patch::{Fault, FaultCode, Patch, pointer};
pub use time::Time;
pub use warning::WarningCode;
