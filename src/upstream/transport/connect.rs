//! The way to a vendor: names to addresses, TCP, TLS, all within the connect timeout.

use std::error::Error as StdError;
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

/// How long a new connection without TLS is looked at before it is used.
const GLANCE: Duration = Duration::from_millis(1);

type BoxError = Box<dyn StdError + Send + Sync>;
type MaybeTls = HttpsConnector<HttpConnector<Resolver>>;

/// Trusted certificates.
pub type Roots = Arc<RootCertStore>;

/// Connections made and not made.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) made: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// Connects within the connect timeout, TLS included.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    wire: MaybeTls,
    timeout: Duration,
    counters: Arc<Counters>,
}

impl Connector {
    pub(super) fn new(settings: &settings::Upstream) -> Result<Self, String> {
        let origin = &settings.adapter.origin;
        // An address that the operator wrote himself is meant; only a name could lead elsewhere.
        let allow_private = settings.allow_private || is_local_literal(origin.authority().host());
        // A little less than for the whole, so that a silent name server is told from a silent vendor.
        let resolver = Resolver::new(allow_private, settings.connect_timeout.mul_f64(0.95));
        let mut http = HttpConnector::new_with_resolver(resolver);
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
        Ok(Connector { wire, timeout: settings.connect_timeout, counters: Arc::default() })
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
        self.wire.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.wire.call(uri);
        let timeout = self.timeout;
        let counters = Arc::clone(&self.counters);
        Box::pin(async move {
            let connected = match tokio::time::timeout(timeout, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(ConnectError::Timeout.into()),
            };
            let connected = match connected {
                Ok(MaybeHttpsStream::Http(io)) if hung_up(io.inner()).await => {
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

/// Whether the peer of a new connection without TLS closes it at once, as balancers do that have nobody behind them.
/// Noticed before the request is sent, this is no doubt about the update. TLS finds it out in its handshake.
async fn hung_up(tcp: &TcpStream) -> bool {
    matches!(tokio::time::timeout(GLANCE, tcp.peek(&mut [0])).await, Ok(Ok(0) | Err(_)))
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

/// Whether a base URL's host is itself an address (or `localhost`).
fn is_local_literal(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}
