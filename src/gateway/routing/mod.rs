//! Routing: the upstream that serves a conversation id.

mod index;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use parlance_adapters::{Target, decode_segment, locate};

use self::index::Index;
use crate::settings::Settings;
use crate::settings::diagnose;
use crate::types::code::Code;
use crate::types::problem::Problem;
use crate::upstream::Upstream;

/// Upstreams, and the rules that select one of them.
#[derive(Debug)]
pub struct Routes {
    settings: Arc<Settings>,
    index: Index,
    upstreams: BTreeMap<String, Arc<Upstream>>,
}

impl Routes {
    /// Indexes the rules of `settings`.
    pub fn new(settings: Arc<Settings>, upstreams: BTreeMap<String, Arc<Upstream>>) -> Self {
        Routes { index: Index::new(&settings.routes), settings, upstreams }
    }

    /// All upstreams by name.
    pub fn upstreams(&self) -> &BTreeMap<String, Arc<Upstream>> {
        &self.upstreams
    }

    /// Selects the upstream for a path segment: by its prefix `{upstream}:`, else by the first matching rule, else the
    /// default.
    ///
    /// # Errors
    ///
    /// The segment is no valid id, or nothing selects an upstream.
    pub fn select<'a>(&self, segment: &'a str, headers: &HeaderMap) -> Result<Selected<'a>, Problem> {
        let id = decode_segment(segment).map_err(|fault| Problem::new(Code::InvalidId, fault.0))?;
        if let Some((name, _)) = id.split_once(':')
            && let Some(upstream) = self.upstreams.get(name)
        {
            let start = name.len() + 1;
            let vendor_id = match id {
                Cow::Borrowed(id) => Cow::Borrowed(id.get(start..).unwrap_or_default()),
                Cow::Owned(mut id) => Cow::Owned(id.split_off(start)),
            };
            return Ok(Selected { upstream: Arc::clone(upstream), vendor_id, by: SelectedBy::Prefix });
        }
        let rules = &self.settings.routes;
        let (name, by) = match self.index.first(rules, &id, headers) {
            Some((number, rule)) => (Some(&rule.upstream), SelectedBy::Rule(number)),
            None => (self.settings.default_upstream.as_ref(), SelectedBy::Default),
        };
        match name.and_then(|name| self.upstreams.get(name)) {
            Some(upstream) => Ok(Selected { upstream: Arc::clone(upstream), vendor_id: id, by }),
            None => Err(Problem::new(
                Code::NoRoute,
                "No upstream is named by the id, no route matches it and there is no default_upstream; write the id as {upstream}:{id}.",
            )),
        }
    }

    /// Says that the part of a segment before its first colon is no upstream, and names the nearest one of those that
    /// `is_usable` admits. `None` if there is no colon, or an upstream before it.
    pub fn unknown_prefix(&self, segment: &str, is_usable: impl Fn(&Upstream) -> bool) -> Option<String> {
        let id = decode_segment(segment).ok()?;
        let (prefix, _) = id.split_once(':').filter(|(prefix, _)| !self.upstreams.contains_key(*prefix))?;
        let usable = self.upstreams.values().filter(|upstream| is_usable(upstream));
        let nearest = match prefix.len() {
            1..=MAX_NAME => diagnose::closest(prefix, usable.map(|upstream| &*upstream.name)),
            _ => None,
        };
        let shown: String = prefix.chars().take(MAX_NAME).collect();
        let meant = nearest.map(|name| format!(" (did you mean '{name}'?)")).unwrap_or_default();
        Some(format!("'{}' is no upstream{meant}", shown.escape_debug()))
    }
}

/// Longest text, in bytes, that is compared with the names of upstreams.
const MAX_NAME: usize = 64;

/// Upstream that serves an id.
#[derive(Debug)]
pub struct Selected<'a> {
    /// The upstream.
    pub upstream: Arc<Upstream>,
    /// The vendor's id.
    pub vendor_id: Cow<'a, str>,
    /// Reason of the selection.
    pub by: SelectedBy,
}

/// Reason why an upstream was selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelectedBy {
    /// The id names it.
    Prefix,
    /// The rule at this position of `routes` matches, counted from 0.
    Rule(usize),
    /// It is the `default_upstream`.
    Default,
}

impl SelectedBy {
    /// Words in the log and in dry runs.
    pub fn text(self) -> Cow<'static, str> {
        match self {
            SelectedBy::Prefix => Cow::Borrowed("prefix"),
            SelectedBy::Rule(number) => Cow::Owned(format!("routes[{number}]")),
            SelectedBy::Default => Cow::Borrowed("default_upstream"),
        }
    }
}

/// Locates the conversation that a vendor's id names at an upstream.
///
/// # Errors
///
/// The id cannot name a conversation of the vendor.
pub fn target(upstream: &Upstream, vendor_id: &str) -> Result<Target, Problem> {
    locate(upstream.settings.vendor.spec(), &upstream.settings.adapter, vendor_id)
        .map_err(|fault| Problem::new(Code::InvalidId, fault.0))
}
