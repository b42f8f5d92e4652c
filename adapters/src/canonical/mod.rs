//! The canonical side: what callers send ([`Patch`]) and what they get ([`Conversation`]).

mod conversation;
mod field;
mod patch;
mod time;

pub use conversation::{
    Agent, Attachment, Contact, Conversation, Message, Messages, Pair, Role, Slot, Status, Warning,
};
pub use field::{Field, READ_ONLY, VENDOR_FIELDS};
pub use patch::{Fault, FaultCode, Patch, pointer};
pub use time::Time;
