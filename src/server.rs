//! Listeners: accepting, serving, draining.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower::Service;

use crate::body::Body;
use crate::settings;

/// The head of a request may be this long; hyper's own default is some 400 KiB.
const MAX_HEAD: usize = 32 * 1024;
/// Header lines of a request.
const MAX_HEADERS: usize = 64;
/// HTTP/2 requests of one connection at a time.
const MAX_STREAMS: u32 = 100;
/// Pause after an error of `accept` that is not the fault of one connection (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a listener keeps to.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For the head of a request, and for a connection without one.
    pub idle_timeout: Duration,
    /// Connections at a time.
    pub max_connections: usize,
}

impl From<&settings::Server> for Limits {
    fn from(server: &settings::Server) -> Self {
        Limits { idle_timeout: server.idle_timeout, max_connections: server.max_connections }
    }
}

/// A listener that is bound and takes connections into its queue, but serves none yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// Binds an address. The error says which.
    pub async fn new(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|e| io::Error::new(e.kind(), format!("{address} cannot be bound: {e}")))?;
        let address = listener.local_addr()?;
        Ok(Bound { listener, address })
    }

    /// The address, with the port that was chosen if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` says so; then finishes what is in flight, for at most `grace`. Gives whether all of it
    /// was finished.
    pub async fn serve<S>(
        self,
        service: S,
        limits: Limits,
        mut stop: watch::Receiver<bool>,
        grace: Duration,
    ) -> bool
    where
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let builder = builder(&limits);
        let graceful = GracefulShutdown::new();
        let room = Arc::new(Semaphore::new(limits.max_connections));
        loop {
            // A place first: beyond the limit connections wait in the kernel's queue.
            let next = async {
                let place = Arc::clone(&room).acquire_owned().await;
                (place, self.listener.accept().await)
            };
            let (place, stream) = tokio::select! {
                biased;
                () = told(&mut stop) => break,
                (place, accepted) = next => match accepted {
                    Ok((stream, _)) => (place, stream),
                    Err(error) => {
                        if !is_of_one_connection(&error) {
                            tracing::warn!(%error, "a connection could not be accepted");
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                        continue;
                    }
                },
            };
            let connection = connection(&builder, stream, service.clone());
            let watched = graceful.watch(connection);
            tokio::spawn(async move {
                // How a connection ends is the peer's business; its requests are logged one by one.
                let _ = watched.await;
                drop(place);
            });
        }
        // Connections that the kernel has accepted for us already are not ours to drop.
        while let Ok(Ok((stream, _))) =
            tokio::time::timeout(Duration::from_millis(1), self.listener.accept()).await
        {
            tokio::spawn(graceful.watch(connection(&builder, stream, service.clone())));
        }
        drop(self.listener);
        tokio::time::timeout(grace, graceful.shutdown()).await.is_ok()
    }
}

/// Waits for the word to stop, or for nobody being left to give it.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.idle_timeout)
        .keep_alive_timeout(Duration::from_secs(10))
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(16 * 1024);
    builder
}

fn connection<S>(
    builder: &auto::Builder<TokioExecutor>,
    stream: TcpStream,
    service: S,
) -> impl hyper_util::server::graceful::GracefulConnection<Error: Send> + Send + use<S>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    // An answer is written at once; waiting for more to come would only delay it.
    let _ = stream.set_nodelay(true);
    builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).into_owned()
}

/// Errors of `accept` that are about the connection that was to be accepted, not about the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
