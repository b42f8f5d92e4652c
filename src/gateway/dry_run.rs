//! Dry run: shows the vendor's request and sends nothing.

use std::borrow::Cow;

use bytes::Bytes;
use http::Request;
use parlance_adapters::canonical::{Warning, WarningCode};
use parlance_adapters::{Encoded, Target};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::routing::SelectedBy;
use crate::upstream::Upstream;

#[derive(Serialize)]
struct DryRun<'a> {
    dry_run: bool,
    id: &'a str,
    vendor: &'static str,
    upstream: &'a str,
    /// Reason why the upstream was chosen.
    route: Cow<'static, str>,
    request: ShownRequest<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<ShownWarning<'a>>,
}

#[derive(Serialize)]
struct ShownRequest<'a> {
    method: &'a str,
    url: String,
    headers: Map<String, Value>,
    /// The body as it would be sent, so that numbers keep their digits.
    body: &'a RawValue,
}

#[derive(Serialize)]
struct ShownWarning<'a> {
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'a str>,
    detail: &'a str,
}

/// Renders the request of an update as canonical JSON, with its credential as `***`. A merge patch is shown unmerged.
pub(super) fn update(upstream: &Upstream, target: &Target, route: SelectedBy, encoded: Encoded) -> Vec<u8> {
    let (mut call, is_unmerged) = match encoded {
        Encoded::Ready(call) => (call, false),
        Encoded::NeedsStored(pending) => (pending.into_unmerged(), true),
    };
    if is_unmerged {
        call.warnings.push(Warning {
            code: WarningCode::Unmerged.as_str(),
            pointer: Some("/context".to_owned()),
            detail: "The body shows the context of the patch; the stored one would be read and merged with it first.".to_owned(),
        });
    }
    render(upstream, target, route, call.request, &call.warnings)
}

/// Renders the request of a read as canonical JSON, with its credential as `***`.
pub(super) fn read(
    upstream: &Upstream,
    target: &Target,
    route: SelectedBy,
    request: Request<Bytes>,
) -> Vec<u8> {
    render(upstream, target, route, request, &[])
}

fn render(
    upstream: &Upstream,
    target: &Target,
    route: SelectedBy,
    request: Request<Bytes>,
    warnings: &[Warning],
) -> Vec<u8> {
    let spec = upstream.settings.vendor.spec();
    let (head, body) = request.into_parts();
    let text = String::from_utf8_lossy(&body);
    // A body that is no JSON, such as a form, is shown as a string; none is null.
    let quoted = Value::from(text.as_ref()).to_string();
    let shown = match text.is_empty() {
        true => RawValue::NULL,
        false => {
            serde_json::from_str(&text).or_else(|_| serde_json::from_str(&quoted)).unwrap_or(RawValue::NULL)
        }
    };
    let credential = [(spec.credential.header().to_string(), Value::from("***"))];
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().into()));
    let warnings = warnings.iter().map(|warning| ShownWarning {
        code: warning.code,
        pointer: warning.pointer.as_deref(),
        detail: &warning.detail,
    });
    let shown = DryRun {
        dry_run: true,
        id: target.id(),
        vendor: spec.vendor,
        upstream: &upstream.name,
        route: route.text(),
        request: ShownRequest {
            method: head.method.as_str(),
            url: head.uri.to_string(),
            headers: credential.into_iter().chain(headers).collect(),
            body: shown,
        },
        warnings: warnings.collect(),
    };
    // Strings and checked JSON alone: nothing of it can fail to be written.
    serde_json::to_vec(&shown).unwrap_or_default()
}
