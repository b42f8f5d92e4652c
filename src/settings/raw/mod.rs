//! Configuration as it is written: every key, its type and its default. Nothing is checked here beyond the types.
//!
//! The comments of the fields are the descriptions in the JSON Schema.

pub(super) mod credential;
pub(super) mod units;
pub(super) mod upstream;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::credential::{Hashes, SecretSource, StoreText};
use self::units::{RateLimit, Size, Time};
use self::upstream::{Shared, Upstream};

/// The configuration of parlance.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
#[schemars(title = "parlance")]
pub(crate) struct Raw {
    /// The JSON Schema that an editor checks this file with; parlance itself does not read it.
    #[serde(rename = "$schema")]
    pub(crate) schema: Option<String>,
    /// The upstream of conversations whose id names none and that no rule of `routes` matches.
    pub(crate) default_upstream: Option<String>,
    /// The API listener.
    pub(crate) server: Server,
    /// The admin listener: health, metrics and the active configuration.
    pub(crate) admin: Admin,
    /// Values for every upstream that does not set them itself.
    pub(crate) defaults: Shared,
    /// The accounts at vendors that conversations are sent to, by name (`[a-z0-9][a-z0-9_-]*`).
    #[schemars(extend("propertyNames" = { "pattern": "^[a-z0-9][a-z0-9_-]*$" }))]
    pub(crate) upstreams: BTreeMap<String, Upstream>,
    /// Rules for ids that name no upstream: the first that matches decides.
    pub(crate) routes: Vec<Route>,
    /// Callers that are let in. Without any, every caller that reaches the listener is let in, which is allowed on loopback only.
    pub(crate) callers: Vec<Caller>,
    /// Stored answers for repeated requests with an `Idempotency-Key`.
    pub(crate) idempotency: Idempotency,
    /// Log lines.
    pub(crate) log: Log,
}

/// The API listener.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(crate) struct Server {
    /// Address and port. Any address but loopback needs `callers` or client certificates.
    pub(crate) listen: String,
    /// The largest request body.
    pub(crate) max_body: Size,
    /// Time limit of the head of a request and of a TLS handshake.
    pub(crate) header_timeout: Time,
    /// Time limit of the body of a request.
    pub(crate) body_timeout: Time,
    /// Time after which a connection without a request is closed.
    pub(crate) idle_timeout: Time,
    /// Age of a connection at which the caller is asked to open a new one.
    pub(crate) max_connection_age: Time,
    /// Connections at a time.
    pub(crate) max_connections: u64,
    /// Requests at a time; those beyond are refused at once (503).
    pub(crate) max_in_flight: u64,
    /// Time after SIGTERM during which new requests are still accepted and readiness is already 503.
    pub(crate) drain_delay: Time,
    /// Time limit of accepted requests after that; a request that takes longer is answered with a problem.
    pub(crate) drain_timeout: Time,
    /// Threads that serve requests. Default: one for each CPU.
    pub(crate) workers: Option<u64>,
    /// TLS for callers. Default: plain HTTP.
    pub(crate) tls: Option<ServerTls>,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            listen: "127.0.0.1:8080".to_owned(),
            max_body: Size::kib(256),
            header_timeout: Time::secs(5),
            body_timeout: Time::secs(10),
            idle_timeout: Time::secs(60),
            max_connection_age: Time::secs(600),
            max_connections: 4096,
            max_in_flight: 1024,
            drain_delay: Time::secs(5),
            drain_timeout: Time::secs(25),
            workers: None,
            tls: None,
        }
    }
}

/// TLS of the API listener. The files are read again when they change.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = r#"a table such as { certificate = "…", key = "…" }"#)]
#[schemars(extend("required" = ["certificate", "key"]))]
pub(crate) struct ServerTls {
    /// File of the certificate and its chain, PEM.
    pub(crate) certificate: Option<String>,
    /// File of the private key, PEM.
    pub(crate) key: Option<String>,
    /// File of the authorities whose client certificates are accepted, PEM. Given, every caller must show one.
    pub(crate) client_ca: Option<String>,
}

/// The admin listener.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(crate) struct Admin {
    /// Address and port. Off loopback only `/livez`, `/readyz` and `/metrics` answer without the token.
    pub(crate) listen: String,
    /// The key for everything else on this listener (`Authorization: Bearer …`).
    pub(crate) token: Option<SecretSource>,
}

impl Default for Admin {
    fn default() -> Self {
        Admin { listen: "127.0.0.1:9090".to_owned(), token: None }
    }
}

/// One rule: it matches where everything that it names fits.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table with upstream and id or headers")]
#[schemars(extend("required" = ["upstream"], "anyOf" = [{ "required": ["id"] }, { "required": ["headers"] }]))]
pub(crate) struct Route {
    /// A pattern of the conversation's id: `*` stands for any characters, `?` for one.
    pub(crate) id: Option<String>,
    /// Request headers and the exact values that they must have.
    pub(crate) headers: BTreeMap<String, String>,
    /// Upstream of the conversations that match.
    pub(crate) upstream: Option<String>,
}

/// A caller, and what it may use.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table with name and key_sha256 or certificate_names")]
#[schemars(extend("required" = ["name"], "anyOf" = [{ "required": ["key_sha256"] }, { "required": ["certificate_names"] }]))]
pub(crate) struct Caller {
    /// The name in logs and metrics.
    pub(crate) name: Option<String>,
    /// The SHA-256 of the caller's key, in hexadecimal; two while a key is being changed.
    pub(crate) key_sha256: Option<Hashes>,
    /// Names in client certificates (DNS, URI such as spiffe://…, or the subject's common name) that are this caller.
    #[schemars(extend("minItems" = 1))]
    pub(crate) certificate_names: Option<Vec<String>>,
    /// The upstreams that it may use. Default: all.
    #[schemars(extend("minItems" = 1))]
    pub(crate) upstreams: Option<Vec<String>>,
    /// Rate of requests that it may send. Default: no limit.
    pub(crate) rate_limit: Option<RateLimit>,
}

/// Stored answers for repeated requests with an `Idempotency-Key`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(crate) struct Idempotency {
    /// `memory`, or the URL of a Valkey or Redis that all replicas share: `redis://…`, `rediss://…` (TLS).
    pub(crate) store: StoreText,
    /// Lifetime of a stored answer.
    pub(crate) ttl: Time,
    /// File of the authorities that are trusted for a shared store under TLS instead of the system's roots, PEM.
    pub(crate) ca_file: Option<String>,
    /// Limit of the keys in memory, about 300 bytes each; every caller has an equal share.
    pub(crate) max_entries: u64,
    /// Limit of the size of the answers in memory that are kept with their body; every caller has an equal share.
    pub(crate) max_bytes: Size,
    /// Time after which the key of a replica that died is free. Default: 30s, or 5s more than the longest upstream timeout.
    pub(crate) lease: Option<Time>,
    /// Time limit of an answer of the shared store.
    pub(crate) store_timeout: Time,
    /// Treatment of a request with a key while the shared store does not answer.
    pub(crate) on_store_failure: OnStoreFailure,
}

impl Default for Idempotency {
    fn default() -> Self {
        Idempotency {
            store: StoreText::default(),
            ttl: Time::secs(24 * 3600),
            ca_file: None,
            max_entries: 1_000_000,
            max_bytes: Size::mib(64),
            lease: None,
            store_timeout: Time(std::time::Duration::from_millis(50)),
            on_store_failure: OnStoreFailure::Refuse,
        }
    }
}

/// Treatment of a request with a key while the shared store does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnStoreFailure {
    /// It is refused (503), so that nothing is ever done twice.
    Refuse,
    /// It is done, without protection against repetition.
    Proceed,
}

/// Log lines.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(crate) struct Log {
    /// One line for each request.
    pub(crate) access: bool,
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`; or several by target: `info,parlance::upstream=debug`.
    pub(crate) level: String,
}

impl Default for Log {
    fn default() -> Self {
        Log { access: true, level: "info".to_owned() }
    }
}
