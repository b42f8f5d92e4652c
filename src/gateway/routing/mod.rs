//! Routing: the upstream that serves a conversation id.

mod index;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use parlance_adapters::{Target, decode_segment, locate};

use self::index::Index;
use crate::settings::Settings;
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
    /// default. Returns the vendor's id as well.
    ///
    /// # Errors
    ///
    /// The segment is no valid id, or nothing selects an upstream.
    pub fn select<'a>(
        &self,
        segment: &'a str,
        headers: &HeaderMap,
    ) -> Result<(Arc<Upstream>, Cow<'a, str>), Problem> {
        let id = decode_segment(segment).map_err(|fault| Problem::new(Code::InvalidId, fault.0))?;
        if let Some((name, _)) = id.split_once(':')
            && let Some(upstream) = self.upstreams.get(name)
        {
            let start = name.len() + 1;
            let vendor_id = match id {
                Cow::Borrowed(id) => Cow::Borrowed(id.get(start..).unwrap_or_default()),
                Cow::Owned(mut id) => Cow::Owned(id.split_off(start)),
            };
            return Ok((Arc::clone(upstream), vendor_id));
        }
        let selected = self.by_rule(&id, headers).or(self.settings.default_upstream.as_deref());
        match selected.and_then(|name| self.upstreams.get(name)) {
            Some(upstream) => Ok((Arc::clone(upstream), id)),
            None => Err(Problem::new(
                Code::NoRoute,
                "No upstream is named by the id, no route matches it and there is no default_upstream; write the id as {upstream}:{id}.",
            )),
        }
    }

    fn by_rule(&self, id: &str, headers: &HeaderMap) -> Option<&str> {
        let route = self.index.first(&self.settings.routes, id, headers)?;
        Some(&route.upstream)
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
