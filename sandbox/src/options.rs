//! How a sandbox is started.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// How a sandbox is started. The default listens on 127.0.0.1, control on port 9100, the vendors on the next ports.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address to listen on. Only a loopback address is taken: the sandbox accepts published credentials.
    pub host: IpAddr,
    /// The port of the control side; the vendors follow in the order of [`vendors`](crate::vendors). 0 lets the system
    /// choose every port.
    pub base_port: u16,
    /// Serves the vendors, not the control side, under TLS.
    pub tls: Option<Tls>,
    /// Whether the ledger is written from the start.
    pub ledger: bool,
    /// How many requests, and how many connections, the ledger keeps.
    pub ledger_entries: usize,
    /// How many bytes of requests the ledger keeps.
    pub ledger_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            base_port: 9100,
            tls: None,
            ledger: true,
            ledger_entries: 100_000,
            ledger_bytes: 256 << 20,
        }
    }
}

/// A certificate chain and its key, both as PEM.
#[derive(Clone)]
pub struct Tls {
    /// The chain, the server's own certificate first.
    pub certificates_pem: Vec<u8>,
    /// The private key.
    pub key_pem: Vec<u8>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("certificates_pem", &self.certificates_pem.len()).finish_non_exhaustive()
    }
}

impl Tls {
    pub(crate) fn acceptor(&self) -> io::Result<TlsAcceptor> {
        let bad = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        let chain = CertificateDer::pem_slice_iter(&self.certificates_pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|why| bad(format!("the certificates are not PEM: {why}")))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key_pem)
            .map_err(|why| bad(format!("the key is not PEM: {why}")))?;
        // The provider is named, so that no other crate of the process can have installed another one.
        let mut config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|why| bad(why.to_string()))?
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .map_err(|why| bad(format!("the certificate and the key do not go together: {why}")))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
