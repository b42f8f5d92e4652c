//! Dry run: the vendor's request, shown and not sent.

use parlance_adapters::canonical::Warning;
use parlance_adapters::json::quote;
use parlance_adapters::{Call, Target};

use crate::upstream::Upstream;

/// What would have been sent.
pub(super) fn preview(upstream: &Upstream, target: &Target<'_>, call: Call<'_>) -> Vec<u8> {
    let spec = upstream.settings.vendor.spec();
    let mut warnings = call.warnings;
    if call.needs_stored_context {
        warnings.push(Warning {
            code: "unmerged",
            pointer: Some("/context".to_owned()),
            detail: "The body shows the context of the patch; the stored one would be read and merged with it first.".to_owned(),
        });
    }
    let mut out = Vec::with_capacity(1024);
    let text = |out: &mut Vec<u8>, name: &str, value: &str| {
        out.extend_from_slice(name.as_bytes());
        quote(value, out);
    };
    text(&mut out, "{\"dry_run\":true,\"id\":", target.id());
    text(&mut out, ",\"vendor\":", spec.vendor);
    text(&mut out, ",\"upstream\":", &upstream.settings.adapter.name);
    text(&mut out, ",\"request\":{\"method\":", call.request.method().as_str());
    text(&mut out, ",\"url\":", &call.request.uri().to_string());
    text(&mut out, ",\"headers\":{", spec.credential.header().as_str());
    out.extend_from_slice(b":\"***\"");
    for (name, value) in call.request.headers() {
        text(&mut out, ",", name.as_str());
        text(&mut out, ":", value.to_str().unwrap_or_default());
    }
    out.extend_from_slice(b"},\"body\":");
    out.extend_from_slice(call.request.body());
    out.push(b'}');
    for (at, warning) in warnings.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b",\"warnings\":[" } else { b"," });
        warning.write(&mut out);
    }
    if !warnings.is_empty() {
        out.push(b']');
    }
    out.push(b'}');
    out
}
