//! The active configuration for people to look at, without anything that opens a door.

use serde_json::{Map, Value, json};

use super::checked::{
    Caller, Circuit, Credential, OnStoreFailure, Route, Settings, Store, TokenStyle, Upstream,
};
use super::raw::units::{RateLimit, Size, Time};
use super::secret::Secret;

/// Text that replaces a secret.
const HIDDEN: &str = "***";

/// The settings as JSON: defaults filled in, credentials as `***`, no user name or password of any URL.
pub fn redacted(settings: &Settings) -> Value {
    let Settings { server, admin, default_upstream, upstreams, routes, callers, idempotency, log, files } =
        settings;
    let tls = server
        .tls
        .as_ref()
        .map(|tls| json!({ "certificate": tls.certificate, "key": tls.key, "client_ca": tls.client_ca }));
    let upstreams: Map<String, Value> =
        upstreams.iter().map(|(name, upstream)| (name.clone(), one_upstream(upstream))).collect();
    let mut shown = json!({
        "files": files,
        "default_upstream": default_upstream,
        "server": {
            "listen": server.listen,
            "max_body": Size(server.max_body),
            "header_timeout": Time(server.header_timeout),
            "body_timeout": Time(server.body_timeout),
            "idle_timeout": Time(server.idle_timeout),
            "max_connection_age": Time(server.max_connection_age),
            "max_connections": server.max_connections,
            "max_in_flight": server.max_in_flight,
            "drain_delay": Time(server.drain_delay),
            "drain_timeout": Time(server.drain_timeout),
            "workers": server.workers,
            "tls": tls,
        },
        "admin": { "listen": admin.listen, "token": admin.token },
        "upstreams": upstreams,
        "routes": routes.iter().map(route).collect::<Vec<_>>(),
        "callers": callers.iter().map(caller).collect::<Vec<_>>(),
        "idempotency": {
            "store": store(&idempotency.store),
            "ttl": Time(idempotency.ttl),
            "ca_file": idempotency.ca_file,
            "max_entries": idempotency.max_entries,
            "max_bytes": Size(idempotency.max_bytes),
            "lease": Time(idempotency.lease),
            "store_timeout": Time(idempotency.store_timeout),
            "on_store_failure": match idempotency.on_store_failure {
                OnStoreFailure::Refuse => "refuse",
                OnStoreFailure::Proceed => "proceed",
            },
        },
        "log": { "access": log.access, "level": log.level },
    });
    without_nulls(&mut shown);
    shown
}

fn one_upstream(upstream: &Upstream) -> Value {
    let origin = &upstream.adapter.origin;
    let mut shown = json!({
        "vendor": upstream.vendor.spec().vendor,
        "base_url": format!("{}://{}{}", origin.scheme(), origin.authority(), origin.prefix()),
        "credential": credential(&upstream.credential),
        "ca_file": upstream.ca_file,
        "connect_timeout": Time(upstream.connect_timeout),
        "timeout": Time(upstream.timeout),
        "max_response": Size(upstream.max_response),
        "max_in_flight": upstream.max_in_flight,
        "max_attempts": upstream.max_attempts,
        "retry_unknown": upstream.retry_unknown,
        "rate_limit": RateLimit(upstream.rate_limit),
        "circuit": circuit(&upstream.circuit),
        "allow_private": upstream.allow_private,
        "allow_plain_http": upstream.allow_plain_http,
        "allow_vendor_fields": upstream.adapter.allow_vendor_fields,
        "pool_idle_timeout": Time(upstream.pool_idle_timeout),
        "max_connection_age": Time(upstream.max_connection_age),
        "http2": upstream.http2,
    });
    if let Some(table) = shown.as_object_mut() {
        let settings = upstream.adapter.settings.iter();
        table.extend(settings.map(|(key, value)| ((*key).to_owned(), json!(value))));
    }
    shown
}

fn circuit(circuit: &Circuit) -> Value {
    json!({
        "failures": circuit.failures,
        "window": Time(circuit.window),
        "min_requests": circuit.min_requests,
        "success_rate": circuit.success_rate,
        "open_for": Time(circuit.open_for),
        "open_for_max": Time(circuit.open_for_max),
    })
}

fn credential(credential: &Credential) -> Value {
    match credential {
        Credential::Value(_) => json!({ "value": HIDDEN }),
        Credential::Env { name, .. } => json!({ "env": name, "value": HIDDEN }),
        Credential::File { path, .. } => json!({ "file": path, "value": HIDDEN }),
        Credential::OAuth2(oauth2) => json!({ "oauth2": {
            "token_url": oauth2.token_url,
            "client_id": oauth2.client_id,
            "client_secret": self::credential(&oauth2.client_secret),
            "scope": oauth2.scope,
            "style": match oauth2.style {
                TokenStyle::Json => "json",
                TokenStyle::Form => "form",
                TokenStyle::Basic => "basic",
            },
        } }),
    }
}

fn route(route: &Route) -> Value {
    let headers: Map<String, Value> = route
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes()))))
        .collect();
    let headers = if headers.is_empty() { Value::Null } else { Value::Object(headers) };
    json!({ "id": route.id.as_ref().map(|glob| glob.as_str()), "headers": headers, "upstream": route.upstream })
}

fn caller(caller: &Caller) -> Value {
    // The beginning of a hash is enough to see which key it is.
    let begin =
        |hash: &[u8; 32]| hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<String>() + "…";
    json!({
        "name": caller.name,
        "key_sha256": caller.key_sha256.iter().map(begin).collect::<Vec<_>>(),
        "certificate_names": caller.certificate_names,
        "upstreams": caller.upstreams,
        "rate_limit": caller.rate_limit.map(|rate| RateLimit(Some(rate))),
    })
}

fn store(store: &Store) -> Value {
    match store {
        Store::Memory => json!("memory"),
        Store::Redis { url } => json!(without_userinfo(url)),
    }
}

fn without_userinfo(url: &Secret) -> String {
    let parsed: Option<http::Uri> = url.expose().parse().ok();
    let shown = parsed.and_then(|uri| {
        let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{}://{}{port}{}", uri.scheme_str()?, uri.host()?, uri.path()))
    });
    shown.unwrap_or_else(|| HIDDEN.to_owned())
}

fn without_nulls(value: &mut Value) {
    if let Value::Object(table) = value {
        table.retain(|_, value| !value.is_null());
        table.values_mut().for_each(without_nulls);
    }
}
