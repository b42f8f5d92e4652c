//! Handler of the API: HTTP in, one use case, HTTP out.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use hyper::body::Incoming;
use tower::Service;

use super::context::{ContextResponse, IdentifiedRequest, Rejection, RequestContext};
use super::headers::{self, Preferences};
use super::openapi;
use super::resource::Resource;
use crate::gateway::callers::{self, Caller};
use crate::gateway::routing;
use crate::gateway::snapshot::Snapshot;
use crate::gateway::{self, UpdateOptions};
use crate::idempotency::{
    self, FingerprintInput, IdempotentOutcome, KeyedRequest, PREFERENCE_APPLIED, StoredResponse, Worked,
};
use crate::server::tls::ClientIdentity;
use crate::types::body::{self, Body, ReadError};
use crate::types::code::Code;
use crate::types::deadline::{Deadline, Expired, Shutdown};
use crate::types::problem::Problem;
use crate::types::request_id::RequestId;

const ACCEPT_PATCH: &str = "application/json, application/merge-patch+json";
const ACCEPT_PATCH_HEADER: HeaderName = HeaderName::from_static("accept-patch");

/// The API as a service. Clones share the configuration.
#[derive(Debug, Clone)]
pub(super) struct Api {
    current: Arc<ArcSwap<Snapshot>>,
    shutdown: Shutdown,
}

impl Api {
    /// Creates the API over the current configuration. At shutdown every request in flight is answered.
    pub(super) fn new(current: Arc<ArcSwap<Snapshot>>, shutdown: Shutdown) -> Self {
        Api { current, shutdown }
    }
}

impl Service<IdentifiedRequest<Incoming>> for Api {
    type Response = ContextResponse;
    type Error = Rejection;
    type Future = Pin<Box<dyn Future<Output = Result<ContextResponse, Rejection>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: IdentifiedRequest<Incoming>) -> Self::Future {
        let snapshot = self.current.load_full();
        let shutdown = self.shutdown.clone();
        Box::pin(async move {
            let mut handler =
                Handler { snapshot: &snapshot, shutdown: &shutdown, context: RequestContext::default() };
            let result = handler.answer(request).await;
            let context = handler.context;
            match result {
                Ok(response) => Ok(ContextResponse { response, context }),
                Err(problem) => Err(Rejection { problem, context }),
            }
        })
    }
}

/// State of one request. Its context is complete once the request is answered.
struct Handler<'a> {
    snapshot: &'a Snapshot,
    shutdown: &'a Shutdown,
    context: RequestContext,
}

impl Handler<'_> {
    /// Dispatches by resource and method.
    async fn answer(
        &mut self,
        IdentifiedRequest { request, id, resource, client }: IdentifiedRequest<Incoming>,
    ) -> Result<Response<Body>, Problem> {
        let (head, incoming) = request.into_parts();
        headers::host(&head)?;
        headers::framing(&head)?;
        match resource {
            Resource::OpenApi => match head.method {
                Method::GET | Method::HEAD => Ok(json(openapi::document())),
                _ => Err(not_allowed("GET, HEAD")),
            },
            Resource::Conversation => match head.method {
                Method::PATCH => self.update(&head, client.as_deref(), incoming, id).await,
                Method::OPTIONS => Ok(options()),
                _ => Err(not_allowed("PATCH, OPTIONS")),
            },
            Resource::Unknown if head.uri.path().starts_with('/') => Err(not_found()),
            // CONNECT and `OPTIONS *` name no resource; what follows a CONNECT must not be read as a request.
            Resource::Unknown => Err(not_found().header(header::CONNECTION, "close")),
        }
    }

    /// `PATCH /conversations/{id}`.
    async fn update(
        &mut self,
        head: &Parts,
        client: Option<&ClientIdentity>,
        incoming: Incoming,
        id: RequestId,
    ) -> Result<Response<Body>, Problem> {
        let Handler { snapshot, shutdown, context } = self;
        let path = head.uri.path();
        let caller = snapshot.callers.admit(head, client)?;
        context.caller = caller.map(|caller| Arc::clone(&caller.name));
        let dry_run = headers::dry_run(head.uri.query())?;
        let merge = headers::is_merge_patch(&head.headers)
            .map_err(|problem| problem.header(ACCEPT_PATCH_HEADER, ACCEPT_PATCH))?;
        let preferences = headers::preferences(&head.headers);
        let key = headers::idempotency_key(&head.headers)?;

        let (upstream, vendor_id) =
            snapshot.routes.select(Resource::conversation_segment(path), &head.headers)?;
        context.traffic = Some(Arc::clone(&upstream.traffic));
        callers::authorize_upstream(caller, &upstream)?;
        let target = routing::target(&upstream, &vendor_id)?;

        let body = read_body(snapshot, shutdown, incoming).await?;
        let options = UpdateOptions {
            merge,
            lenient: preferences.lenient,
            vendor_key: upstream
                .settings
                .vendor
                .spec()
                .idempotency_key
                .then(|| vendor_key(caller, path, key.as_deref())),
            traceparent: headers::traceparent(&head.headers),
        };
        let timeout = upstream.settings.timeout;
        // Faults of the body are found before the key is claimed.
        let conversation: Arc<str> = Arc::from(target.id());
        let prepared = gateway::prepare(Arc::clone(&upstream), target, options, &body)?;
        if dry_run {
            return Ok(respond(prepared.dry_run(), true, preferences).into_response());
        }
        let Some(key) = key else {
            let outcome = prepared.send(Deadline::after(timeout, shutdown)).await;
            context.answered_by = outcome.answered_by();
            context.waited = outcome.waited;
            return Ok(respond(outcome.result?, false, preferences).into_response());
        };
        let keyed = KeyedRequest::new(
            &FingerprintInput {
                caller: caller.map(|caller| &caller.name),
                key: &key,
                path,
                upstream: &upstream.name,
                merge,
                lenient: preferences.lenient,
                minimal: preferences.minimal,
                condition: None,
                body: &body,
            },
            conversation,
            upstream.settings.retry_unknown,
            id,
        );
        let shutdown = shutdown.clone();
        // Boxed once: the update is moved into two tasks, and its future is large.
        let work = Box::pin(async move {
            let outcome = prepared.send(Deadline::after(timeout, &shutdown)).await;
            Worked {
                answered_by: outcome.answered_by(),
                waited: outcome.waited,
                result: outcome.result.map(|body| respond(body, false, preferences)),
            }
        });
        let outcome = snapshot.idempotency.answer(keyed, timeout, true, |_| work).await?;
        Ok(keyed_response(outcome, context))
    }
}

/// Chooses between the response of the update and the stored one, and marks the stored one.
fn keyed_response(outcome: IdempotentOutcome, context: &mut RequestContext) -> Response<Body> {
    let (response, mark) = match outcome {
        IdempotentOutcome::First { response, answered_by, waited, guaranteed } => {
            (context.waited, context.answered_by) = (waited, answered_by);
            let mark =
                (HeaderName::from_static("idempotency-status"), HeaderValue::from_static("not-guaranteed"));
            (response, (!guaranteed).then_some(mark))
        }
        IdempotentOutcome::Replayed(response) => {
            let mark = (HeaderName::from_static("idempotent-replayed"), HeaderValue::from_static("true"));
            (response, Some(mark))
        }
    };
    (context.code, context.applied) = (response.code, response.applied);
    let mut response = response.into_response();
    response.headers_mut().extend(mark);
    response
}

fn not_found() -> Problem {
    Problem::new(Code::NotFound, "The resources here are /conversations/{id} and /openapi.json.")
}

fn not_allowed(allow: &'static str) -> Problem {
    Problem::new(Code::MethodNotAllowed, format!("Use one of: {allow}.")).header(header::ALLOW, allow)
}

fn options() -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("PATCH, OPTIONS"));
    response.headers_mut().insert(ACCEPT_PATCH_HEADER, HeaderValue::from_static(ACCEPT_PATCH));
    response
}

fn json(text: Bytes) -> Response<Body> {
    let mut response = Response::new(body::full(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Reads the body within the limits of size and time.
async fn read_body(snapshot: &Snapshot, shutdown: &Shutdown, incoming: Incoming) -> Result<Bytes, Problem> {
    let server = &snapshot.settings.server;
    let mut so_far = BytesMut::new();
    let deadline = Deadline::after(server.body_timeout, shutdown);
    match deadline.within(body::read(incoming, server.max_body, &mut so_far)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(ReadError::TooLarge)) => Err(Problem::new(
            Code::BodyTooLarge,
            format!("The body is longer than {} bytes, which is the limit here.", server.max_body),
        )
        .header(header::CONNECTION, "close")),
        Ok(Err(ReadError::Broken(_))) => Err(Problem::new(
            Code::MalformedJson,
            "The body ended before its announced length, or its framing is wrong.",
        )
        .header(header::CONNECTION, "close")),
        Err(Expired::Shutdown) => {
            let detail = "The gateway is shutting down and the body has not arrived; nothing was sent.";
            Err(Problem::new(Code::Draining, detail).retry_after(1).header(header::CONNECTION, "close"))
        }
        Err(Expired::Timeout) => Err(Problem::new(
            Code::RequestTimeout,
            format!("The body did not arrive within {} seconds.", server.body_timeout.as_secs_f32()),
        )
        .header(header::CONNECTION, "close")),
    }
}

/// Idempotency key for a vendor that takes one: derived from the caller's, else a new UUID.
fn vendor_key(caller: Option<&Caller>, path: &str, key: Option<&str>) -> String {
    let Some(key) = key else { return uuid::Uuid::new_v4().to_string() };
    let caller = caller.map_or("", |caller| &caller.name);
    let digest = idempotency::digest(&[caller.as_bytes(), path.as_bytes(), key.as_bytes()]);
    let mut id = [0; 16];
    id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    uuid::Builder::from_custom_bytes(id).into_uuid().to_string()
}

/// The response to an update that succeeded, or to a dry run.
fn respond(body: Vec<u8>, dry_run: bool, preferences: Preferences) -> StoredResponse {
    let minimal = preferences.minimal && !dry_run;
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !minimal {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let applied = match (preferences.lenient, minimal) {
        (true, true) => Some("handling=lenient, return=minimal"),
        (true, false) => Some("handling=lenient"),
        (false, true) => Some("return=minimal"),
        (false, false) => None,
    };
    headers.extend(applied.map(|applied| (PREFERENCE_APPLIED, HeaderValue::from_static(applied))));
    StoredResponse {
        status: if minimal { StatusCode::NO_CONTENT } else { StatusCode::OK },
        headers,
        body: if minimal { Bytes::new() } else { body.into() },
        code: None,
        applied: None,
    }
}
