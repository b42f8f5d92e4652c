//! The way to a vendor: names to addresses, TCP, TLS, all within the connect timeout.

use std::error::Error as StdError;
use std::future::Future;
use std::io;
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

use super::link::Link;
use super::resolve::Resolver;
use crate::settings;

/// How long a new connection without TLS is looked at before it is used.
const GLANCE: Duration = Duration::from_millis(1);

type BoxError = Box<dyn StdError + Send + Sync>;
type Wire = HttpsConnector<HttpConnector<Resolver>>;

/// Trusted certificates.
pub type Roots = Arc<RootCertStore>;

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectFault {
    Timeout,
    Dns,
    DnsTimeout,
    Forbidden,
    Refused,
    Unroutable,
    Certificate,
    TlsAlert,
    Tls,
    Broken,
    Other,
}

impl ConnectFault {
    /// The reason for people, and the RFC 9209 error type.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            ConnectFault::Timeout => ("the connect timeout passed", "connection_timeout"),
            ConnectFault::Dns => ("the name does not resolve", "dns_error"),
            ConnectFault::DnsTimeout => ("the name did not resolve in time", "dns_timeout"),
            ConnectFault::Forbidden => {
                ("the name resolves to addresses that are not public", "destination_ip_prohibited")
            }
            ConnectFault::Refused => ("the connection was refused", "connection_refused"),
            ConnectFault::Unroutable => ("there is no route to it", "destination_ip_unroutable"),
            ConnectFault::Certificate => ("its certificate is not valid", "tls_certificate_error"),
            ConnectFault::TlsAlert => ("it refused the TLS handshake", "tls_alert_received"),
            ConnectFault::Tls => ("the TLS handshake failed", "tls_protocol_error"),
            ConnectFault::Broken => ("the connection broke while it was made", "connection_terminated"),
            ConnectFault::Other => ("the connection failed", "destination_unavailable"),
        }
    }

    /// RFC 9209 error type.
    pub(super) fn proxy_error(self) -> &'static str {
        self.words().1
    }

    /// Whether the time was over, rather than that something was said.
    pub(super) fn is_timeout(self) -> bool {
        matches!(self, ConnectFault::Timeout | ConnectFault::DnsTimeout)
    }

    /// Finds the reason in a chain of errors.
    pub(super) fn find(error: &(dyn StdError + 'static)) -> ConnectFault {
        let mut at = Some(error);
        let mut found = ConnectFault::Other;
        while let Some(error) = at {
            if let Some(fault) = error.downcast_ref::<ConnectFault>() {
                return *fault;
            }
            if let Some(tls) = error.downcast_ref::<rustls::Error>() {
                return ConnectFault::tls(tls);
            }
            if let Some(io) = error.downcast_ref::<io::Error>() {
                // What an `io::Error` carries is not its source: it is looked at here.
                if let Some(inner) = io.get_ref() {
                    let inner = ConnectFault::find(inner);
                    if inner != ConnectFault::Other {
                        return inner;
                    }
                }
                found = match io.kind() {
                    io::ErrorKind::ConnectionRefused => ConnectFault::Refused,
                    io::ErrorKind::TimedOut => ConnectFault::Timeout,
                    io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                        ConnectFault::Unroutable
                    }
                    io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof => ConnectFault::Broken,
                    _ => found,
                };
            }
            at = error.source();
        }
        found
    }

    fn tls(error: &rustls::Error) -> ConnectFault {
        match error {
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
                ConnectFault::Certificate
            }
            rustls::Error::AlertReceived(_) => ConnectFault::TlsAlert,
            _ => ConnectFault::Tls,
        }
    }
}

impl std::fmt::Display for ConnectFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.words().0)
    }
}

impl StdError for ConnectFault {}

/// Connections made and not made.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) made: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// Connects within the connect timeout, TLS included.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    wire: Wire,
    timeout: Duration,
    counters: Arc<Counters>,
}

impl Connector {
    pub(super) fn new(settings: &settings::Upstream) -> Result<Self, String> {
        let origin = &settings.adapter.origin;
        // An address that the operator wrote himself is meant; only a name could lead elsewhere.
        let inside_is_meant = settings.allow_private || is_local_literal(origin.authority().host());
        // A little less than for the whole, so that a silent name server is told from a silent vendor.
        let resolver = Resolver::new(inside_is_meant, settings.connect_timeout.mul_f64(0.95));
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
    type Response = Link;
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
                Err(_) => Err(ConnectFault::Timeout.into()),
            };
            let connected = match connected {
                Ok(MaybeHttpsStream::Http(io)) if hung_up(io.inner()).await => {
                    Err(ConnectFault::Broken.into())
                }
                connected => connected,
            };
            let count = if connected.is_ok() { &counters.made } else { &counters.failed };
            count.fetch_add(1, Relaxed);
            connected.map(Link)
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
