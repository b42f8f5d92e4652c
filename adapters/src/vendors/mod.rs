//! One file for each vendor, all in the same order: page and peculiarities, the table, the adapter, its readers.

mod agentphone;
mod chatling;
mod cuadra;
mod kakiyo;
mod sigmamind;

use crate::adapter::Adapter;

/// Every vendor, in the order of the documentation.
pub static ALL: [&dyn Adapter; 5] =
    [&kakiyo::Kakiyo, &chatling::Chatling, &sigmamind::SigmaMind, &cuadra::Cuadra, &agentphone::AgentPhone];

/// The vendor of that name.
pub fn vendor(name: &str) -> Option<&'static dyn Adapter> {
    ALL.into_iter().find(|adapter| adapter.spec().vendor == name)
}
