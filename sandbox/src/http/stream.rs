//! One socket, plain or under TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::server::TlsStream;

/// A peer that floods a connection nobody reads is not buffered without end.
const MAX_UNREAD: usize = 2 << 20;

/// A connection as accepted.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    TimeOver,
    PeerGone,
}

impl Stream {
    /// Makes the coming close a reset: the peer sees RST instead of FIN.
    pub(crate) fn arm_reset(&self) {
        let tcp = match self {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.get_ref().0,
        };
        // A socket that refuses is already gone, which is what the reset is for.
        let _ = tcp.set_zero_linger();
    }

    /// Sends all of it; how much went to the socket before the peer was gone, if it is gone.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), u64> {
        let mut left = bytes;
        let sent = |left: &[u8]| (bytes.len() - left.len()) as u64;
        while !left.is_empty() {
            match self.write(left).await {
                Ok(written) if written > 0 => left = left.get(written..).unwrap_or_default(),
                _ => return Err(sent(left)),
            }
        }
        self.flush().await.map_err(|_| sent(left))
    }

    /// Waits without answering, watching whether the peer goes away; what it sends meanwhile is kept in `buffer`.
    pub(crate) async fn wait(&mut self, buffer: &mut BytesMut, time: Duration) -> Waited {
        let end = Instant::now() + time;
        loop {
            if buffer.len() > MAX_UNREAD {
                tokio::time::sleep_until(end).await;
                return Waited::TimeOver;
            }
            match timeout_at(end, self.read_buf(buffer)).await {
                Err(_) => return Waited::TimeOver,
                Ok(Ok(0) | Err(_)) => return Waited::PeerGone,
                Ok(Ok(_)) => {}
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Tls(s) => Pin::new(s.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Stream::Tls(s) => Pin::new(s.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_flush(cx),
            Stream::Tls(s) => Pin::new(s.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Tls(s) => Pin::new(s.as_mut()).poll_shutdown(cx),
        }
    }
}
