//! The way to a vendor: names to addresses, TCP, TLS, all within the connect timeout.

use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tower::Service;

use crate::settings;

type BoxError = Box<dyn StdError + Send + Sync>;
type Wire = HttpsConnector<HttpConnector<Resolver>>;

/// Trusted certificates.
pub type Roots = Arc<RootCertStore>;

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectFault {
    Timeout,
    Dns,
    Forbidden,
    Refused,
    Tls,
    Other,
}

impl std::fmt::Display for ConnectFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ConnectFault::Timeout => "the connect timeout passed",
            ConnectFault::Dns => "the name does not resolve",
            ConnectFault::Forbidden => "the name resolves to addresses that are not public",
            ConnectFault::Refused => "the connection was refused",
            ConnectFault::Tls => "the TLS handshake failed",
            ConnectFault::Other => "the connection failed",
        })
    }
}

impl StdError for ConnectFault {}

impl ConnectFault {
    /// RFC 9209 error type.
    pub(super) fn proxy_error(self) -> &'static str {
        match self {
            ConnectFault::Timeout => "connection_timeout",
            ConnectFault::Dns => "dns_error",
            ConnectFault::Forbidden => "destination_ip_prohibited",
            ConnectFault::Refused => "connection_refused",
            ConnectFault::Tls => "tls_protocol_error",
            ConnectFault::Other => "destination_unavailable",
        }
    }

    /// Finds the reason in a chain of errors.
    pub(super) fn find(error: &(dyn StdError + 'static)) -> ConnectFault {
        let mut at = Some(error);
        while let Some(error) = at {
            if let Some(fault) = error.downcast_ref::<ConnectFault>() {
                return *fault;
            }
            if error.is::<rustls::Error>() {
                return ConnectFault::Tls;
            }
            if let Some(io) = error.downcast_ref::<io::Error>() {
                match io.get_ref() {
                    Some(inner) if inner.is::<rustls::Error>() => return ConnectFault::Tls,
                    Some(inner) if inner.is::<ConnectFault>() => return ConnectFault::find(inner),
                    _ if io.kind() == io::ErrorKind::ConnectionRefused => return ConnectFault::Refused,
                    _ => {}
                }
            }
            at = error.source();
        }
        ConnectFault::Other
    }
}

/// Connects within the connect timeout, TLS included.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    wire: Wire,
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(settings: &settings::Upstream) -> Result<Self, String> {
        let origin = &settings.adapter.origin;
        // An address that the operator wrote himself is meant; only a name could lead elsewhere.
        let inside_is_meant = settings.allow_private || is_local_literal(origin.authority().host());
        let mut http = HttpConnector::new_with_resolver(Resolver { inside_is_meant });
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(settings.connect_timeout));
        let tls = client_config(origin.scheme() == "https", settings.ca_file.as_deref())?;
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let wire = if settings.http2 {
            builder.enable_all_versions().wrap_connector(http)
        } else {
            builder.enable_http1().wrap_connector(http)
        };
        Ok(Connector { wire, timeout: settings.connect_timeout })
    }
}

impl Service<Uri> for Connector {
    type Response = <Wire as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.wire.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.wire.call(uri);
        let timeout = self.timeout;
        Box::pin(async move {
            match tokio::time::timeout(timeout, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(ConnectFault::Timeout.into()),
            }
        })
    }
}

/// TLS 1.2 and 1.3 with verification; there is no way to switch it off.
fn client_config(needed: bool, ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let roots = match ca_file {
        Some(path) => read_roots(path)?,
        None if needed => system_roots(),
        None => Arc::new(RootCertStore::empty()),
    };
    // Named, so that no other crate of the process decides it.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.map_err(|e| e.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn read_roots(path: &Path) -> Result<Roots, String> {
    let shown = path.display();
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|e| format!("ca_file {shown} cannot be read: {e}"))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|e| format!("ca_file {shown} is not PEM: {e}"))?;
        roots
            .add(certificate)
            .map_err(|e| format!("ca_file {shown} holds a certificate that cannot be used: {e}"))?;
    }
    if roots.is_empty() {
        return Err(format!("ca_file {shown} holds no certificate; give a PEM file"));
    }
    Ok(Arc::new(roots))
}

/// The system's trusted certificates, read once.
pub fn system_roots() -> Roots {
    static ROOTS: OnceLock<Roots> = OnceLock::new();
    Arc::clone(ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    }))
}

/// Resolves names, and refuses one that leads to the inside unless that is meant.
#[derive(Debug, Clone)]
pub(super) struct Resolver {
    inside_is_meant: bool,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let inside_is_meant = self.inside_is_meant;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let mut addresses: Vec<SocketAddr> =
                found.map_err(|_| io::Error::other(ConnectFault::Dns))?.collect();
            if addresses.is_empty() {
                return Err(io::Error::other(ConnectFault::Dns));
            }
            if !inside_is_meant {
                addresses.retain(|address| !is_inside(address.ip()));
                if addresses.is_empty() {
                    return Err(io::Error::other(ConnectFault::Forbidden));
                }
            }
            Ok(addresses.into_iter())
        })
    }
}

/// Whether a base URL's host is itself an address (or `localhost`).
fn is_local_literal(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// Addresses that no public vendor has: loopback, private, link-local (the cloud's metadata among them), unspecified,
/// shared and unique-local ones, also when written as IPv6.
pub(crate) fn is_inside(address: IpAddr) -> bool {
    let v4 = |a: Ipv4Addr| {
        a.is_private()
            || a.is_loopback()
            || a.is_link_local()
            || a.is_unspecified()
            || a.is_broadcast()
            || a.is_multicast()
            || a.is_documentation()
            || matches!(
                a.octets(),
                [0, ..] | [100, 64..=127, ..] | [198, 18 | 19, ..] | [192, 0, 0, _] | [240..=255, ..]
            )
    };
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => {
            if let Some(mapped) = address.to_ipv4_mapped() {
                return v4(mapped);
            }
            match address.segments() {
                // 6to4 and NAT64 carry an IPv4 address.
                [0x2002, high, low, ..] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                    v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
                }
                _ => {
                    address.is_loopback()
                        || address.is_unspecified()
                        || address.is_unique_local()
                        || address.is_unicast_link_local()
                        || address.is_multicast()
                }
            }
        }
    }
}
