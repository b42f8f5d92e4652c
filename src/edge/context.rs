//! Context of a request: filled on the way in, read by the log, the metrics and `Server-Timing` on the way out.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};

use super::resource::Resource;
use crate::gateway::routing::SelectedBy;
use crate::server::tls::ClientIdentity;
use crate::telemetry::traffic::Traffic;
use crate::types::body::Body;
use crate::types::code::{AnsweredBy, Applied, Code};
use crate::types::problem::Problem;
use crate::types::request_id::RequestId;

/// A request with its id, its resource and its client.
#[derive(Debug)]
pub(super) struct IdentifiedRequest<B> {
    /// The request.
    pub request: Request<B>,
    /// Its id.
    pub id: RequestId,
    /// The resource that its path names.
    pub resource: Resource,
    /// Names in the client's certificate; `None` without one.
    pub client: Option<Arc<ClientIdentity>>,
}

/// Request context that the handler returns with its response.
#[derive(Debug)]
pub(super) struct ContextResponse {
    /// The response.
    pub response: Response<Body>,
    /// The context.
    pub context: RequestContext,
}

/// Facts about a request and its response.
#[derive(Debug, Clone, Default)]
pub(super) struct RequestContext {
    /// Code of the problem, if the response is one.
    pub code: Option<Code>,
    /// State of the update that the problem reports.
    pub applied: Option<Applied>,
    /// Producer of the response: the gateway or the vendor.
    pub answered_by: AnsweredBy,
    /// Instruments of the chosen upstream; they know its name and vendor.
    pub traffic: Option<Arc<Traffic>>,
    /// Reason why that upstream was chosen.
    pub route: Option<SelectedBy>,
    /// Name of the caller.
    pub caller: Option<Arc<str>>,
    /// Time spent waiting for the vendor.
    pub waited: Duration,
}

/// A problem with the context in which it arose.
#[derive(Debug)]
pub(super) struct Rejection {
    /// The problem.
    pub problem: Problem,
    /// The context.
    pub context: RequestContext,
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.problem.code.as_str())
    }
}

impl std::error::Error for Rejection {}
