//! Public API: the listener's middleware, outermost first, and the handler.

mod api;
mod context;
mod headers;
mod limit;
mod observe;
pub mod openapi;
mod preconditions;
mod rescue;
mod resource;
mod response;

use std::convert::Infallible;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::Response;
use tower::{Service, ServiceBuilder};

use self::api::Api;
use self::limit::LimitLayer;
use self::observe::ObserveLayer;
use self::rescue::RescueLayer;
use crate::gateway::snapshot::Snapshot;
use crate::server::IncomingRequest;
use crate::telemetry::access::AccessLog;
use crate::telemetry::traffic::Answers;
use crate::types::body::Body;
use crate::types::deadline::Shutdown;
pub use limit::InFlight;

/// Builds the service of the API listener. At shutdown every request in flight is answered.
pub fn service(
    current: Arc<ArcSwap<Snapshot>>,
    shutdown: Shutdown,
    in_flight: Arc<InFlight>,
    log: AccessLog,
    answers: Arc<Answers>,
) -> impl Service<IncomingRequest, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send
{
    ServiceBuilder::new()
        // Outermost: every response, that of a rejection or a panic too, has an id, times and a log line, and is counted.
        .layer(ObserveLayer::new(log, answers))
        // Around everything that can fail.
        .layer(RescueLayer)
        // One limit for all connections.
        .layer(LimitLayer::new(Arc::clone(&current), in_flight))
        .service(Api::new(current, shutdown))
}
