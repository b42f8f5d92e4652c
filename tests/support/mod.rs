//! What the tests from outside share: the program, the vendors behind it, a caller, and what every answer must be.

pub(crate) mod contract;
pub(crate) mod http;
pub(crate) mod process;
pub(crate) mod rig;

/// JSON that keeps the text of numbers; it judges the adapters too.
#[path = "../../adapters/tests/support/tree.rs"]
mod tree;

pub(crate) use http::{Answer, Connection, Request};
pub(crate) use process::eventually;
pub(crate) use rig::{Rig, Sent};
pub(crate) use tree::Tree;
