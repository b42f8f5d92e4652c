//! One vendor account: the way there, and everything that can go wrong on it. It moves bytes, not conversations.

mod authorize;
mod awake;
mod breaker;
mod budget;
mod circuit;
mod client;
mod connect;
mod gate;
mod link;
mod measure;
mod rate;
mod resolve;
mod retry;
mod trouble;

pub use authorize::{Authorize, AuthorizeLayer};
pub use breaker::CircuitState;
pub use client::{Client, Exchange, Reply};
pub use connect::{Roots, system_roots};
pub use retry::{MaybeApplied, RetryStats};
pub use trouble::{Kind, Trouble};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use bytes::Bytes;
use http::Request;
use tower::limit::ConcurrencyLimit;
use tower::load_shed::LoadShed;
use tower::retry::{Retry, RetryLayer};
use tower::{ServiceBuilder, ServiceExt};

use self::circuit::{Circuit, CircuitLayer, Guarded};
use self::measure::{MeasureLayer, Measured};
use self::rate::{Bucket, RateLimitLayer, RateLimited};
use self::retry::{Policy, Retries};
use crate::credentials::Credentials;
use crate::deadline::Deadline;
use crate::metrics::Traffic;
use crate::settings;

type Stack = LoadShed<ConcurrencyLimit<Retry<Policy, Guarded<RateLimited<Authorize<Measured<Client>>>>>>>;

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
    retries: Arc<Retries>,
    circuit: Circuit,
    bucket: Bucket,
    in_flight: AtomicU64,
    shed: AtomicU64,
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
    pub fn new(settings: settings::Upstream, traffic: Arc<Traffic>) -> Result<Self, String> {
        let client = Client::new(&settings)?;
        let credentials = Credentials::new(&settings)?;
        let header = settings.vendor.spec().credential.header();
        let name: Arc<str> = Arc::from(settings.adapter.name.as_str());
        let retries = Arc::new(Retries::new(&settings));
        let circuit = Circuit::new(Arc::clone(&name), settings.circuit);
        let bucket = Bucket::new(settings.rate_limit);
        // A request sees the first line first.
        let stack = ServiceBuilder::new()
            // Full is said at once: a queue would only make every caller slow.
            .load_shed()
            // One slow vendor never takes what the others need. An exchange holds its place while it pauses.
            .concurrency_limit(settings.max_in_flight)
            // Around the circuit and the limit, so that both see every attempt: what is open or over the limit is not
            // tried again.
            .layer(RetryLayer::new(Policy::new(Arc::clone(&retries))))
            // Before the limit: what is not sent anyhow does not use the limit up.
            .layer(CircuitLayer(circuit.clone()))
            // It counts what is sent, and what it refuses asks for no credential.
            .layer(RateLimitLayer(bucket.clone()))
            // Every attempt has the credential of its own moment, and nothing above sees one.
            .layer(AuthorizeLayer::new(header, credentials.clone()))
            // Innermost: what goes out is counted, the repeat after a 401 too.
            .layer(MeasureLayer(Arc::clone(&traffic)))
            .service(client.clone());
        let (in_flight, shed) = (AtomicU64::new(0), AtomicU64::new(0));
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
            in_flight,
            shed,
        })
    }

    /// Sends a request with the gateway's credential and reads the whole answer, all before `deadline`. The credential is
    /// not in the answer, should the vendor have echoed it.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        deadline: impl Into<Deadline>,
    ) -> Result<Reply, Trouble> {
        let exchange = Exchange::new(request, deadline);
        let _under_way = UnderWay::new(&self.in_flight);
        self.stack.clone().oneshot(exchange).await.map_err(|error| match error.downcast::<Trouble>() {
            Ok(trouble) => *trouble,
            // The only other error of this stack is tower's `Overloaded`.
            Err(_) => {
                self.shed.fetch_add(1, Relaxed);
                Trouble::full(self.settings.max_in_flight)
            }
        })
    }

    /// What it is doing and what it did.
    pub fn stats(&self) -> Stats {
        let (circuit, circuit_opened, circuit_refused) = self.circuit.stats();
        let (connections, connections_failed) = self.client.connections();
        Stats {
            in_flight: self.in_flight.load(Relaxed),
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

/// Counts one exchange until it is dropped, however it ends.
struct UnderWay<'a>(&'a AtomicU64);

impl<'a> UnderWay<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Relaxed);
        UnderWay(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
