//! Jobs that are timed and counted: encoding a patch, and decoding replies of several sizes.
//!
//! Patches and replies are the vendors' own samples, from the stories; a reply grows by repeating its messages.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a benchmark stops at the first surprise")]

use std::hint::black_box;

use bytes::Bytes;
use http::{Request, Response};
use parlance_adapters::canonical::Patch;
use parlance_adapters::{
    Adapter, DecodeContext, EncodeRequest, Encoded, Origin, SettingPlacement, Spec, VendorEndpoint, locate,
};
use serde_json::Value;

/// A canonical body that becomes a vendor's request.
pub struct Encode {
    adapter: &'static dyn Adapter,
    upstream: VendorEndpoint,
    body: Bytes,
}

impl Encode {
    /// The vendor's sample.
    pub fn new(adapter: &'static dyn Adapter) -> Self {
        let spec = adapter.spec();
        Encode { adapter, upstream: upstream(spec), body: Bytes::from(full(spec)["patch"].to_string()) }
    }

    /// Size of the canonical body in bytes.
    pub fn size(&self) -> usize {
        self.body.len()
    }

    /// Runs the job once.
    pub fn run(&self) -> Request<Bytes> {
        let patch = Patch::parse(black_box(&self.body)).expect("a patch");
        let target = locate(self.adapter.spec(), &self.upstream, "conversation-1").expect("an id");
        let request = EncodeRequest {
            endpoint: &self.upstream,
            target: &target,
            patch: &patch,
            merge: false,
            lenient: false,
            idempotency_key: Some("key-1"),
        };
        match self.adapter.encode(&request).expect("a call") {
            Encoded::Ready(call) => call.request,
            Encoded::NeedsStored(_) => unreachable!("no merge is asked for"),
        }
    }
}

/// A vendor's reply that becomes the caller's answer.
pub struct Decode {
    adapter: &'static dyn Adapter,
    upstream: VendorEndpoint,
    reply: Response<Bytes>,
}

impl Decode {
    /// The vendor's sample, grown to about so many bytes.
    pub fn new(adapter: &'static dyn Adapter, size: usize) -> Self {
        let spec = adapter.spec();
        let body = grown(&full(spec)["reply"]["body"], size);
        Decode { adapter, upstream: upstream(spec), reply: Response::new(Bytes::from(body)) }
    }

    /// Size of the reply in bytes.
    pub fn size(&self) -> usize {
        self.reply.body().len()
    }

    /// Does it once.
    pub fn run(&self) -> Vec<u8> {
        let spec = self.adapter.spec();
        let target = locate(spec, &self.upstream, "conversation-1").expect("an id");
        let cx = DecodeContext::of_read(&target);
        let conversation = self.adapter.decode(&cx, black_box(&self.reply)).expect("a conversation");
        let mut out = Vec::with_capacity(self.reply.body().len() + conversation.added());
        conversation.write(target.id(), spec.vendor, &self.upstream.name, &[], &mut out);
        out
    }
}

/// The vendor's own sample, both ways.
fn full(spec: &Spec) -> Value {
    let stories = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/stories");
    let text = std::fs::read(format!("{stories}/{}/full.json", spec.vendor)).expect("the vendor's sample");
    serde_json::from_slice(&text).expect("a story")
}

/// The sample with its messages repeated until it is so large. Where there are none, a list of samples stands in.
fn grown(sample: &Value, size: usize) -> Vec<u8> {
    let (mut body, spare) = (sample.clone(), sample.clone());
    let inner = if body["data"].is_object() { &mut body["data"] } else { &mut body };
    let members = inner.as_object_mut().expect("an object");
    let messages = members.get("messages").and_then(Value::as_array).filter(|messages| !messages.is_empty());
    let pool = messages.cloned().unwrap_or_else(|| vec![spare]);
    let mut left = size.saturating_sub(sample.to_string().len());
    for message in pool.iter().cycle() {
        let length = message.to_string().len() + 1;
        if length > left {
            break;
        }
        left -= length;
        let list = members.entry("messages").or_insert_with(|| Value::Array(Vec::new()));
        list.as_array_mut().expect("a list").push(message.clone());
    }
    body.to_string().into_bytes()
}

fn upstream(spec: &Spec) -> VendorEndpoint {
    let in_path = spec.settings.iter().filter(|setting| setting.place == SettingPlacement::Path);
    VendorEndpoint {
        name: "up-1".to_owned(),
        origin: Origin::parse(spec.base_url).expect("an origin"),
        settings: in_path.map(|setting| (setting.key, "9761342719".to_owned())).collect(),
        headers: Vec::new(),
        allow_vendor_fields: false,
    }
}
