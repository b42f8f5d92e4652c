//! The API listener's middleware, in the order in which a request meets it. The upstreams' stack is in `upstream`.

use std::convert::Infallible;

use http::{Request, Response};
use hyper::body::Incoming;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::{Service, ServiceBuilder};

use crate::api::Api;
use crate::body::Body;
use crate::layers::{ObserveLayer, RescueLayer};
use crate::telemetry::AccessLog;

/// Every request to the API listener goes through this.
pub fn edge(
    api: Api,
    max_in_flight: usize,
    log: AccessLog,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send
{
    ServiceBuilder::new()
        // Outermost, so that every answer, refusals and rescues included, has its id, its times and its log line.
        .layer(ObserveLayer::new(log))
        // Outside of everything that can fail.
        .layer(RescueLayer)
        // Full is said at once: a queue would answer requests whose callers are gone.
        .load_shed()
        // One limit for all connections, not one for each.
        .layer(GlobalConcurrencyLimitLayer::new(max_in_flight))
        .service(api)
}
