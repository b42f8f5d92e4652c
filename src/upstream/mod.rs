//! One vendor account: connections, credential, retries, circuit breaker and limits. Moves bytes, not conversations.

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

pub use authorize::Authorize;
pub use breaker::CircuitState;
pub use retry::RetryStats;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::Request;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::retry::Retry;
use tower::{ServiceBuilder, ServiceExt};

use self::circuit::{Circuit, Guarded};
use self::credentials::Credentials;
use self::measure::Measured;
use self::rate_limit::{Bucket, RateLimited};
use self::retry::{Policy, Retries};
use self::transport::{Client, Reply, TransportError, UpstreamRequest};
use crate::settings;
use crate::telemetry::traffic::Traffic;
use crate::types::build_error::BuildError;
use crate::types::deadline::Deadline;

/// Middleware of every attempt, outermost first. Called by reference, so that a request clones no service.
type Stack = Guarded<RateLimited<Authorize<Measured<Client>>>>;

/// A configured upstream. Shared by [`Arc`]; lives as long as its configuration.
#[derive(Debug)]
pub struct Upstream {
    /// Name in logs and metrics.
    pub name: Arc<str>,
    /// Its configuration.
    pub settings: settings::Upstream,
    /// The gateway's credential at this vendor.
    pub credentials: Credentials,
    /// Its request metrics.
    pub traffic: Arc<Traffic>,
    /// Time of its construction.
    pub since: SystemTime,
    stack: Stack,
    client: Client,
    retries: Retries,
    circuit: Circuit,
    bucket: Bucket,
    slots: Arc<Semaphore>,
    shed: AtomicU64,
}

/// Place of one update or read among the `max_in_flight` of an upstream, free again when dropped.
#[derive(Debug)]
pub struct Slot {
    _permit: OwnedSemaphorePermit,
}

/// Result of sending one request, all attempts included.
#[derive(Debug)]
pub struct Exchanged {
    /// The vendor's response, or the error that ended the last attempt.
    pub result: Result<Reply, TransportError>,
    /// Time from the start of the first attempt to the end of the last, pauses included.
    pub waited: Duration,
}

/// State of an upstream, and its counters since its construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Updates and reads in flight, those that wait for their turn or in a pause between attempts included.
    pub in_flight: u64,
    /// Updates and reads refused because `max_in_flight` were in flight.
    pub shed: u64,
    /// Attempts refused by `rate_limit`.
    pub rate_limited: u64,
    /// Retries, by reason.
    pub retries: RetryStats,
    /// Number of retries that the budget allows now.
    pub retry_budget: u64,
    /// State of the circuit.
    pub circuit: CircuitState,
    /// Number of times that the circuit opened.
    pub circuit_opened: u64,
    /// Attempts refused because the circuit was open.
    pub circuit_refused: u64,
    /// Connections made.
    pub connections: u64,
    /// Failed attempts to connect.
    pub connections_failed: u64,
}

impl Upstream {
    /// Prepares an upstream that counts into `traffic`, without a connection yet.
    ///
    /// # Errors
    /// A key of the upstream that cannot be used.
    pub fn new(settings: settings::Upstream, traffic: Arc<Traffic>) -> Result<Self, BuildError> {
        let client = Client::new(&settings)?;
        let credentials = Credentials::new(&settings)?;
        let header = settings.vendor.spec().credential.header();
        let name: Arc<str> = Arc::from(settings.adapter.name.as_str());
        let retries = Retries::new(&settings);
        let circuit = Circuit::new(Arc::clone(&name), settings.circuit);
        let bucket = Bucket::new(settings.rate_limit);
        // A request passes the layers in this order.
        let stack = ServiceBuilder::new()
            // Before the limit: a refused attempt takes nothing from it.
            .layer_fn(|inner| Guarded { inner, circuit: circuit.clone() })
            // Before the credential: a refused attempt fetches no token.
            .layer_fn(|inner| RateLimited { inner, bucket: bucket.clone() })
            // Each attempt has the current credential, and no layer above sees it.
            .layer_fn(|inner| Authorize::new(inner, header.clone(), credentials.clone()))
            // Innermost: counts the repeat after a 401 too.
            .layer_fn(|inner| Measured { inner, traffic: Arc::clone(&traffic) })
            .service(client.clone());
        let slots = Arc::new(Semaphore::new(settings.max_in_flight.min(Semaphore::MAX_PERMITS)));
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
            slots,
            shed: AtomicU64::new(0),
        })
    }

    /// Takes a slot for one update or read. No queue: it would only make every caller slow.
    ///
    /// # Errors
    ///
    /// `max_in_flight` slots are taken.
    pub fn admit(&self) -> Result<Slot, TransportError> {
        Arc::clone(&self.slots).try_acquire_owned().map(|permit| Slot { _permit: permit }).map_err(|_| {
            self.shed.fetch_add(1, Relaxed);
            TransportError::full(self.settings.max_in_flight)
        })
    }

    /// Sends a request with the gateway's credential and reads the whole response, all before `deadline`. A credential
    /// that the vendor echoes is removed from the response. The slot is held during pauses between attempts.
    pub async fn send(
        &self,
        _slot: &Slot,
        request: Request<Bytes>,
        deadline: impl Into<Deadline>,
    ) -> Exchanged {
        let started = Instant::now();
        let request = UpstreamRequest::new(request, deadline);
        // Outside the circuit and the limit, so that both see every attempt.
        let result = Retry::new(Policy::new(&self.retries), &self.stack).oneshot(request).await;
        Exchanged { result, waited: started.elapsed() }
    }

    /// State and counters of the upstream.
    pub fn stats(&self) -> Stats {
        let (circuit, circuit_opened, circuit_refused) = self.circuit.stats();
        let (connections, connections_failed) = self.client.connections();
        Stats {
            in_flight: self.settings.max_in_flight.saturating_sub(self.slots.available_permits()) as u64,
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
