//! Support matrix: the members that each vendor supports, from the adapters' rows.

use std::fmt::Write as _;

use parlance_adapters::{ALL, Spec, docs, fields};
use serde_json::{Value, json};

/// Renders a Markdown table, which is readable in a terminal too.
pub(super) fn table() -> String {
    let mut lines: Vec<Vec<String>> = Vec::new();
    let heading =
        ["member".to_owned()].into_iter().chain(ALL.iter().map(|adapter| adapter.spec().vendor.to_owned()));
    lines.push(heading.collect());
    for field in fields() {
        let cells = ALL.iter().map(|adapter| match adapter.spec().row(field) {
            Some(row) => format!("`{}`: {}", row.wire, docs::describe(row)),
            None => "–".to_owned(),
        });
        lines.push([format!("`{}`", field.name())].into_iter().chain(cells).collect());
    }
    let about = |name: &str, cell: fn(&Spec) -> String| -> Vec<String> {
        [name.to_owned()].into_iter().chain(ALL.iter().map(|adapter| cell(adapter.spec()))).collect()
    };
    lines.push(about("`vendor_fields`", |_| {
        "members put in as they are, if the upstream allows it".to_owned()
    }));
    lines.push(about("*reported*", |spec| {
        spec.reported_members.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }));
    lines.push(about("*request*", |spec| {
        let calls = spec.update.iter().map(|call| format!("`{} {}`", call.method, call.path));
        calls.collect::<Vec<_>>().join(", ")
    }));
    lines.push(about("*read*", |spec| {
        spec.read.as_ref().map_or("–".to_owned(), |call| format!("`{} {}`", call.method, call.path))
    }));
    lines.push(about("*reported by a read*", |spec| {
        let names = || spec.read_members.iter().map(|name| format!("`{name}`"));
        if spec.read_members == spec.reported_members {
            "the same".to_owned()
        } else {
            names().collect::<Vec<_>>().join(", ")
        }
    }));
    lines.push(about("*credential*", |spec| format!("`{}`", spec.credential.shown())));
    lines.push(about("*own settings*", |spec| {
        let keys: Vec<String> = spec.settings.iter().map(|setting| format!("`{}`", setting.key)).collect();
        if keys.is_empty() { "–".to_owned() } else { keys.join(", ") }
    }));
    lines.push(about("*merge patch of an object*", |spec| {
        if spec.is_mergeable() { "yes" } else { "no" }.to_owned()
    }));
    lines.push(about("*`If-Match`*", |spec| {
        match spec.is_conditional() {
            true => {
                "yes; another program at the vendor can still write between the gateway's read and its write"
            }
            false => "no: a read does not show what an update writes",
        }
        .to_owned()
    }));
    markdown(&lines)
}

fn markdown(lines: &[Vec<String>]) -> String {
    let mut out = String::new();
    for (at, line) in lines.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "| {} |", line.join(" | "));
        if at == 0 {
            let _ = writeln!(out, "|{}", " --- |".repeat(line.len()));
        }
    }
    out
}

/// Renders JSON.
pub(super) fn json() -> Value {
    let vendors = ALL.iter().map(|adapter| {
        let spec = adapter.spec();
        let members: serde_json::Map<String, Value> = fields()
            .map(|field| {
                let support = spec.row(field).map(|row| json!({ "wire": row.wire, "takes": docs::describe(row) }));
                (field.name().to_owned(), support.unwrap_or(Value::Null))
            })
            .collect();
        json!({
            "vendor": spec.vendor,
            "title": spec.title,
            "documentation": spec.docs,
            "base_url": spec.base_url,
            "request": spec.update.first().map(|call| json!({ "method": call.method.as_str(), "path": call.path })),
            "read": spec.read.as_ref().map(|call| json!({ "method": call.method.as_str(), "path": call.path })),
            "credential": spec.credential.shown(),
            "settings": spec.settings.iter().map(|setting| json!({ "key": setting.key, "about": setting.about })).collect::<Vec<_>>(),
            "members": members,
            "reports": spec.reported_members,
            "reports_when_read": spec.read_members,
            "merge_patch": spec.is_mergeable(),
            "if_match": spec.is_conditional(),
            "idempotency_key": spec.idempotency_key,
            "rate_limit": spec.rate_limit.map(|(requests, seconds)| json!({ "requests": requests, "per_seconds": seconds })),
            "example": {
                "id": spec.example.id,
                "patch": serde_json::from_str::<Value>(spec.example.patch).unwrap_or(Value::Null),
                "settings": spec.example.settings.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect::<serde_json::Map<_, _>>(),
            },
        })
    });
    json!({ "vendors": vendors.collect::<Vec<_>>() })
}
