//! Which upstream serves an id.

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

/// The upstreams and the rules that choose among them.
#[derive(Debug)]
pub struct Routes {
    settings: Arc<Settings>,
    index: Index,
    upstreams: BTreeMap<String, Arc<Upstream>>,
}

impl Routes {
    /// The rules of these settings over these upstreams.
    pub fn new(settings: Arc<Settings>, upstreams: BTreeMap<String, Arc<Upstream>>) -> Self {
        Routes { index: Index::new(&settings.routes), settings, upstreams }
    }

    /// Every upstream, by name.
    pub fn upstreams(&self) -> &BTreeMap<String, Arc<Upstream>> {
        &self.upstreams
    }

    /// The upstream for a path segment, and the vendor's id in it.
    pub fn choose<'a>(
        &self,
        segment: &'a str,
        headers: &HeaderMap,
    ) -> Result<(Arc<Upstream>, Cow<'a, str>), Problem> {
        let id = decode_segment(segment).map_err(|fault| Problem::new(Code::InvalidId, fault.0))?;
        if let Some((name, _)) = id.split_once(':')
            && let Some(upstream) = self.upstreams.get(name)
        {
            let behind = name.len() + 1;
            let vendor_id = match id {
                Cow::Borrowed(id) => Cow::Borrowed(id.get(behind..).unwrap_or_default()),
                Cow::Owned(mut id) => Cow::Owned(id.split_off(behind)),
            };
            return Ok((Arc::clone(upstream), vendor_id));
        }
        let chosen = self.by_rule(&id, headers).or(self.settings.default_upstream.as_deref());
        match chosen.and_then(|name| self.upstreams.get(name)) {
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

/// The conversation that a vendor's id names at an upstream.
pub fn target(upstream: &Upstream, vendor_id: &str) -> Result<Target, Problem> {
    locate(upstream.settings.vendor.spec(), &upstream.settings.adapter, vendor_id)
        .map_err(|fault| Problem::new(Code::InvalidId, fault.0))
}
