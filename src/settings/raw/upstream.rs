//! The tables `[upstreams.…]` and `[defaults]` as they are written. They share most keys, which therefore stand here
//! once; the built-in defaults of both stand in [`BUILTIN`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::credential::Credential;
use super::units::{RateLimit, Size, Time};

/// Built-in defaults of the keys that have one, for the schema and for the code that fills them in.
pub(crate) const BUILTIN: Builtin = Builtin {
    connect_timeout: Time::secs(2),
    timeout: Time::secs(10),
    max_response: Size::mib(8),
    max_in_flight: 256,
    max_attempts: 3,
    allow_private: false,
    allow_plain_http: false,
    allow_vendor_fields: false,
    pool_idle_timeout: Time::secs(30),
    max_connection_age: Time::secs(300),
    http2: true,
    failures: 7,
    window: Time::secs(30),
    min_requests: 20,
    success_rate: 0.5,
    open_for: Time::secs(1),
    open_for_max: Time::secs(30),
};

/// Types of the built-in defaults; the keys are described where they are read.
pub(crate) struct Builtin {
    pub(crate) connect_timeout: Time,
    pub(crate) timeout: Time,
    pub(crate) max_response: Size,
    pub(crate) max_in_flight: usize,
    pub(crate) max_attempts: u32,
    pub(crate) allow_private: bool,
    pub(crate) allow_plain_http: bool,
    pub(crate) allow_vendor_fields: bool,
    pub(crate) pool_idle_timeout: Time,
    pub(crate) max_connection_age: Time,
    pub(crate) http2: bool,
    pub(crate) failures: u32,
    pub(crate) window: Time,
    pub(crate) min_requests: u32,
    pub(crate) success_rate: f64,
    pub(crate) open_for: Time,
    pub(crate) open_for_max: Time,
}

macro_rules! shared {
    ($($(#[$about:meta])* $field:ident: $type:ty,)*) => {
        /// Values for every upstream that does not set them itself.
        #[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields, expecting = "a table")]
        pub(crate) struct Shared {
            $($(#[$about])* pub(crate) $field: Option<$type>,)*
        }

        /// An account at a vendor.
        #[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields, expecting = "a table with vendor and credential")]
        #[schemars(extend("required" = ["vendor", "credential"]))]
        pub(crate) struct Upstream {
            /// Vendor whose API it is.
            pub(crate) vendor: Option<String>,
            /// Origin, and whatever comes before the vendor's paths. Default: the vendor's own.
            pub(crate) base_url: Option<String>,
            /// The vendor's key, or where it is found. A changed file is used at once.
            pub(crate) credential: Option<Credential>,
            $($(#[$about])* pub(crate) $field: Option<$type>,)*
        }

        impl Upstream {
            /// The keys that `[defaults]` knows as well.
            pub(crate) fn shared(&self) -> Shared {
                Shared { $($field: self.$field.clone(),)* }
            }
        }

        impl Shared {
            /// Fills the values that are missing here with those of `other`.
            pub(crate) fn or(self, other: &Shared) -> Shared {
                Shared { $($field: self.$field.or_else(|| other.$field.clone()),)* }
            }
        }
    };
}

shared! {
    /// Time limit of connecting, TLS included. Default: 2s, or `timeout` if that is less.
    connect_timeout: Time,
    /// Time limit of the whole exchange, retries and the pauses between them included.
    #[schemars(extend("default" = BUILTIN.timeout))]
    timeout: Time,
    /// The largest answer; an error's body is cut instead of refused.
    #[schemars(extend("default" = BUILTIN.max_response))]
    max_response: Size,
    /// Requests at a time; those beyond are refused at once (503), so that one slow vendor never starves another.
    #[schemars(extend("default" = BUILTIN.max_in_flight))]
    max_in_flight: u64,
    /// Limit of the attempts at a request; 1 switches retries off.
    #[schemars(extend("default" = BUILTIN.max_attempts))]
    max_attempts: u64,
    /// True if a request is sent again although the vendor may have applied it already. Default: only where the vendor
    /// takes an `Idempotency-Key`.
    retry_unknown: bool,
    /// Rate of requests that are sent, such as `"300/60s"`, or `"off"`. Default: what the vendor publishes,
    /// where the base URL is the vendor's own; else off.
    rate_limit: RateLimit,
    /// Circuit breaker: an upstream that fails gets no requests for a while.
    circuit: Circuit,
    /// File of the authorities that are trusted instead of the system's roots, PEM.
    ca_file: String,
    /// True if host names may resolve to loopback, link-local and private addresses. An address (or localhost) that
    /// is written in the URL itself is always allowed.
    #[schemars(extend("default" = BUILTIN.allow_private))]
    allow_private: bool,
    /// True if plain http is allowed off loopback; credentials are then readable on the network.
    #[schemars(extend("default" = BUILTIN.allow_plain_http))]
    allow_plain_http: bool,
    /// True if callers may send members that parlance does not know (`vendor_fields`).
    #[schemars(extend("default" = BUILTIN.allow_vendor_fields))]
    allow_vendor_fields: bool,
    /// Time after which an idle connection is closed; less than vendors keep theirs.
    #[schemars(extend("default" = BUILTIN.pool_idle_timeout))]
    pool_idle_timeout: Time,
    /// Age at which a connection is replaced by a new one, so that changed addresses are noticed.
    #[schemars(extend("default" = BUILTIN.max_connection_age))]
    max_connection_age: Time,
    /// True if HTTP/2 is offered in the TLS handshake.
    #[schemars(extend("default" = BUILTIN.http2))]
    http2: bool,
}

/// Circuit breaker: an upstream that fails gets no requests for a while.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table such as { failures = 7 }")]
pub(crate) struct Circuit {
    /// So many failures in a row open the circuit; 0 switches this off.
    #[schemars(extend("default" = BUILTIN.failures))]
    pub(crate) failures: Option<u64>,
    /// The time over which the share of successes is counted.
    #[schemars(extend("default" = BUILTIN.window))]
    pub(crate) window: Option<Time>,
    /// With fewer requests in the window their share of successes is not looked at.
    #[schemars(extend("default" = BUILTIN.min_requests))]
    pub(crate) min_requests: Option<u64>,
    /// A lower share of successes opens the circuit; 0.0 switches this off.
    #[schemars(extend("default" = BUILTIN.success_rate, "minimum" = 0, "maximum" = 1))]
    pub(crate) success_rate: Option<f64>,
    /// Time that the circuit stays open before one request is let through; doubled each time that one fails.
    #[schemars(extend("default" = BUILTIN.open_for))]
    pub(crate) open_for: Option<Time>,
    /// The longest that it stays open.
    #[schemars(extend("default" = BUILTIN.open_for_max))]
    pub(crate) open_for_max: Option<Time>,
}
