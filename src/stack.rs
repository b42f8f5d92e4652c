//! The API listener's middleware, in the order in which a request meets it. The upstreams' stack is in `upstream`.

use std::convert::Infallible;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{Request, Response};
use hyper::body::Incoming;
use tower::{Service, ServiceBuilder};

use crate::api::Api;
use crate::body::Body;
use crate::deadline::Cutoff;
use crate::layers::{LimitLayer, Load, ObserveLayer, RescueLayer};
use crate::live::Live;
use crate::metrics::Answers;
use crate::telemetry::AccessLog;

/// Every request to the API listener goes through this. At the cutoff all that are under way are answered.
pub fn edge(
    live: Arc<ArcSwap<Live>>,
    cutoff: Cutoff,
    load: Arc<Load>,
    log: AccessLog,
    answers: Arc<Answers>,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send
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
