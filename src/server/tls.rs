//! TLS of the API listener: what it shows, whom it trusts, and who is at the other end.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use webpki::EndEntityCert;

use crate::settings::ServerTls;

/// ALPN protocol id of HTTP/2 (RFC 9113 section 3.2).
const ALPN_HTTP2: &[u8] = b"h2";
/// ALPN protocol id of HTTP/1.1 (RFC 7301 section 6).
pub(super) const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The names in a client's certificate, which one of the configured authorities signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientIdentity {
    /// DNS names, in which case does not matter.
    pub dns: Vec<String>,
    /// URIs and the common name, to be compared exactly.
    pub exact: Vec<String>,
}

impl ClientIdentity {
    /// Whether the certificate holds this name.
    pub fn is(&self, name: &str) -> bool {
        self.exact.iter().any(|own| own == name) || self.dns.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Reads the names of a certificate that was verified.
    fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = EndEntityCert::try_from(certificate).ok()?;
        let mut exact: Vec<String> = certificate.valid_uri_names().map(str::to_owned).collect();
        exact.extend(common_names(certificate.subject()));
        Some(ClientIdentity { dns: certificate.valid_dns_names().map(str::to_owned).collect(), exact })
    }
}

/// TLS with one set of files. It does not change: changed files make a new one.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files. TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, no early data; with `client_ca`, clients must show a
    /// certificate that it signed. The error names the key that is at fault and shows nothing of any file.
    pub fn new(settings: &ServerTls) -> Result<Self, String> {
        // Named, so that no other crate of the process decides it.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("server.tls: {error}"))?;
        let builder = match &settings.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider)
                    .build()
                    .map_err(|error| format!("server.tls.client_ca: {error}"))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = certificates("certificate", &settings.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&settings.key)
            .map_err(|_| format!("server.tls.key: {} holds no usable private key", settings.key.display()))?;
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            format!("server.tls: the certificate and the key cannot be used together: {error}")
        })?;
        config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
        Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// Shakes hands. It may take as long as the peer likes: the limit is the caller's.
    pub async fn accept(
        &self,
        stream: TcpStream,
    ) -> std::io::Result<(TlsStream<TcpStream>, Option<ClientIdentity>)> {
        let stream = self.acceptor.accept(stream).await?;
        let (_, connection) = stream.get_ref();
        let peer = connection.peer_certificates().and_then(<[_]>::first).map(|certificate| {
            // What cannot be read holds no name: the peer is somebody, but nobody who is known.
            ClientIdentity::read(certificate).unwrap_or_default()
        });
        Ok((stream, peer))
    }
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = || format!("server.tls.{key}: {} holds no certificate in PEM form", path.display());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|_| wrong())?.collect();
    chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(wrong)
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("client_ca", path)? {
        roots.add(certificate).map_err(|error| {
            format!("server.tls.client_ca: {} holds an unusable certificate: {error}", path.display())
        })?;
    }
    Ok(roots)
}

/// Object identifier 2.5.4.3, as DER writes it.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// The common names of a subject: RFC 5280, a sequence of sets of pairs of an identifier and a string. The
/// certificate was verified, so what does not fit is left out rather than refused.
fn common_names(subject: &[u8]) -> Vec<String> {
    const SEQUENCE: u8 = 0x30;
    const SET: u8 = 0x31;
    const OBJECT_ID: u8 = 0x06;
    const STRINGS: [u8; 3] = [0x0c, 0x13, 0x16];
    let mut names = Vec::new();
    for (_, set) in Elements(subject).filter(|(tag, _)| *tag == SET) {
        for (_, pair) in Elements(set).filter(|(tag, _)| *tag == SEQUENCE) {
            let mut parts = Elements(pair);
            if let (Some((OBJECT_ID, COMMON_NAME)), Some((tag, value))) = (parts.next(), parts.next())
                && STRINGS.contains(&tag)
                && let Ok(name) = std::str::from_utf8(value)
            {
                names.push(name.to_owned());
            }
        }
    }
    names
}

/// The elements of a DER value: tag and content. It ends at whatever is no element.
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81 => rest.split_first().map(|(&length, rest)| (usize::from(length), rest))?,
            0x82 => {
                let (length, rest) = rest.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*length)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names_are_found_and_nonsense_is_not() {
        // SET { SEQUENCE { 2.5.4.3, UTF8String "crm" } }, after SET { SEQUENCE { 2.5.4.10, PrintableString "O" } }.
        let organization = [0x31, 0x0a, 0x30, 0x08, 0x06, 0x03, 0x55, 0x04, 0x0a, 0x13, 0x01, b'O'];
        let crm = [0x31, 0x0c, 0x30, 0x0a, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x03, b'c', b'r', b'm'];
        let subject = [&organization[..], &crm[..]].concat();
        assert_eq!(common_names(&subject), ["crm"]);
        for cut in 0..subject.len() {
            assert!(common_names(&subject[..cut]).is_empty(), "{cut}");
        }
        assert!(common_names(&[0x31, 0x84, 0xff, 0xff, 0xff, 0xff]).is_empty());
        assert!(common_names(&[0x31, 0x82, 0xff]).is_empty());
    }

    #[test]
    fn names_are_compared_as_their_kind_wants_it() {
        let peer = ClientIdentity {
            dns: vec!["crm.example.org".to_owned()],
            exact: vec!["spiffe://example.org/crm".to_owned(), "crm".to_owned()],
        };
        for name in ["crm.example.org", "CRM.Example.org", "spiffe://example.org/crm", "crm"] {
            assert!(peer.is(name), "{name}");
        }
        for name in ["spiffe://example.org/CRM", "CRM", "example.org", "crm.example.org.", ""] {
            assert!(!peer.is(name), "{name}");
        }
    }
}
