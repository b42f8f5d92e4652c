//! Socket of one connection: plain or TLS, with a time limit on the head of a request and a lingering close.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::activity::ConnectionActivity;
use super::stats::Connections;
use super::tls::ALPN_HTTP1;

/// Connection preface of HTTP/2 (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Limit on the time for which a closing connection reads and discards.
const LINGER: Duration = Duration::from_secs(1);
/// Limit on the bytes that a closing connection reads and discards.
const MAX_DISCARDED: usize = 1024 * 1024;

/// A connected socket: plain or TLS.
pub(super) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    /// Returns the protocol that begins with `bytes`; `None` while they are a part of the HTTP/2 preface.
    fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            PREFACE => Some(Protocol::Http2),
            [_, ..] if PREFACE.starts_with(bytes) => None,
            _ => Some(Protocol::Http1),
        }
    }
}

/// A socket whose reads fail when the head of a request does not arrive in time.
///
/// The clock starts at the first byte of a head, so an idle connection is not limited. It stops when hyper calls the
/// service, because the head is complete by then. On HTTP/2 only the preface is limited: later frames are not heads.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Stream,
    activity: Arc<ConnectionActivity>,
    connections: Arc<Connections>,
    header_timeout: Duration,
    /// Start of the head that is being read, and the number of heads before it.
    head: Option<(Instant, u64)>,
    /// Bytes that were read to detect the protocol; the next read returns them.
    detected: Vec<u8>,
    timer: Option<Pin<Box<Sleep>>>,
    close: Close,
}

/// State of closing the connection.
#[derive(Debug, Clone, Copy)]
enum Close {
    Open,
    /// The write side is shut down; input is discarded until the peer closes or the limits are reached.
    Lingering {
        until: Instant,
        discarded: usize,
    },
}

impl Socket {
    pub(super) fn new(
        stream: Stream,
        activity: Arc<ConnectionActivity>,
        connections: Arc<Connections>,
        header_timeout: Duration,
    ) -> Self {
        Socket {
            stream,
            activity,
            connections,
            header_timeout,
            head: None,
            detected: Vec::new(),
            timer: None,
            close: Close::Open,
        }
    }

    /// Waits for the first bytes and returns the protocol that they begin.
    pub(super) async fn detect(&mut self) -> io::Result<Protocol> {
        let protocol = poll_fn(|cx| self.poll_detect(cx)).await?;
        if protocol == Protocol::Http2 {
            self.activity.set_http2();
            self.head = None;
        }
        Ok(protocol)
    }

    fn poll_detect(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Protocol>> {
        let mut room = [0; PREFACE.len()];
        match &self.stream {
            // Bytes that stay in the socket reach hyper together with those behind them. Read here, they would reach it
            // on their own, and its buffer would grow to twice its size for the rest.
            Either::Left(stream) if self.detected.is_empty() => {
                let mut buffer = ReadBuf::new(&mut room);
                ready!(stream.poll_peek(cx, &mut buffer))?;
                if let Some(protocol) = Protocol::of(buffer.filled()) {
                    return Poll::Ready(Ok(protocol));
                }
            }
            Either::Right(stream) if stream.get_ref().1.alpn_protocol() == Some(ALPN_HTTP1) => {
                return Poll::Ready(Ok(Protocol::Http1));
            }
            _ => {}
        }
        loop {
            let mut buffer = ReadBuf::new(room.get_mut(self.detected.len()..).unwrap_or_default());
            ready!(self.poll_receive(cx, &mut buffer))?;
            self.detected.extend_from_slice(buffer.filled());
            let ended = buffer.filled().is_empty().then_some(Protocol::Http1);
            if let Some(protocol) = ended.or(Protocol::of(&self.detected)) {
                return Poll::Ready(Ok(protocol));
            }
        }
    }

    /// Reads from the stream and applies the time limit on heads.
    fn poll_receive(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {
                if buffer.filled().len() > before {
                    self.arrived();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending if self.is_late(cx) => {
                self.connections.head_late();
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            other => other,
        }
    }

    /// Starts the clock if the bytes that arrived are the first of a head.
    fn arrived(&mut self) {
        if self.activity.http2() || self.activity.busy() {
            return;
        }
        let before = self.activity.heads();
        if self.head.is_none_or(|(_, heads)| heads != before) {
            self.head = Some((Instant::now(), before));
            self.activity.touch();
        }
    }

    /// Returns true if a head is incomplete after the time limit. Called while nothing can be read.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((began, before)) = self.head else { return false };
        if before != self.activity.heads() {
            self.head = None;
            return false;
        }
        self.passed(began + self.header_timeout, cx)
    }

    fn passed(&mut self, due: Instant, cx: &mut Context<'_>) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx).is_ready()
    }

    /// Reads and discards input after the last response. A peer that still sends when its connection is closed is reset
    /// and may lose the response.
    fn poll_linger(&mut self, until: Instant, mut discarded: usize, cx: &mut Context<'_>) -> Poll<()> {
        let mut room = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut room);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    discarded += buffer.filled().len();
                    self.close = Close::Lingering { until, discarded };
                    if discarded > MAX_DISCARDED {
                        return Poll::Ready(());
                    }
                }
                // No request was refused before its end, so no more input is expected.
                Poll::Pending if discarded == 0 && !self.activity.refused() => return Poll::Ready(()),
                Poll::Pending if !self.passed(until, cx) => return Poll::Pending,
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.detected.is_empty() {
            return self.poll_receive(cx, buffer);
        }
        let fits = self.detected.len().min(buffer.remaining());
        let rest = self.detected.split_off(fits);
        buffer.put_slice(&std::mem::replace(&mut self.detected, rest));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.close, Close::Open) {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.close = Close::Lingering { until: Instant::now() + LINGER, discarded: 0 };
        }
        if let Close::Lingering { until, discarded } = self.close {
            ready!(self.poll_linger(until, discarded, cx));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_protocol_is_detected_however_its_first_bytes_are_split_and_no_byte_is_lost() {
        let (begin, rest) = PREFACE.split_at(5);
        let cases: [(&[&[u8]], Protocol); 8] = [
            (&[PREFACE, b"frames"], Protocol::Http2),
            (&[begin, rest, b"frames"], Protocol::Http2),
            (&[b"P", b"RI", b" * HTTP/2.0\r\n\r\nSM\r\n", b"\r\n", b"frames"], Protocol::Http2),
            (&[b"GET / HTTP/1.1\r\n\r\n"], Protocol::Http1),
            (&[b"P", b"ATCH / HTTP/1.1\r\n\r\n"], Protocol::Http1),
            (&[begin, b"HTTP/2.0\r\n\r\nXX"], Protocol::Http1),
            (&[begin], Protocol::Http1),
            (&[], Protocol::Http1),
        ];
        for (pieces, expected) in cases {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let activity = Arc::new(ConnectionActivity::new());
            let timeout = Duration::from_secs(30);
            let mut socket =
                Socket::new(Stream::Left(stream), Arc::clone(&activity), Arc::default(), timeout);
            let send = async move {
                for piece in pieces {
                    client.write_all(piece).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let receive = async {
                assert_eq!(socket.detect().await.unwrap(), expected, "{pieces:?}");
                let mut received = Vec::new();
                // Smaller than the preface, so that it is returned in parts.
                let mut room = [0; 7];
                while let Ok(read @ 1..) = socket.read(&mut room).await {
                    received.extend_from_slice(&room[..read]);
                }
                assert_eq!(received, pieces.concat());
            };
            tokio::join!(send, receive);
            assert_eq!(activity.http2(), expected == Protocol::Http2, "{pieces:?}");
        }
    }
}
