//! The tables `[upstreams.…]` and `[defaults]` as they are written. They share most keys, which therefore stand here
//! once; the built-in defaults stand beside them and in the code that fills them in (`check_upstream`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::raw_credential::Credential;
use super::units::{RateLimit, Size, Time};

macro_rules! shared {
    ($($(#[$about:meta])* $field:ident: $type:ty,)*) => {
        /// What holds for every upstream that does not set it itself.
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
            /// Whose API it is.
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
            /// What is given here, else what is given there.
            pub(crate) fn or(self, other: &Shared) -> Shared {
                Shared { $($field: self.$field.or_else(|| other.$field.clone()),)* }
            }
        }
    };
}

shared! {
    /// How long connecting, TLS included, may take. Default: 2s, or `timeout` if that is less.
    connect_timeout: Time,
    /// How long the whole exchange may take, retries and the pauses between them included.
    #[schemars(extend("default" = "10s"))]
    timeout: Time,
    /// The largest answer; an error's body is cut instead of refused.
    #[schemars(extend("default" = "8MiB"))]
    max_response: Size,
    /// Requests at a time; those beyond are refused at once (503), so that one slow vendor never starves another.
    #[schemars(extend("default" = 256))]
    max_in_flight: u64,
    /// How often a request is sent at most: 1 switches retries off.
    #[schemars(extend("default" = 3))]
    max_attempts: u64,
    /// Whether a request is sent again although the vendor may have done it already. Default: only where the vendor
    /// takes an `Idempotency-Key`.
    retry_unknown: bool,
    /// How many requests are sent, such as `"300/60s"`, or `"off"`. Default: what the vendor publishes,
    /// where the base URL is the vendor's own; else off.
    rate_limit: RateLimit,
    /// When an upstream that fails is left alone for a while.
    circuit: Circuit,
    /// File of the authorities that are trusted instead of the system's roots, PEM.
    ca_file: String,
    /// Whether host names may resolve to loopback, link-local and private addresses. An address (or localhost) that
    /// is written in the URL itself is always allowed.
    #[schemars(extend("default" = false))]
    allow_private: bool,
    /// Whether plain http is allowed off loopback: credentials then travel readable.
    #[schemars(extend("default" = false))]
    allow_plain_http: bool,
    /// Whether callers may send members that parlance does not know (`vendor_fields`).
    #[schemars(extend("default" = false))]
    allow_vendor_fields: bool,
    /// How long an idle connection is kept; less than vendors keep theirs.
    #[schemars(extend("default" = "30s"))]
    pool_idle_timeout: Time,
    /// How long a connection is used before a new one is opened, so that changed addresses are noticed.
    #[schemars(extend("default" = "5m"))]
    max_connection_age: Time,
    /// Whether HTTP/2 is offered in the TLS handshake.
    #[schemars(extend("default" = true))]
    http2: bool,
}

/// When an upstream that fails is left alone for a while.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table such as { failures = 7 }")]
pub(crate) struct Circuit {
    /// So many failures in a row open the circuit; 0 switches this off.
    #[schemars(extend("default" = 7))]
    pub(crate) failures: Option<u64>,
    /// The time over which the share of successes is counted.
    #[schemars(extend("default" = "30s"))]
    pub(crate) window: Option<Time>,
    /// With fewer requests in the window their share of successes is not looked at.
    #[schemars(extend("default" = 20))]
    pub(crate) min_requests: Option<u64>,
    /// A lower share of successes opens the circuit; 0.0 switches this off.
    #[schemars(extend("default" = 0.5, "minimum" = 0, "maximum" = 1))]
    pub(crate) success_rate: Option<f64>,
    /// How long the circuit stays open before one request is let through; doubled each time that one fails.
    #[schemars(extend("default" = "1s"))]
    pub(crate) open_for: Option<Time>,
    /// The longest that it stays open.
    #[schemars(extend("default" = "30s"))]
    pub(crate) open_for_max: Option<Time>,
}
