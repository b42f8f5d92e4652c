//! Errors of making a connection.

use std::error::Error as StdError;
use std::io;

use crate::types::code::ProxyError;

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectError {
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

impl ConnectError {
    /// The reason for people, and the RFC 9209 error type.
    fn words(self) -> (&'static str, ProxyError) {
        match self {
            ConnectError::Timeout => ("the connect timeout passed", ProxyError::ConnectionTimeout),
            ConnectError::Dns => ("the name does not resolve", ProxyError::DnsError),
            ConnectError::DnsTimeout => ("the name did not resolve in time", ProxyError::DnsTimeout),
            ConnectError::Forbidden => {
                ("the name resolves to addresses that are not public", ProxyError::DestinationIpProhibited)
            }
            ConnectError::Refused => ("the connection was refused", ProxyError::ConnectionRefused),
            ConnectError::Unroutable => ("there is no route to it", ProxyError::DestinationIpUnroutable),
            ConnectError::Certificate => ("its certificate is not valid", ProxyError::TlsCertificateError),
            ConnectError::TlsAlert => ("it refused the TLS handshake", ProxyError::TlsAlertReceived),
            ConnectError::Tls => ("the TLS handshake failed", ProxyError::TlsProtocolError),
            ConnectError::Broken => {
                ("the connection broke while it was made", ProxyError::ConnectionTerminated)
            }
            ConnectError::Other => ("the connection failed", ProxyError::DestinationUnavailable),
        }
    }

    /// RFC 9209 error type.
    pub(super) fn proxy_error(self) -> ProxyError {
        self.words().1
    }

    /// Whether the time was over, rather than that something was said.
    pub(super) fn is_timeout(self) -> bool {
        matches!(self, ConnectError::Timeout | ConnectError::DnsTimeout)
    }

    /// Finds the reason in a chain of errors.
    pub(super) fn find(error: &(dyn StdError + 'static)) -> ConnectError {
        let mut at = Some(error);
        let mut found = ConnectError::Other;
        while let Some(error) = at {
            if let Some(fault) = error.downcast_ref::<ConnectError>() {
                return *fault;
            }
            if let Some(tls) = error.downcast_ref::<rustls::Error>() {
                return ConnectError::tls(tls);
            }
            if let Some(io) = error.downcast_ref::<io::Error>() {
                // What an `io::Error` carries is not its source: it is looked at here.
                if let Some(inner) = io.get_ref() {
                    let inner = ConnectError::find(inner);
                    if inner != ConnectError::Other {
                        return inner;
                    }
                }
                found = match io.kind() {
                    io::ErrorKind::ConnectionRefused => ConnectError::Refused,
                    io::ErrorKind::TimedOut => ConnectError::Timeout,
                    io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                        ConnectError::Unroutable
                    }
                    io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof => ConnectError::Broken,
                    _ => found,
                };
            }
            at = error.source();
        }
        found
    }

    fn tls(error: &rustls::Error) -> ConnectError {
        match error {
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
                ConnectError::Certificate
            }
            rustls::Error::AlertReceived(_) => ConnectError::TlsAlert,
            _ => ConnectError::Tls,
        }
    }
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.words().0)
    }
}

impl StdError for ConnectError {}
