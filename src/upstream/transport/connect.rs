//! Connecting to a vendor: DNS, TCP and TLS within the connect timeout.

use std::error::Error as StdError;
use std::fmt::Display;
use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::Service;

use super::connect_error::ConnectError;
use super::connection::PooledConnection;
use super::resolve::Resolver;
use crate::settings;
use crate::types::build_error::BuildError;

/// Time in which a new connection without TLS is checked for a close by its peer.
const CLOSE_CHECK: Duration = Duration::from_millis(1);

type BoxError = Box<dyn StdError + Send + Sync>;
type MaybeTls = HttpsConnector<HttpConnector<Resolver>>;

/// Trusted root certificates.
pub type Roots = Arc<RootCertStore>;

/// Numbers of connections made and of failed attempts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) made: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// Connects within the connect timeout, TLS handshake included.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    inner: MaybeTls,
    timeout: Duration,
    counters: Arc<Counters>,
}

impl Connector {
    pub(super) fn new(settings: &settings::Upstream) -> Result<Self, BuildError> {
        let origin = &settings.adapter.origin;
        // An address in `base_url` is the operator's choice; only a name may resolve to a private one unnoticed.
        let allow_private = settings.allow_private || is_literal(origin.authority().host());
        // Shorter than the connect timeout, so that a silent name server is not reported as a silent vendor.
        let resolver = Resolver::new(allow_private, settings.connect_timeout.mul_f64(0.95));
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(settings.connect_timeout));
        let tls = client_config(origin.scheme() == "https", settings.ca_file.as_deref())?;
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let inner = if settings.http2 {
            builder.enable_all_versions().wrap_connector(http)
        } else {
            builder.enable_http1().wrap_connector(http)
        };
        Ok(Connector { inner, timeout: settings.connect_timeout, counters: Arc::default() })
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl Service<Uri> for Connector {
    type Response = PooledConnection;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.inner.call(uri);
        let timeout = self.timeout;
        let counters = Arc::clone(&self.counters);
        Box::pin(async move {
            let connected = match tokio::time::timeout(timeout, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(ConnectError::Timeout.into()),
            };
            let connected = match connected {
                Ok(MaybeHttpsStream::Http(io)) if closed_by_peer(io.inner()).await => {
                    Err(ConnectError::Broken.into())
                }
                connected => connected,
            };
            let count = if connected.is_ok() { &counters.made } else { &counters.failed };
            count.fetch_add(1, Relaxed);
            connected.map(PooledConnection)
        })
    }
}

/// True if the peer of a new connection without TLS closes it at once, as load balancers without a backend do. Found
/// before the request is sent, it leaves no doubt about the update. With TLS the handshake finds it.
async fn closed_by_peer(tcp: &TcpStream) -> bool {
    matches!(tokio::time::timeout(CLOSE_CHECK, tcp.peek(&mut [0])).await, Ok(Ok(0) | Err(_)))
}

/// TLS 1.2 and 1.3. Verification cannot be switched off.
fn client_config(needed: bool, ca_file: Option<&Path>) -> Result<ClientConfig, BuildError> {
    let roots = match ca_file {
        Some(path) => read_roots(path)?,
        None if needed => system_roots(),
        None => Arc::new(RootCertStore::empty()),
    };
    // Explicit: the process-wide default provider may be set by another crate.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.map_err(|e| BuildError::new("base_url", e))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn read_roots(path: &Path) -> Result<Roots, BuildError> {
    let error = |message: &dyn Display| {
        BuildError::new("ca_file", format_args!("the file {} {message}", path.display()))
    };
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|e| error(&format_args!("cannot be read: {e}")))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|e| error(&format_args!("is not PEM: {e}")))?;
        roots
            .add(certificate)
            .map_err(|e| error(&format_args!("holds a certificate that cannot be used: {e}")))?;
    }
    if roots.is_empty() {
        return Err(error(&"holds no certificate; give a PEM file"));
    }
    Ok(Arc::new(roots))
}

/// The system's root certificates, read on the first call.
pub fn system_roots() -> Roots {
    static ROOTS: OnceLock<Roots> = OnceLock::new();
    Arc::clone(ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    }))
}

/// True for the host of a URL that is an IP address or `localhost`.
fn is_literal(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_that_cannot_be_used_is_an_error_at_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let table = [
            (None, "cannot be read: "),
            (Some(""), "holds no certificate; give a PEM file"),
            (Some("-----BEGIN CERTIFICATE-----\n"), "is not PEM: "),
            (Some(broken), "holds a certificate that cannot be used: "),
        ];
        for (at, (content, message)) in table.into_iter().enumerate() {
            let path = folder.path().join(format!("{at}.pem"));
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            let error = client_config(true, Some(&path)).unwrap_err();
            assert_eq!(error.key, "ca_file");
            let expected = format!("the file {} {message}", path.display());
            assert!(error.message.starts_with(&expected), "{}", error.message);
        }
    }
}
