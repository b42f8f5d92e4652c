//! Whether two configurations mean the same upstream, so that a reload can leave it as it is.

use subtle::ConstantTimeEq;

use super::checked::{Credential, OAuth2, Upstream};
use super::secret::Secret;

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
    }
}

impl Eq for Secret {}

impl PartialEq for Credential {
    /// A file is the same file whatever stands in it by now: it is read again by whoever uses it.
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

impl PartialEq for OAuth2 {
    fn eq(&self, other: &Self) -> bool {
        // Taken apart, so that a new setting makes the compiler ask here.
        let OAuth2 { token_url, client_id, client_secret, scope, style, allow_private } = self;
        *token_url == other.token_url
            && *client_id == other.client_id
            && *client_secret == other.client_secret
            && *scope == other.scope
            && *style == other.style
            && *allow_private == other.allow_private
    }
}

impl PartialEq for Upstream {
    fn eq(&self, other: &Self) -> bool {
        let Upstream {
            vendor,
            adapter,
            credential,
            ca_file,
            connect_timeout,
            timeout,
            max_response,
            max_in_flight,
            max_attempts,
            retry_unknown,
            allow_private,
            allow_plain_http,
            pool_idle_timeout,
            max_connection_age,
            http2,
            rate_limit,
            circuit,
        } = self;
        vendor.spec().vendor == other.vendor.spec().vendor
            && *adapter == other.adapter
            && *credential == other.credential
            && *ca_file == other.ca_file
            && *connect_timeout == other.connect_timeout
            && *timeout == other.timeout
            && *max_response == other.max_response
            && *max_in_flight == other.max_in_flight
            && *max_attempts == other.max_attempts
            && *retry_unknown == other.retry_unknown
            && *allow_private == other.allow_private
            && *allow_plain_http == other.allow_plain_http
            && *pool_idle_timeout == other.pool_idle_timeout
            && *max_connection_age == other.max_connection_age
            && *http2 == other.http2
            && *rate_limit == other.rate_limit
            && *circuit == other.circuit
    }
}
