//! Configuration as the gateway uses it: parsed, resolved and consistent.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use parlance_adapters::Adapter;

use super::glob::Glob;
pub use super::raw::OnStoreFailure;
pub use super::raw::credential::TokenStyle;
pub use super::raw::units::Rate;
use super::secret::Secret;

/// A whole configuration without a fault.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The API listener.
    pub server: Server,
    /// The admin listener.
    pub admin: Admin,
    /// Upstream of conversations that nothing else routes; one of `upstreams`.
    pub default_upstream: Option<String>,
    /// The upstreams by name; never empty.
    pub upstreams: BTreeMap<String, Upstream>,
    /// The rules, in their order.
    pub routes: Vec<Route>,
    /// Callers that are let in; without any, everyone.
    pub callers: Vec<Caller>,
    /// Stored answers.
    pub idempotency: Idempotency,
    /// Log lines.
    pub log: Log,
    /// The files that were read, in their order.
    pub files: Vec<PathBuf>,
}

/// The API listener.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its address.
    pub listen: SocketAddr,
    /// The largest request body, in bytes.
    pub max_body: usize,
    /// Time limit of the head of a request and of the TLS handshake.
    pub header_timeout: Duration,
    /// Time limit of the body of a request.
    pub body_timeout: Duration,
    /// Time after which a connection without a request is closed.
    pub idle_timeout: Duration,
    /// Age at which a connection is ended without losing a request.
    pub max_connection_age: Duration,
    /// Limit of open connections.
    pub max_connections: usize,
    /// Limit of requests in flight.
    pub max_in_flight: usize,
    /// Time after SIGTERM during which requests are still accepted; may be zero.
    pub drain_delay: Duration,
    /// Time limit of accepted requests after that.
    pub drain_timeout: Duration,
    /// Worker threads; without a number, one for each CPU.
    pub workers: Option<NonZeroUsize>,
    /// TLS; without it plain HTTP.
    pub tls: Option<ServerTls>,
}

/// TLS of the API listener. The files exist and hold PEM of the right kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// The certificate and its chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// The authorities of client certificates, which are then demanded.
    pub client_ca: Option<PathBuf>,
}

/// The admin listener.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Its address.
    pub listen: SocketAddr,
    /// The key for what probes and scrapers do not need.
    pub token: Option<Secret>,
}

/// The adapter of a vendor; two are equal if they have the same name.
#[derive(Clone, Copy)]
pub struct Vendor(pub &'static dyn Adapter);

impl Deref for Vendor {
    type Target = dyn Adapter;

    fn deref(&self) -> &'static dyn Adapter {
        self.0
    }
}

impl PartialEq for Vendor {
    fn eq(&self, other: &Self) -> bool {
        self.spec().vendor == other.spec().vendor
    }
}

impl fmt::Debug for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.spec().vendor)
    }
}

/// An account at a vendor.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// The vendor.
    pub vendor: Vendor,
    /// Part of the configuration that the vendor's adapter reads.
    pub adapter: parlance_adapters::VendorEndpoint,
    /// Credential of the gateway at the vendor.
    pub credential: Credential,
    /// The authorities that are trusted instead of the system's roots; holds for the token endpoint too.
    pub ca_file: Option<PathBuf>,
    /// Time limit of connecting, TLS included; never longer than `timeout`.
    pub connect_timeout: Duration,
    /// Time limit of the whole exchange.
    pub timeout: Duration,
    /// The largest answer, in bytes.
    pub max_response: usize,
    /// Limit of requests in flight.
    pub max_in_flight: usize,
    /// Limit of the attempts at a request; at least 1.
    pub max_attempts: u32,
    /// True if a request is repeated whose outcome is unknown.
    pub retry_unknown: bool,
    /// True if the host's name may resolve to an address that is not public, and where the URL itself names
    /// an address or localhost.
    pub allow_private: bool,
    /// True if plain http is allowed off loopback.
    pub allow_plain_http: bool,
    /// Time after which an idle connection is closed.
    pub pool_idle_timeout: Duration,
    /// Age at which a connection is no longer used.
    pub max_connection_age: Duration,
    /// True if HTTP/2 is offered.
    pub http2: bool,
    /// Rate of requests that are sent; no limit without one.
    pub rate_limit: Option<Rate>,
    /// Circuit breaker.
    pub circuit: Circuit,
}

/// Circuit breaker: an upstream that fails gets no requests for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Circuit {
    /// Consecutive failures that open it; 0: never.
    pub failures: u32,
    /// The time over which successes are counted.
    pub window: Duration,
    /// The fewest requests in the window whose share of successes counts.
    pub min_requests: u32,
    /// A lower share of successes opens it, from 0.0 (never) to 1.0.
    pub success_rate: f64,
    /// Time that it stays open at first.
    pub open_for: Duration,
    /// Limit of the time that it stays open.
    pub open_for_max: Duration,
}

/// A credential, already read once, and where it can be read again.
#[derive(Debug, Clone)]
pub enum Credential {
    /// It stood in the configuration.
    Value(Secret),
    /// It stood in an environment variable.
    Env {
        /// The variable.
        name: String,
        /// The credential.
        value: Secret,
    },
    /// It stood in a file: [`Secret::from_file`] reads it again.
    File {
        /// The file.
        path: PathBuf,
        /// The credential as it was when the configuration was read.
        value: Secret,
    },
    /// It is a token that is fetched.
    OAuth2(OAuth2),
}

/// A token fetched with a client's id and secret.
#[derive(Debug, Clone, PartialEq)]
pub struct OAuth2 {
    /// The token endpoint, an absolute URL without user name, query and fragment.
    pub token_url: String,
    /// The client's id.
    pub client_id: String,
    /// The client's secret: never `OAuth2` itself.
    pub client_secret: Box<Credential>,
    /// The scopes to ask for.
    pub scope: Option<String>,
    /// Encoding of the client's id and secret.
    pub style: TokenStyle,
    /// Like [`Upstream::allow_private`], for the token endpoint's host.
    pub allow_private: bool,
}

/// A rule: everything that it names must fit.
#[derive(Debug, Clone)]
pub struct Route {
    /// The pattern of the conversation's id.
    pub id: Option<Glob>,
    /// Headers and their exact values.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// One of the upstreams.
    pub upstream: String,
}

/// A caller that is let in.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The name in logs and metrics; no other caller has it.
    pub name: String,
    /// Hashes of its keys; no other caller has one of them.
    pub key_sha256: Vec<[u8; 32]>,
    /// Names in its client certificates; no other caller has one of them.
    pub certificate_names: Vec<String>,
    /// The upstreams that it may use; all without a list.
    pub upstreams: Option<Vec<String>>,
    /// Rate of requests that it may send.
    pub rate_limit: Option<Rate>,
}

/// Stored answers.
#[derive(Debug, Clone)]
pub struct Idempotency {
    /// Place of the stored answers.
    pub store: Store,
    /// Lifetime of a stored answer.
    pub ttl: Duration,
    /// The authorities that are trusted for a shared store instead of the system's roots.
    pub ca_file: Option<PathBuf>,
    /// Limit of the answers in memory.
    pub max_entries: usize,
    /// Limit of their size in memory, in bytes.
    pub max_bytes: usize,
    /// Lifetime of a claim on a key; longer than any upstream's timeout.
    pub lease: Duration,
    /// Time limit of one answer of the shared store.
    pub store_timeout: Duration,
    /// Treatment of requests with a key while the store does not answer.
    pub on_store_failure: OnStoreFailure,
}

/// Place of the stored answers.
#[derive(Debug, Clone)]
pub enum Store {
    /// In this process.
    Memory,
    /// In a Valkey or Redis.
    Redis {
        /// Its URL, which may hold a password.
        url: Secret,
    },
}

/// Log lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// One line for each request.
    pub access: bool,
    /// A level, or directives by target.
    pub level: String,
}

impl PartialEq for Credential {
    /// A file equals itself whatever it holds: its user reads it again.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Credential::Value(one), Credential::Value(other)) => one == other,
            (Credential::Env { name, value }, Credential::Env { name: other_name, value: other_value }) => {
                name == other_name && value == other_value
            }
            (Credential::File { path, .. }, Credential::File { path: other_path, .. }) => path == other_path,
            (Credential::OAuth2(one), Credential::OAuth2(other)) => one == other,
            _ => false,
        }
    }
}

impl Credential {
    /// The text as it was when the configuration was read; a token has none.
    pub fn initial(&self) -> Option<&Secret> {
        match self {
            Credential::Value(value) | Credential::Env { value, .. } | Credential::File { value, .. } => {
                Some(value)
            }
            Credential::OAuth2(_) => None,
        }
    }
}
