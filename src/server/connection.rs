//! One connection from its handshake to its end.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Instant;

use http::Response;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::TcpStream;
use tokio::sync::watch as channel;
use tower::Service;

use super::activity::{ConnectionActivity, Tracked};
use super::lifetime::{Action, Lifetime};
use super::socket::{Socket, Stream};
use super::stats::Connections;
use super::{ConnectionConfig, IncomingRequest, Phase};
use crate::server::tls::{ClientIdentity, Tls};
use crate::types::body::Body;

/// Serves a connection to its end. How it ends is the peer's business; its requests are logged one by one.
pub(super) async fn serve<S>(
    stream: TcpStream,
    builder: Arc<auto::Builder<TokioExecutor>>,
    service: S,
    profile: ConnectionConfig,
    phase: channel::Receiver<Phase>,
    connections: Arc<Connections>,
) where
    S: Service<IncomingRequest, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let _open = connections.open();
    // An answer is written at once; waiting for more to come would only delay it.
    let _ = stream.set_nodelay(true);
    let ConnectionConfig { limits, tls } = profile;
    let (stream, client) = match tls {
        None => (Stream::Plain(stream), None),
        Some(tls) => {
            let handshake = Box::pin(handshake(&tls, stream));
            let shaken = tokio::time::timeout(limits.header_timeout, handshake).await;
            match shaken.unwrap_or_else(|_| Err("it took too long".to_owned())) {
                Ok((stream, client)) => (stream, client),
                Err(reason) => {
                    connections.handshake_refused();
                    tracing::debug!(reason, "a TLS handshake failed");
                    return;
                }
            }
        }
    };
    let activity = Arc::new(ConnectionActivity::new());
    let socket = Socket::new(stream, Arc::clone(&activity), Arc::clone(&connections), limits.header_timeout);
    let service = Tracked::new(service, Arc::clone(&activity), client);
    // In one place and never moved: thousands of connections wait most of the time, and this is what they take.
    let connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
    let watch = Lifetime::new(&limits, activity.begun(), jitter_seed());
    if !watched(connection, watch, &activity, phase).await {
        connections.cut_off();
    }
}

async fn handshake(tls: &Tls, stream: TcpStream) -> Result<(Stream, Option<Arc<ClientIdentity>>), String> {
    let (stream, client) = tls.accept(stream).await.map_err(|error| error.to_string())?;
    Ok((Stream::Tls(Box::new(stream)), client.map(Arc::new)))
}

/// Drives a connection and ends it when it is time. Gives whether it ended by agreement.
async fn watched<C>(
    mut connection: Pin<&mut C>,
    mut watch: Lifetime,
    activity: &ConnectionActivity,
    mut phase: channel::Receiver<Phase>,
) -> bool
where
    C: GracefulConnection,
{
    let mut alarm = pin!(tokio::time::sleep_until(Instant::now().into()));
    let mut told = true;
    loop {
        // Where nobody is left to say it, it is over as well.
        let now = if told { *phase.borrow_and_update() } else { Phase::Stopping };
        let next = match watch.step(activity, now, Instant::now()) {
            Action::Wait(next) => next,
            Action::Close(next) => {
                connection.as_mut().graceful_shutdown();
                next
            }
            Action::Drop => return false,
        };
        alarm.as_mut().reset(next.into());
        tokio::select! {
            biased;
            _ = connection.as_mut() => return true,
            changed = phase.changed(), if told => told = changed.is_ok(),
            () = alarm.as_mut() => {}
        }
    }
}

/// A number that differs from connection to connection; nobody needs to be unable to guess it.
fn jitter_seed() -> u8 {
    RandomState::new().build_hasher().finish().to_le_bytes()[0]
}
