//! Errors of connecting.

use std::error::Error as StdError;
use std::io;

use crate::types::code::ProxyError;

/// Reason for a failed connection.
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
    /// Text for the caller, and the error type of RFC 9209 section 2.3.
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

    /// Error type of RFC 9209 section 2.3.
    pub(super) fn proxy_error(self) -> ProxyError {
        self.words().1
    }

    /// Finds the reason in a chain of errors; `Other` without a known one.
    pub(super) fn find(error: &(dyn StdError + 'static)) -> ConnectError {
        let mut at = Some(error);
        let mut found = ConnectError::Other;
        while let Some(error) = at {
            if let Some(reason) = error.downcast_ref::<ConnectError>() {
                return *reason;
            }
            if let Some(tls) = error.downcast_ref::<rustls::Error>() {
                return ConnectError::tls(tls);
            }
            if let Some(io) = error.downcast_ref::<io::Error>() {
                // `io::Error::source` skips the error that it wraps.
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
