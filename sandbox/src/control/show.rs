//! The control side's answers as JSON.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::faults::modes::{Phase, TABLE};
use crate::faults::rule;
use crate::json::quote;
use crate::ledger::{Connection, End, Entry, Taken, Totals, View};

const CALLS: &[(&str, &str)] = &[
    ("GET /", "this help"),
    (
        "GET /ledger?vendor=&since=&id=",
        "requests and connections received; since is a sequence number, id a path segment",
    ),
    ("PUT /ledger", "{\"enabled\": true|false}"),
    ("DELETE /ledger", "forget what was received"),
    ("GET /ledger/summary", "connections, requests and effects per vendor"),
    ("GET /faults", "the rules, how often each fired and still will"),
    ("POST /faults", "one rule or a list of rules"),
    ("DELETE /faults", "remove every rule"),
    (
        "POST /reset",
        "conversations, credentials, tokens and settings as at the start; ledger and faults empty",
    ),
    ("GET /conversations/{vendor}/{id...}", "a conversation as it is stored"),
    ("PUT /conversations/{vendor}/{id...}", "store a conversation in the vendor's own shape"),
    ("PUT /credentials/{vendor}", "{\"accept\": [keys], \"clients\": [{client_id, client_secret, scope}]}"),
    ("GET /settings/{vendor}", "what can be set, and to what"),
    ("PUT /settings/{vendor}", "{\"name\": \"value\"}"),
    ("POST /tokens/revoke", "end every access token"),
    ("PUT /tokens", "{\"expires_in\": seconds} for tokens issued from now on"),
];

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn map<N: AsRef<str>>(items: impl IntoIterator<Item = (N, String)>) -> String {
    let pairs = items.into_iter().map(|(name, value)| format!("{}:{value}", quote(name.as_ref())));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
}

fn option<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "null".into(), show)
}

/// The help.
pub(super) fn help(addresses: &[(&'static str, String)]) -> String {
    let vendors = map(addresses.iter().map(|(name, url)| (*name, quote(url))));
    let calls = map(CALLS.iter().map(|(call, does)| (*call, quote(does))));
    let modes = map(TABLE.iter().map(|row| {
        let phase = match row.phase {
            Phase::Accept => "accept",
            Phase::Head => "head",
            Phase::Request => "request",
        };
        let takes = list(rule::takes(row).into_iter().map(quote));
        let does = quote(row.does);
        (row.name, format!(r#"{{"acts_after":"{phase}","takes":{takes},"does":{does}}}"#))
    }));
    format!(r#"{{"vendors":{vendors},"calls":{calls},"fault_modes":{modes}}}"#)
}

/// The totals per vendor; one that received nothing is there with zeros.
pub(super) fn summary(
    names: &[&str],
    totals: &BTreeMap<&'static str, Totals>,
    dropped: u64,
    enabled: bool,
) -> String {
    let vendors = map(names.iter().map(|name| {
        let Totals { connections, requests, effects } = totals.get(name).copied().unwrap_or_default();
        let text = format!(r#"{{"connections":{connections},"requests":{requests},"effects":{effects}}}"#);
        (*name, text)
    }));
    format!(r#"{{"enabled":{enabled},"dropped":{dropped},"vendors":{vendors}}}"#)
}

/// What can be set.
pub(super) fn settings(known: &[(&'static str, &'static [&'static str], &'static str)]) -> String {
    map(known.iter().map(|(name, values, now)| {
        let values = list(values.iter().map(|value| quote(value)));
        (*name, format!(r#"{{"now":{},"values":{values}}}"#, quote(now)))
    }))
}

/// Requests and connections.
pub(super) fn ledger(view: &View, enabled: bool) -> String {
    let entries = list(view.entries.iter().map(entry));
    let connections = list(view.connections.iter().map(connection));
    let dropped = view.dropped;
    format!(r#"{{"enabled":{enabled},"dropped":{dropped},"entries":{entries},"connections":{connections}}}"#)
}

fn entry(entry: &Entry) -> String {
    let (body, encoding) = match std::str::from_utf8(&entry.body) {
        Ok(text) => (quote(text), "text"),
        Err(_) => (quote(&STANDARD.encode(&entry.body)), "base64"),
    };
    let read = match entry.taken {
        Taken::Head => "head",
        Taken::Part => "part",
        Taken::All => "all",
    };
    let headers =
        entry.head.headers.iter().map(|(name, value)| format!("[{},{}]", quote(name), quote(value)));
    map([
        ("sequence", entry.sequence.to_string()),
        ("ms", entry.ms.to_string()),
        ("vendor", quote(entry.vendor)),
        ("connection", entry.connection.to_string()),
        ("method", quote(&entry.head.method)),
        ("target", quote(&entry.head.target)),
        ("headers", list(headers)),
        ("body", body),
        ("body_encoding", quote(encoding)),
        ("body_length", entry.body.len().to_string()),
        ("read", quote(read)),
        ("status", option(entry.status, |status| status.to_string())),
        ("fault", option(entry.fault, quote)),
        ("sent", entry.sent.to_string()),
        ("end", option(entry.end, |end| quote(end_name(end)))),
        ("end_ms", option(entry.end_ms, |ms| ms.to_string())),
        ("effect", entry.effect.to_string()),
        ("answer", quote(&String::from_utf8_lossy(&entry.answer))),
        ("note", option(entry.note.as_deref(), quote)),
    ])
}

fn connection(record: &Connection) -> String {
    map([
        ("connection", record.id.to_string()),
        ("vendor", quote(record.vendor)),
        ("opened_ms", record.opened_ms.to_string()),
        ("closed_ms", option(record.closed_ms, |ms| ms.to_string())),
        ("requests", record.requests.to_string()),
        ("server_name", option(record.server_name.as_deref(), quote)),
        ("fault", option(record.fault, quote)),
        ("note", option(record.note.as_deref(), quote)),
    ])
}

fn end_name(end: End) -> &'static str {
    match end {
        End::Sent => "sent",
        End::Closed => "closed",
        End::Reset => "reset",
        End::PeerGone => "peer_gone",
        End::TimeOver => "time_over",
    }
}
