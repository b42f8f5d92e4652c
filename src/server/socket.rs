//! The socket of one connection: plain or TLS, with a time limit on the head of a request, and a gentle end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

use super::activity::ConnectionActivity;
use super::stats::Connections;

/// What an HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a peer may go on sending what nobody reads any more.
const LINGER: Duration = Duration::from_secs(1);
/// How much of it is thrown away.
const MAX_THROWN_AWAY: usize = 1024 * 1024;

/// A connected socket.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A socket that ends when the head of a request does not arrive in time.
///
/// The clock starts at a head's first byte, so an idle connection costs nothing and may stay. It stops when hyper hands
/// the request over, which is when the head was complete. An HTTP/2 connection is watched up to the end of its preface
/// only: its frames come whenever they like.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Stream,
    activity: Arc<ConnectionActivity>,
    connections: Arc<Connections>,
    header_timeout: Duration,
    /// When the head began that is being read, and how many came before it.
    head: Option<(Instant, u64)>,
    /// Bytes of the HTTP/2 preface that were seen; none once something else came.
    preface: Option<usize>,
    /// Whether nothing was read yet.
    fresh: bool,
    timer: Option<Pin<Box<Sleep>>>,
    end: End,
}

/// How far the connection's end is.
#[derive(Debug, Clone, Copy)]
enum End {
    No,
    /// We have said that we send no more, and wait so long for the peer to see it.
    Said {
        until: Instant,
        thrown_away: usize,
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
            preface: Some(0),
            fresh: true,
            timer: None,
            end: End::No,
        }
    }

    /// Whether a fresh connection begins with something else than the HTTP/2 preface. Where it cannot be told, it does not.
    fn poll_speaks_http1(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let Stream::Plain(stream) = &self.stream else { return Poll::Ready(Ok(false)) };
        let mut room = [0; PREFACE.len()];
        let mut buffer = ReadBuf::new(&mut room);
        ready!(stream.poll_peek(cx, &mut buffer))?;
        Poll::Ready(Ok(!PREFACE.starts_with(buffer.filled())))
    }

    /// Bytes came.
    fn arrived(&mut self, bytes: &[u8]) {
        if self.activity.http2() {
            return;
        }
        if let Some(seen) = self.preface {
            let expected = PREFACE.get(seen..).unwrap_or_default();
            let common = bytes.len().min(expected.len());
            self.preface = (bytes.get(..common) == expected.get(..common)).then_some(seen + common);
            if self.preface == Some(PREFACE.len()) {
                self.activity.set_http2();
                self.head = None;
                return;
            }
        }
        if !self.activity.busy() {
            let before = self.activity.heads();
            if self.head.is_none_or(|(_, heads)| heads != before) {
                self.head = Some((Instant::now(), before));
                self.activity.touch();
            }
        }
    }

    /// Whether a head began long ago and is still not whole. Only asked where nothing more is to be read for now.
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

    /// A peer that is still sending when its connection is closed is reset, and may lose the answer that says why. So
    /// what it sends is thrown away for a moment, until it has seen the end too.
    fn poll_linger(&mut self, until: Instant, mut thrown_away: usize, cx: &mut Context<'_>) -> Poll<()> {
        let mut room = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut room);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    thrown_away += buffer.filled().len();
                    self.end = End::Said { until, thrown_away };
                    if thrown_away > MAX_THROWN_AWAY {
                        return Poll::Ready(());
                    }
                }
                // Nothing came late and nothing is expected to.
                Poll::Pending if thrown_away == 0 && !self.activity.refused() => return Poll::Ready(()),
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
        if self.fresh {
            let http1 = ready!(self.poll_speaks_http1(cx))?;
            self.fresh = false;
            // hyper-util, which asks first, takes a read of nothing for HTTP/1. Given the first bytes, it would hand them
            // to hyper on their own, whose buffer would then grow to twice its size for those that follow.
            if http1 {
                return Poll::Ready(Ok(()));
            }
        }
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {
                if let Some(new) = buffer.filled().get(before..).filter(|new| !new.is_empty()) {
                    self.arrived(new);
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
        if matches!(self.end, End::No) {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.end = End::Said { until: Instant::now() + LINGER, thrown_away: 0 };
        }
        if let End::Said { until, thrown_away } = self.end {
            ready!(self.poll_linger(until, thrown_away, cx));
        }
        Poll::Ready(Ok(()))
    }
}

/// One call, for whichever socket it is.
macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Stream::Tls(stream) => {
                let $stream = Pin::new(stream.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }
}
