//! Admin API: health, metrics and the active configuration. It has a listener of its own.

mod collect;
pub mod metrics;
mod sheet;
pub mod vitals;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use subtle::ConstantTimeEq;
use tower::Service;

use self::metrics::Metrics;
use self::vitals::RuntimeState;
use crate::server::IncomingRequest;
use crate::settings;
use crate::types::bearer;
use crate::types::body::{self, Body};
use crate::types::code::Code;
use crate::types::problem::Problem;

/// Admin API as a service.
#[derive(Debug, Clone)]
pub struct Admin {
    state: Arc<RuntimeState>,
    metrics: Metrics,
    address: SocketAddr,
}

impl Admin {
    /// Creates the service of a listener that is bound to `address`.
    pub fn new(state: Arc<RuntimeState>, address: SocketAddr) -> Self {
        let metrics = Metrics::new(Arc::clone(&state));
        Admin { state, metrics, address }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        let known = matches!(path, "/livez" | "/readyz" | "/metrics" | "/config");
        if !known {
            return problem(Problem::new(
                Code::NotFound,
                "The resources here are /livez, /readyz, /metrics and /config.",
            ));
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let refusal = Problem::new(Code::MethodNotAllowed, "Use GET.").header(header::ALLOW, "GET, HEAD");
            return problem(refusal);
        }
        match path {
            // Liveness depends on nothing outside of the process.
            "/livez" => text(StatusCode::OK, "ok\n"),
            // Readiness ignores the health of vendors: as the readiness of a sidecar it would take the whole pod out of
            // service.
            "/readyz" if self.state.readiness.get() => text(StatusCode::OK, "ok\n"),
            "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            // Open to scrapers off loopback: the text holds no secret and nothing that a caller or a vendor sent.
            "/metrics" => match self.metrics.text() {
                Ok(text) => typed(StatusCode::OK, metrics::CONTENT_TYPE, text),
                Err(error) => problem(Problem::new(Code::Internal, error.to_string())),
            },
            _ => self.config(request),
        }
    }

    /// `/config`. Needs the token if one is set; off loopback it is not served without one.
    fn config(&self, request: &Request<Incoming>) -> Response<Body> {
        let snapshot = self.state.snapshot.load();
        let token = &snapshot.settings.admin.token;
        if !self.address.ip().to_canonical().is_loopback() || token.is_some() {
            let Some(token) = token else {
                let detail = "Off loopback this is served only with a token; set [admin] token.";
                return problem(Problem::new(Code::NotFound, detail));
            };
            let given =
                request.headers().get(header::AUTHORIZATION).and_then(bearer::token).unwrap_or_default();
            if !bool::from(given.as_bytes().ct_eq(token.expose().as_bytes())) {
                let refusal = Problem::new(
                    Code::CallerUnauthenticated,
                    "Send the admin token: Authorization: Bearer <token>.",
                )
                .header(header::WWW_AUTHENTICATE, "Bearer realm=\"parlance-admin\"");
                return problem(refusal);
            }
        }
        let mut shown = settings::redacted(&snapshot.settings);
        if let Some(members) = shown.as_object_mut() {
            members.insert("status".to_owned(), self.state.reloads.shown(&snapshot));
        }
        match serde_json::to_vec_pretty(&shown) {
            Ok(text) => typed(StatusCode::OK, "application/json", text),
            Err(error) => problem(Problem::new(Code::Internal, error.to_string())),
        }
    }
}

fn problem(problem: Problem) -> Response<Body> {
    problem.into_response(&uuid::Uuid::now_v7().to_string())
}

fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    typed(status, "text/plain; charset=utf-8", text)
}

fn typed(status: StatusCode, kind: &'static str, body: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(body::full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Service<IncomingRequest> for Admin {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, incoming: IncomingRequest) -> Self::Future {
        ready(Ok(self.answer(&incoming.request)))
    }
}
