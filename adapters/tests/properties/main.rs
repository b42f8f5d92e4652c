//! Properties of every adapter; no vendor is named here.

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
mod trust;
mod ways;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use http::{Response, StatusCode};
use parlance_adapters::canonical::Conversation;
use parlance_adapters::{
    ALL, Adapter, DecodeContext, DecodeError, Encoded, Spec, Target, UpstreamCall, VendorEndpoint, locate,
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

/// Reading of a vendor's answers, either to updates or to reads.
#[derive(Clone, Copy)]
struct Decoder {
    adapter: &'static dyn Adapter,
    is_read: bool,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.spec().vendor, if self.is_read { "read" } else { "update" })
    }
}

/// Every vendor's answers to updates, and to reads.
fn decoders() -> Vec<Decoder> {
    let of = |adapter: &&'static dyn Adapter, is_read| Decoder { adapter: *adapter, is_read };
    let updates = ALL.iter().map(|adapter| of(adapter, false));
    let reads = ALL.iter().filter(|adapter| adapter.spec().read.is_some()).map(|adapter| of(adapter, true));
    updates.chain(reads).collect()
}

fn decoder() -> impl Strategy<Value = Decoder> {
    proptest::sample::select(decoders())
}

impl Decoder {
    fn spec(&self) -> &'static Spec {
        self.adapter.spec()
    }

    /// The canonical members that such answers may have.
    fn reported(&self) -> &'static [&'static str] {
        if self.is_read { self.spec().read_members } else { self.spec().reported_members }
    }

    fn is_of(&self, story: &Story) -> bool {
        (story.told.get("method").and_then(Tree::text) == Some("GET")) == self.is_read
    }

    /// The vendor's own sample of a successful answer.
    fn sample(&self) -> Tree {
        static SAMPLES: LazyLock<BTreeMap<(&str, bool), Tree>> = LazyLock::new(|| {
            let sample = |decoder: &Decoder| {
                let name = if decoder.is_read { "read" } else { "full" };
                let story = Story::of(decoder.spec().vendor).into_iter().find(|story| story.name == name)?;
                Some(story.told.get("reply")?.get("body")?.clone())
            };
            let key = |decoder: &Decoder| (decoder.spec().vendor, decoder.is_read);
            decoders().iter().map(|it| (key(it), sample(it).expect("a sample"))).collect()
        });
        SAMPLES[&(self.spec().vendor, self.is_read)].clone()
    }

    /// Every successful answer in the vendor's stories that holds a conversation.
    fn samples(&self) -> Vec<(String, Tree)> {
        let mut samples = Vec::new();
        for story in Story::of(self.spec().vendor).into_iter().filter(|story| self.is_of(story)) {
            let body = story.told.get("reply").and_then(|reply| {
                let told = reply.get("body").cloned();
                told.or_else(|| Tree::parse(reply.get("body_text")?.text()?.as_bytes()).ok())
            });
            let usable = body.filter(|body| matches!(body, Tree::Object(_)));
            if let Some(body) = usable.filter(|body| self.answer(body).is_some()) {
                samples.push((format!("{}/{}", self.spec().vendor, story.name), body));
            }
        }
        assert!(!samples.is_empty() && (self.is_read || samples.len() > 2), "{self:?} has samples");
        samples
    }

    fn decode<'a>(
        &self,
        cx: &DecodeContext<'a>,
        reply: &'a Response<Bytes>,
    ) -> Result<Conversation<'a>, DecodeError> {
        if self.is_read { self.adapter.decode_read(cx, reply) } else { self.adapter.decode(cx, reply) }
    }

    /// The caller's answer for a reply, as bytes, if nothing was set.
    fn written(&self, reply: &Response<Bytes>) -> Result<Vec<u8>, DecodeError> {
        let spec = self.spec();
        let target = target(spec, &usual(spec));
        let conversation = self.decode(&DecodeContext::of_read(&target), reply)?;
        let mut out = Vec::new();
        conversation.write(target.id(), spec.vendor, "up-1", &[], &mut out);
        Ok(out)
    }

    fn answer(&self, body: &Tree) -> Option<Tree> {
        let out = self.written(&reply(200, body.to_string())).ok()?;
        Some(Tree::parse(&out).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out))))
    }
}

fn reply(status: u16, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut reply = Response::new(body.into());
    *reply.status_mut() = StatusCode::from_u16(status).unwrap();
    reply
}
