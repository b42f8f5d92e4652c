//! TLS of the API listener: its certificate, the authorities that it trusts, and the identity of the client.

use std::io;
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
use crate::types::build_error::BuildError;

/// Configuration key of the authorities that sign client certificates.
const CLIENT_CA: &str = "server.tls.client_ca";

/// ALPN protocol id of HTTP/2 (RFC 9113 section 3.2).
const ALPN_HTTP2: &[u8] = b"h2";
/// ALPN protocol id of HTTP/1.1 (RFC 7301 section 6).
pub(super) const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Names in a client's certificate, which one of the configured authorities signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientIdentity {
    /// DNS names, compared without regard to case.
    pub dns: Vec<String>,
    /// URIs and common names, compared exactly.
    pub exact: Vec<String>,
}

impl ClientIdentity {
    /// Returns true if the certificate holds `name`.
    pub fn is(&self, name: &str) -> bool {
        self.exact.iter().any(|known| known == name)
            || self.dns.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Reads the names of a verified certificate.
    fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = EndEntityCert::try_from(certificate).ok()?;
        let mut exact: Vec<String> = certificate.valid_uri_names().map(str::to_owned).collect();
        exact.extend(common_names(certificate.subject()));
        Some(ClientIdentity { dns: certificate.valid_dns_names().map(str::to_owned).collect(), exact })
    }
}

/// TLS made of one set of files. Immutable: changed files make a new one.
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
    /// Reads the files. Accepts TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, and no early data. With `client_ca`, clients must
    /// present a certificate that it signed.
    ///
    /// # Errors
    /// A file that cannot be read or used. The message holds no content of a file.
    pub fn new(settings: &ServerTls) -> Result<Self, BuildError> {
        // Explicit, because another crate may install a default provider for the process.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| BuildError::new("server.tls", error))?;
        let builder = match &settings.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider)
                    .build()
                    .map_err(|error| BuildError::new(CLIENT_CA, error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = certificates("server.tls.certificate", &settings.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&settings.key).map_err(|_| {
            BuildError::new(
                "server.tls.key",
                format!("{} holds no usable private key", settings.key.display()),
            )
        })?;
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            let message = format!("the certificate and the key cannot be used together: {error}");
            BuildError::new("server.tls", message)
        })?;
        config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
        Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// Performs the handshake, without a time limit.
    ///
    /// # Errors
    /// A failed handshake.
    pub async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(Box<TlsStream<TcpStream>>, Option<Arc<ClientIdentity>>)> {
        let stream = self.acceptor.accept(stream).await?;
        let (_, connection) = stream.get_ref();
        let client = connection.peer_certificates().and_then(<[_]>::first).map(|certificate| {
            // A certificate that cannot be read has no names, so it matches no caller.
            Arc::new(ClientIdentity::read(certificate).unwrap_or_default())
        });
        Ok((Box::new(stream), client))
    }
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let wrong = || BuildError::new(key, format!("{} holds no certificate in PEM form", path.display()));
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|_| wrong())?.collect();
    chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(wrong)
}

fn roots(path: &Path) -> Result<RootCertStore, BuildError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(CLIENT_CA, path)? {
        roots.add(certificate).map_err(|error| {
            BuildError::new(CLIENT_CA, format!("{} holds an unusable certificate: {error}", path.display()))
        })?;
    }
    Ok(roots)
}

/// Object identifier 2.5.4.3 (`id-at-commonName`) in DER.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Returns the common names of a subject (RFC 5280 section 4.1.2.4: a sequence of sets of pairs of an identifier and a
/// string). Skips elements of another form, because the certificate is verified already.
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

/// Iterator over the elements of a DER value, each as tag and content. Ends at the first malformed element.
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
    fn dns_names_are_compared_without_case_and_other_names_exactly() {
        let client = ClientIdentity {
            dns: vec!["crm.example.org".to_owned()],
            exact: vec!["spiffe://example.org/crm".to_owned(), "crm".to_owned()],
        };
        for name in ["crm.example.org", "CRM.Example.org", "spiffe://example.org/crm", "crm"] {
            assert!(client.is(name), "{name}");
        }
        for name in ["spiffe://example.org/CRM", "CRM", "example.org", "crm.example.org.", ""] {
            assert!(!client.is(name), "{name}");
        }
    }
}
