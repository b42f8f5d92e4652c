//! The configuration as the gateway uses it: everything parsed, found and known to fit together.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use parlance_adapters::Adapter;

use super::glob::Glob;
pub use super::raw::OnStoreFailure;
pub use super::raw_credential::TokenStyle;
use super::secret::Secret;
pub use super::units::Rate;

/// A whole configuration without a fault.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The API listener.
    pub server: Server,
    /// The admin listener.
    pub admin: Admin,
    /// Where conversations go that nothing else routes; one of `upstreams`.
    pub default_upstream: Option<String>,
    /// The upstreams by name; never empty.
    pub upstreams: BTreeMap<String, Upstream>,
    /// The rules, in their order.
    pub routes: Vec<Route>,
    /// Who may call; without any, everyone.
    pub callers: Vec<Caller>,
    /// Stored answers.
    pub idempotency: Idempotency,
    /// What is logged.
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
    /// For the head of a request and the TLS handshake.
    pub header_timeout: Duration,
    /// For the body of a request.
    pub body_timeout: Duration,
    /// For a connection without a request.
    pub idle_timeout: Duration,
    /// After which a connection is ended gently.
    pub max_connection_age: Duration,
    /// Connections at a time.
    pub max_connections: usize,
    /// Requests at a time.
    pub max_in_flight: usize,
    /// How long requests are still accepted after SIGTERM; may be zero.
    pub drain_delay: Duration,
    /// How long accepted requests may then take.
    pub drain_timeout: Duration,
    /// Threads; without a number, one for each CPU.
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

/// An account at a vendor.
#[derive(Clone)]
pub struct Upstream {
    /// The vendor.
    pub vendor: &'static dyn Adapter,
    /// What the vendor's adapter needs to know.
    pub adapter: parlance_adapters::VendorEndpoint,
    /// What the vendor knows the gateway by.
    pub credential: Credential,
    /// The authorities that are trusted instead of the system's roots; holds for the token endpoint too.
    pub ca_file: Option<PathBuf>,
    /// For connecting, TLS included; never longer than `timeout`.
    pub connect_timeout: Duration,
    /// For the whole exchange.
    pub timeout: Duration,
    /// The largest answer, in bytes.
    pub max_response: usize,
    /// Requests at a time.
    pub max_in_flight: usize,
    /// How often a request is sent at most; at least 1.
    pub max_attempts: u32,
    /// Whether a request is repeated whose outcome is unknown.
    pub retry_unknown: bool,
    /// Whether the host's name may resolve to an address that is not public. True as well where the URL itself names
    /// an address or localhost.
    pub allow_private: bool,
    /// Whether plain http is allowed off loopback.
    pub allow_plain_http: bool,
    /// For an idle connection in the pool.
    pub pool_idle_timeout: Duration,
    /// After which a connection is no longer used.
    pub max_connection_age: Duration,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// How many requests are sent; no limit without one.
    pub rate_limit: Option<Rate>,
    /// When the upstream is left alone for a while.
    pub circuit: Circuit,
}

/// When an upstream that fails is left alone for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Circuit {
    /// So many failures in a row open it; 0: never.
    pub failures: u32,
    /// The time over which successes are counted.
    pub window: Duration,
    /// The fewest requests in the window whose share of successes counts.
    pub min_requests: u32,
    /// A lower share of successes opens it, from 0.0 (never) to 1.0.
    pub success_rate: f64,
    /// How long it stays open at first.
    pub open_for: Duration,
    /// How long it stays open at most.
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
#[derive(Debug, Clone)]
pub struct OAuth2 {
    /// The token endpoint, an absolute URL without user name, query and fragment.
    pub token_url: String,
    /// The client's id.
    pub client_id: String,
    /// The client's secret: never `OAuth2` itself.
    pub client_secret: Box<Credential>,
    /// The scopes to ask for.
    pub scope: Option<String>,
    /// How the client's id and secret are sent.
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

/// Who may call.
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
    /// How many requests it may send.
    pub rate_limit: Option<Rate>,
}

/// Stored answers.
#[derive(Debug, Clone)]
pub struct Idempotency {
    /// Where they are kept.
    pub store: Store,
    /// How long they are kept.
    pub ttl: Duration,
    /// The authorities that are trusted for a shared store instead of the system's roots.
    pub ca_file: Option<PathBuf>,
    /// How many are kept in memory.
    pub max_entries: usize,
    /// How many bytes of them are kept in memory.
    pub max_bytes: usize,
    /// How long a key stays taken; longer than any upstream's timeout.
    pub lease: Duration,
    /// For one answer of the shared store.
    pub store_timeout: Duration,
    /// What becomes of requests with a key while it does not answer.
    pub on_store_failure: OnStoreFailure,
}

/// Where answers are kept.
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

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// One line for each request.
    pub access: bool,
    /// A level, or directives by target.
    pub level: String,
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

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("vendor", &self.vendor.spec().vendor)
            .field("adapter", &self.adapter)
            .field("credential", &self.credential)
            .finish_non_exhaustive()
    }
}
