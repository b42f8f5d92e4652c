//! One vendor account: the way there, and everything that can go wrong on it. It moves bytes, not conversations.

mod authorize;
mod breaker;
mod circuit;
pub mod credentials;
mod gate;
mod measure;
mod rate_limit;
mod retry;
mod retry_budget;
mod stall;
pub mod transport;

pub use authorize::{Authorize, AuthorizeLayer};
pub use breaker::CircuitState;
pub use retry::RetryStats;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::Request;
use tokio::sync::Semaphore;
use tower::retry::Retry;
use tower::{ServiceBuilder, ServiceExt};

use self::circuit::{Circuit, CircuitLayer, Guarded};
use self::credentials::Credentials;
use self::measure::{MeasureLayer, Measured};
use self::rate_limit::{Bucket, RateLimitLayer, RateLimited};
use self::retry::{Policy, Retries};
use self::transport::{Client, Reply, TransportError, UpstreamRequest};
use crate::settings;
use crate::telemetry::traffic::Traffic;
use crate::types::build_error::BuildError;
use crate::types::deadline::Deadline;

/// What every attempt goes through. Its services are called by reference: an exchange copies none of them.
type Stack = Guarded<RateLimited<Authorize<Measured<Client>>>>;

/// A configured upstream at work. Cheap to share; lives as long as its configuration does.
#[derive(Debug)]
pub struct Upstream {
    /// Its name, as logs and metrics share it.
    pub name: Arc<str>,
    /// What the configuration says.
    pub settings: settings::Upstream,
    /// The gateway's credential at this vendor.
    pub credentials: Credentials,
    /// What goes through it.
    pub traffic: Arc<Traffic>,
    /// Since when it is at work.
    pub since: SystemTime,
    stack: Stack,
    client: Client,
    retries: Retries,
    circuit: Circuit,
    bucket: Bucket,
    places: Semaphore,
    shed: AtomicU64,
}

/// Result of sending one request, all attempts included.
#[derive(Debug)]
pub struct Exchanged {
    /// The vendor's response, or the error that ended the last attempt.
    pub result: Result<Reply, TransportError>,
    /// Time from the start of the first attempt to the end of the last, pauses included.
    pub waited: Duration,
}

/// What an upstream is doing and what it did since its configuration was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Exchanges under way, pauses between attempts included.
    pub in_flight: u64,
    /// Exchanges refused because `max_in_flight` were under way.
    pub shed: u64,
    /// Attempts refused because of `rate_limit`.
    pub rate_limited: u64,
    /// Further attempts, by their reason.
    pub retries: RetryStats,
    /// How many could be made just now before the budget is used up.
    pub retry_budget: u64,
    /// The circuit just now.
    pub circuit: CircuitState,
    /// How often the circuit opened.
    pub circuit_opened: u64,
    /// Attempts refused because the circuit was open.
    pub circuit_refused: u64,
    /// Connections made.
    pub connections: u64,
    /// Attempts to make a connection that failed.
    pub connections_failed: u64,
}

impl Upstream {
    /// Prepares the way to a vendor, which counts into `traffic`; connects to nothing yet.
    pub fn new(settings: settings::Upstream, traffic: Arc<Traffic>) -> Result<Self, BuildError> {
        let client = Client::new(&settings)?;
        let credentials = Credentials::new(&settings)?;
        let header = settings.vendor.spec().credential.header();
        let name: Arc<str> = Arc::from(settings.adapter.name.as_str());
        let retries = Retries::new(&settings);
        let circuit = Circuit::new(Arc::clone(&name), settings.circuit);
        let bucket = Bucket::new(settings.rate_limit);
        // A request sees the first line first.
        let stack = ServiceBuilder::new()
            // Before the limit: what is not sent anyhow does not use the limit up.
            .layer(CircuitLayer(circuit.clone()))
            // It counts what is sent, and what it refuses asks for no credential.
            .layer(RateLimitLayer(bucket.clone()))
            // Every attempt has the credential of its own moment, and nothing above sees one.
            .layer(AuthorizeLayer::new(header, credentials.clone()))
            // Innermost: what goes out is counted, the repeat after a 401 too.
            .layer(MeasureLayer(Arc::clone(&traffic)))
            .service(client.clone());
        let places = Semaphore::new(settings.max_in_flight.min(Semaphore::MAX_PERMITS));
        Ok(Upstream {
            name,
            settings,
            credentials,
            traffic,
            since: SystemTime::now(),
            stack,
            client,
            retries,
            circuit,
            bucket,
            places,
            shed: AtomicU64::new(0),
        })
    }

    /// Sends a request with the gateway's credential and reads the whole response, all before `deadline`. A credential
    /// that the vendor echoes is removed from the response.
    pub async fn send(&self, request: Request<Bytes>, deadline: impl Into<Deadline>) -> Exchanged {
        let started = Instant::now();
        let result = self.attempts(UpstreamRequest::new(request, deadline)).await;
        Exchanged { result, waited: started.elapsed() }
    }

    async fn attempts(&self, request: UpstreamRequest) -> Result<Reply, TransportError> {
        // One slow vendor never takes what the others need. Full is said at once: a queue would only make every caller
        // slow. An exchange holds its place while it pauses.
        let Ok(_place) = self.places.try_acquire() else {
            self.shed.fetch_add(1, Relaxed);
            return Err(TransportError::full(self.settings.max_in_flight));
        };
        // Around the circuit and the limit, so that both see every attempt: what is open or over the limit is not tried
        // again.
        Retry::new(Policy::new(&self.retries), &self.stack).oneshot(request).await
    }

    /// What it is doing and what it did.
    pub fn stats(&self) -> Stats {
        let (circuit, circuit_opened, circuit_refused) = self.circuit.stats();
        let (connections, connections_failed) = self.client.connections();
        Stats {
            in_flight: self.settings.max_in_flight.saturating_sub(self.places.available_permits()) as u64,
            shed: self.shed.load(Relaxed),
            rate_limited: self.bucket.refused(),
            retries: self.retries.stats(),
            retry_budget: self.retries.budget(),
            circuit,
            circuit_opened,
            circuit_refused,
            connections,
            connections_failed,
        }
    }
}
