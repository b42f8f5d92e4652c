//! The interface of a simulated vendor, and the one list of them.

mod check;
mod fastapi;

use std::io;
use std::sync::Arc;

use crate::credentials::Keys;
use crate::http::{Answer, Refused, Request};
use crate::json::Object;
use crate::store::Store;
use crate::tokens::Tokens;

/// Declares the module of every vendor and lists the vendors in the order of their ports.
///
/// `cargo fmt` does not follow modules that a macro declares: `rustfmt --check sandbox/src/vendors/*.rs` covers them.
macro_rules! vendors {
    ($($module:ident::$vendor:ident),* $(,)?) => {
        $(mod $module;)*

        /// Returns the names of the simulated vendors, in the order of their ports.
        #[must_use]
        pub fn names() -> &'static [&'static str] {
            &[$($module::NAME),*]
        }

        /// Makes every vendor, in the same order.
        pub(crate) fn all() -> io::Result<Vec<Arc<dyn Vendor>>> {
            Ok(vec![$(Arc::new($module::$vendor::new()?)),*])
        }
    };
}

vendors! {
    kakiyo::Kakiyo,
    chatling::Chatling,
    sigmamind::SigmaMind,
    cuadra::Cuadra,
    agentphone::AgentPhone,
}

/// The conversations a vendor starts with, and the update its own document shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The id of what the conversations belong to, when the path names it.
    pub parent: Option<&'static str>,
    /// The ids of the seeded conversations that can be updated; the first is the document's own.
    pub conversations: Vec<&'static str>,
    /// The path of an update, with `{parent}` and `{id}` to fill in.
    pub update_path: &'static str,
    /// The body of the document's own example, as printed there where it is printed.
    pub update: &'static str,
    /// The body of an update that changes the first conversation as it is at the start.
    pub effective: &'static str,
    /// Fields an update needs beside the credential and the content type, with a value that may be sent once.
    pub update_headers: Vec<(&'static str, &'static str)>,
}

/// One simulated vendor.
pub(crate) trait Vendor: Send + Sync {
    /// The name used in URLs of the control side and in the ledger.
    fn name(&self) -> &'static str;
    /// Answers one request; an update that the vendor accepts is stored when this returns.
    fn handle(&self, request: &Request<'_>) -> Answer;
    /// The vendor's words for what the protocol layer turned down.
    fn refuse(&self, refused: &Refused, target: &str) -> Answer;
    /// Its conversations.
    fn store(&self) -> &Store;
    /// Its keys.
    fn keys(&self) -> &Keys;
    /// The number of ids that name a conversation in a path of the control side.
    fn ids(&self) -> usize {
        1
    }
    /// The flaw of a conversation to be stored from outside, if it has one.
    fn flaw(&self, conversation: &Object) -> Option<String>;
    /// Its token endpoint and the path of it.
    fn tokens(&self) -> Option<(&'static str, &Tokens)> {
        None
    }
    /// The settings it has: name, the values it takes, the value now.
    fn settings(&self) -> Vec<(&'static str, &'static [&'static str], &'static str)> {
        Vec::new()
    }
    /// Changes a setting; the value is one of those it takes.
    fn set(&self, _name: &str, _value: &str) {}
    /// Forgets what is neither a conversation, a key nor a token.
    fn reset_rest(&self) {}
    /// The samples of its document.
    fn sample(&self) -> Sample;
}

/// Everything back to the start.
pub(crate) fn reset(vendor: &dyn Vendor) {
    vendor.store().reset();
    vendor.keys().reset();
    if let Some((_, tokens)) = vendor.tokens() {
        tokens.reset();
    }
    vendor.reset_rest();
}
