//! One connection, from its handshake to its end.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Response;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tower::Service;

use super::activity::{ConnectionActivity, Tracked};
use super::config::{ConnectionConfig, IncomingRequest, Phase};
use super::lifetime::{Action, Lifetime};
use super::socket::{Protocol, Socket, Stream};
use super::stats::Connections;
use crate::types::body::Body;

/// Limit on the head of an HTTP/1 request, in bytes. hyper's default is about 400 KiB. hyper's limit of 100 header lines
/// stays, because it has room on the stack for that many.
const MAX_HEAD: usize = 32 * 1024;
/// Limit on the head of an HTTP/2 request, in bytes.
const MAX_HTTP2_HEAD: u32 = 16 * 1024;
/// Concurrent HTTP/2 requests of one connection.
const MAX_STREAMS: u32 = 100;
/// Interval of HTTP/2 keep-alive pings.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Time limit on the answer to a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// hyper's connection builders.
#[derive(Debug, Clone)]
pub(super) struct Builders {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Builders {
    pub(super) fn new() -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // It would count idle time as part of the next head; `socket` and `lifetime` tell them apart.
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HTTP2_HEAD);
        Builders { http1, http2 }
    }
}

/// Serves a connection to its end. Errors of the connection are not reported: each request has its own log line.
pub(super) async fn serve<S>(
    stream: TcpStream,
    builders: Arc<Builders>,
    service: S,
    config: ConnectionConfig,
    phase: watch::Receiver<Phase>,
    connections: Arc<Connections>,
) where
    S: Service<IncomingRequest, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let _open = connections.open();
    // Responses are written at once; waiting for more data would only delay them.
    let _ = stream.set_nodelay(true);
    let ConnectionConfig { limits, tls } = config;
    let (stream, client) = match tls {
        None => (Stream::Left(stream), None),
        Some(tls) => {
            let handshake = tokio::time::timeout(limits.header_timeout, Box::pin(tls.accept(stream))).await;
            match handshake.map_err(io::Error::from).flatten() {
                Ok((stream, client)) => (Stream::Right(stream), client),
                Err(error) => {
                    connections.handshake_refused();
                    tracing::debug!(reason = %error, "a TLS handshake failed");
                    return;
                }
            }
        }
    };
    let activity = Arc::new(ConnectionActivity::new());
    // The first request may be here before the driver looks at the phase.
    if *phase.borrow() >= Phase::Leaving {
        activity.set_last();
    }
    let lifetime = Lifetime::new(&limits, activity.started(), fastrand::u8(..));
    let mut driver = Driver { lifetime, activity: Arc::clone(&activity), phase, has_listener: true };
    let mut socket =
        Socket::new(stream, Arc::clone(&activity), Arc::clone(&connections), limits.header_timeout);
    let protocol = tokio::select! {
        biased;
        protocol = socket.detect() => protocol,
        // Nothing was requested yet, so nothing is lost.
        _ = driver.due() => return,
    };
    let service = Tracked::new(service, activity, client);
    // Pinned in place and never moved: thousands of idle connections consist mostly of this state.
    let ended = match protocol {
        Ok(Protocol::Http1) => {
            let connection = pin!(builders.http1.serve_connection(TokioIo::new(socket), service));
            driver.drive(connection).await
        }
        Ok(Protocol::Http2) => {
            let connection = pin!(builders.http2.serve_connection(TokioIo::new(socket), service));
            driver.drive(connection).await
        }
        Err(_) => return,
    };
    if !ended {
        connections.cut_off();
    }
}

/// Driver of a connection: its lifetime, with the activity and the phase that it depends on.
struct Driver {
    lifetime: Lifetime,
    activity: Arc<ConnectionActivity>,
    phase: watch::Receiver<Phase>,
    /// False once the sender of `phase` is dropped; the connection then stops too.
    has_listener: bool,
}

impl Driver {
    /// Waits until the connection is to be closed or dropped. Cancel safe.
    async fn due(&mut self) -> Action {
        let mut alarm = pin!(tokio::time::sleep_until(Instant::now().into()));
        loop {
            let phase = if self.has_listener { *self.phase.borrow_and_update() } else { Phase::Stopping };
            match self.lifetime.step(&self.activity, phase, Instant::now()) {
                Action::Wait(next) => alarm.as_mut().reset(next.into()),
                action => return action,
            }
            tokio::select! {
                biased;
                changed = self.phase.changed(), if self.has_listener => self.has_listener = changed.is_ok(),
                () = alarm.as_mut() => {}
            }
        }
    }

    /// Runs a connection. Returns true if it ended by itself or after a graceful close, false if it must be dropped.
    async fn drive<C: GracefulConnection>(&mut self, mut connection: Pin<&mut C>) -> bool {
        loop {
            tokio::select! {
                biased;
                _ = connection.as_mut() => return true,
                action = self.due() => match action {
                    Action::Drop => return false,
                    _ => connection.as_mut().graceful_shutdown(),
                },
            }
        }
    }
}
