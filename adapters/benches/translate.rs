//! What translating costs: the one request from a patch, and the answer from replies of three sizes.
//!
//! Patches and replies are the vendors' own samples, from the stories; a reply grows by repeating its messages.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a benchmark stops at the first surprise")]

use std::borrow::Cow;
use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use http::Response;
use parlance_adapters::canonical::Patch;
use parlance_adapters::{ALL, Ask, Done, Origin, Place, Spec, Upstream, locate};
use serde_json::Value;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    encode(&mut criterion);
    decode(&mut criterion);
    criterion.final_summary();
}

/// A canonical body to the vendor's request.
fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for adapter in ALL {
        let spec = adapter.spec();
        let upstream = upstream(spec);
        let body = full(spec)["patch"].to_string();
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(spec.vendor, |bencher| {
            bencher.iter(|| {
                let patch = Patch::parse(black_box(body.as_bytes())).expect("a patch");
                let target = locate(spec, &upstream, Cow::Borrowed("conversation-1")).expect("an id");
                let key = Some("key-1");
                let ask = Ask {
                    target: &target,
                    patch: &patch,
                    merge: false,
                    lenient: false,
                    idempotency_key: key,
                };
                adapter.encode(&ask).expect("a call").request
            });
        });
    }
}

/// A vendor's reply to the caller's answer, written.
fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode+write");
    for adapter in ALL {
        let spec = adapter.spec();
        let upstream = upstream(spec);
        let target = locate(spec, &upstream, Cow::Borrowed("conversation-1")).expect("an id");
        let done = Done { target: &target, set: &[] };
        for kilobytes in [1, 16, 160] {
            let body = grown(&full(spec)["reply"]["body"], kilobytes * 1024);
            group.throughput(Throughput::Bytes(body.len() as u64));
            let reply = Response::new(Bytes::from(body));
            group.bench_function(BenchmarkId::new(spec.vendor, format!("{kilobytes}KB")), |bencher| {
                bencher.iter(|| {
                    let conversation = adapter.decode(&done, black_box(&reply)).expect("a conversation");
                    let mut out = Vec::with_capacity(reply.body().len() + conversation.added());
                    conversation.write(target.id(), spec.vendor, &upstream.name, &[], &mut out);
                    out
                });
            });
        }
    }
}

/// The vendor's own sample, both ways.
fn full(spec: &Spec) -> Value {
    let path = format!("{}/../tests/stories/{}/full.json", env!("CARGO_MANIFEST_DIR"), spec.vendor);
    let text = std::fs::read(&path).expect("the vendor's sample");
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

fn upstream(spec: &Spec) -> Upstream {
    let in_path = spec.settings.iter().filter(|setting| setting.place == Place::Path);
    Upstream {
        name: "up-1".to_owned(),
        origin: Origin::parse(spec.base_url).expect("an origin"),
        settings: in_path.map(|setting| (setting.key, "9761342719".to_owned())).collect(),
        headers: Vec::new(),
        allow_vendor_fields: false,
    }
}
