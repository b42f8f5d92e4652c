//! The API listener's middleware, in the order in which a request meets it. The upstreams' stack is in `upstream`.

mod api;
mod context;
mod headers;
mod limit;
mod observe;
pub mod openapi;
mod rescue;
mod resource;

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

/// Every request to the API listener goes through this. At the cutoff all that are under way are answered.
pub fn service(
    live: Arc<ArcSwap<Snapshot>>,
    cutoff: Shutdown,
    load: Arc<InFlight>,
    log: AccessLog,
    answers: Arc<Answers>,
) -> impl Service<IncomingRequest, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send
{
    ServiceBuilder::new()
        // Outermost, so that every answer, refusals and rescues included, has its id, its times and its log line, and is counted.
        .layer(ObserveLayer::new(log, answers))
        // Outside of everything that can fail.
        .layer(RescueLayer)
        // One limit for all connections, not one for each; full is said at once.
        .layer(LimitLayer::new(Arc::clone(&live), load))
        .service(Api::new(live, cutoff))
}
