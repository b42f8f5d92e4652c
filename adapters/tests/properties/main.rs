//! What holds for every adapter, whichever vendor it speaks for: no vendor is named here.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod failures;
mod ids;
mod made;
mod merging;
mod replies;
mod requests;
#[path = "../support/mod.rs"]
mod support;
mod ways;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use http::{Response, StatusCode};
use parlance_adapters::{
    ALL, Adapter, DecodeContext, DecodeError, Encoded, Spec, Target, UpstreamCall, VendorEndpoint, locate,
    vendor,
};
use proptest::prelude::*;
use support::{Story, Tree, upstream};

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 2000, ..ProptestConfig::default() }
}

/// One of the adapters, with a name for reports.
#[derive(Clone, Copy)]
struct One(&'static dyn Adapter);

impl std::fmt::Debug for One {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.spec().vendor)
    }
}

impl std::ops::Deref for One {
    type Target = &'static dyn Adapter;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

fn adapter() -> impl Strategy<Value = One> {
    (0..ALL.len()).prop_map(|at| One(ALL[at]))
}

/// The usual upstream of the vendor, with every setting given.
fn usual(spec: &Spec) -> VendorEndpoint {
    let settings: Vec<_> = spec.settings.iter().map(|setting| (setting.key, "setting-1")).collect();
    upstream(spec, "up-1", &settings)
}

fn target(spec: &Spec, upstream: &VendorEndpoint) -> Target {
    locate(spec, upstream, "asked-1").expect("an ordinary id")
}

/// The call, without the stored context where it needs one.
fn unmerged(encoded: Encoded) -> UpstreamCall {
    match encoded {
        Encoded::Ready(call) => call,
        Encoded::NeedsStored(pending) => pending.into_unmerged(),
    }
}

/// The vendor's own sample of a successful answer.
fn sample(spec: &Spec) -> Tree {
    static SAMPLES: LazyLock<BTreeMap<&str, Tree>> = LazyLock::new(|| {
        let sample = |spec: &'static Spec| {
            let full = Story::of(spec.vendor).into_iter().find(|story| story.name == "full")?;
            Some((spec.vendor, full.told.get("reply")?.get("body")?.clone()))
        };
        ALL.iter().map(|adapter| sample(adapter.spec()).expect("a sample")).collect()
    });
    SAMPLES[spec.vendor].clone()
}

/// Every successful answer in the vendor's stories that holds a conversation.
fn samples(spec: &Spec) -> Vec<(String, Tree)> {
    let mut samples = Vec::new();
    for story in Story::of(spec.vendor) {
        let body = story.told.get("reply").and_then(|reply| {
            let told = reply.get("body").cloned();
            told.or_else(|| Tree::parse(reply.get("body_text")?.text()?.as_bytes()).ok())
        });
        let usable = body.filter(|body| matches!(body, Tree::Object(_)));
        if let Some(body) = usable.filter(|body| answer(spec, body).is_some()) {
            samples.push((story.name, body));
        }
    }
    assert!(samples.len() > 2, "{} has samples", spec.vendor);
    samples
}

fn reply(status: u16, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut reply = Response::new(body.into());
    *reply.status_mut() = StatusCode::from_u16(status).unwrap();
    reply
}

/// What a caller gets of this answer, as bytes; `None` where it holds no conversation.
fn written(spec: &'static Spec, reply: &Response<Bytes>) -> Result<Vec<u8>, DecodeError> {
    let upstream = usual(spec);
    let target = target(spec, &upstream);
    let conversation = vendor(spec.vendor).unwrap().decode(&DecodeContext::of_read(&target), reply)?;
    let mut out = Vec::new();
    conversation.write(target.id(), spec.vendor, &upstream.name, &[], &mut out);
    Ok(out)
}

fn answer(spec: &Spec, body: &Tree) -> Option<Tree> {
    let spec = vendor(spec.vendor).unwrap().spec();
    let out = written(spec, &reply(200, body.to_string())).ok()?;
    Some(Tree::parse(&out).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out))))
}
