//! The API listener's resources: HTTP in, one use case, HTTP out.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::BytesMut;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
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
use crate::idempotency::{FingerprintInput, IdempotentOutcome, KeyedRequest, StoredResponse};
use crate::server::tls::ClientIdentity;
use crate::types::body::{self, Body, ReadError};
use crate::types::code::AnsweredBy;
use crate::types::code::Code;
use crate::types::deadline::{Deadline, Over, Shutdown};
use crate::types::problem::Problem;
use crate::types::request_id::RequestId;
use crate::upstream::Upstream;

const ACCEPT_PATCH: &str = "application/json, application/merge-patch+json";
const ACCEPT_PATCH_HEADER: HeaderName = HeaderName::from_static("accept-patch");

/// The API as a service. A clone is the same API.
#[derive(Debug, Clone)]
pub(super) struct Api {
    live: Arc<ArcSwap<Snapshot>>,
    cutoff: Shutdown,
}

impl Api {
    /// The API over whatever configuration is live. At the cutoff it answers what is under way, with what is true then.
    pub(super) fn new(live: Arc<ArcSwap<Snapshot>>, cutoff: Shutdown) -> Self {
        Api { live, cutoff }
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
        let live = self.live.load_full();
        let cutoff = self.cutoff.clone();
        Box::pin(async move {
            let mut context = RequestContext::default();
            match answer(&live, &cutoff, request, &mut context).await {
                Ok(response) => Ok(ContextResponse { response, context }),
                Err(problem) => Err(Rejection { problem, context }),
            }
        })
    }
}

/// Finds the resource and what may be done with it.
async fn answer(
    live: &Snapshot,
    cutoff: &Shutdown,
    IdentifiedRequest { request, id, resource, client }: IdentifiedRequest<Incoming>,
    context: &mut RequestContext,
) -> Result<Response<Body>, Problem> {
    let (head, incoming) = request.into_parts();
    headers::host(&head)?;
    headers::framing(&head)?;
    let path = head.uri.path();
    match resource {
        Resource::OpenApi => match head.method {
            Method::GET | Method::HEAD => Ok(json(StatusCode::OK, openapi::document())),
            _ => Err(not_allowed("GET, HEAD")),
        },
        Resource::Conversation => match head.method {
            Method::PATCH => patch(live, cutoff, &head, client.as_deref(), incoming, &id, context).await,
            Method::OPTIONS => Ok(options()),
            _ => Err(not_allowed("PATCH, OPTIONS")),
        },
        Resource::Unknown if path.starts_with('/') => Err(not_found()),
        // CONNECT and `OPTIONS *` name no resource; what follows a CONNECT is not ours to read.
        Resource::Unknown => Err(not_found().header(header::CONNECTION, "close")),
    }
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

fn json(status: StatusCode, text: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(body::full(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(6);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `PATCH /conversations/{id}`.
async fn patch(
    live: &Snapshot,
    cutoff: &Shutdown,
    head: &Parts,
    client: Option<&ClientIdentity>,
    incoming: Incoming,
    id: &RequestId,
    context: &mut RequestContext,
) -> Result<Response<Body>, Problem> {
    let caller = live.callers.admit(head, client)?;
    context.caller = caller.map(|caller| Arc::clone(&caller.name));
    let dry_run = headers::dry_run(head.uri.query())?;
    let merge = headers::is_merge_patch(&head.headers)
        .map_err(|problem| problem.header(ACCEPT_PATCH_HEADER, ACCEPT_PATCH))?;
    let preferences = headers::preferences(&head.headers);
    let key = headers::idempotency_key(&head.headers)?;

    let (upstream, vendor_id) =
        live.routes.choose(Resource::conversation_segment(head.uri.path()), &head.headers)?;
    context.traffic = Some(Arc::clone(&upstream.traffic));
    callers::authorize_upstream(caller, &upstream)?;
    let target = routing::target(&upstream, vendor_id.clone())?;

    let body = read_body(live, cutoff, incoming).await?;
    let options = UpdateOptions {
        merge,
        dry_run,
        lenient: preferences.lenient,
        vendor_key: upstream
            .settings
            .vendor
            .spec()
            .idempotency_key
            .then(|| vendor_key(caller, head.uri.path(), key.as_deref())),
        traceparent: headers::traceparent(&head.headers),
    };
    if let Some(key) = key.filter(|_| !dry_run) {
        // What can be refused without the vendor is refused before the key is taken.
        gateway::check(&upstream, &target, &options, &body)?;
        let words = FingerprintInput {
            caller: caller.map(|caller| &*caller.name),
            key: &key,
            path: head.uri.path(),
            upstream: &upstream.name,
            merge,
            lenient: preferences.lenient,
            minimal: preferences.minimal,
            body: &body,
        };
        let asked = KeyedRequest::new(&words, id.clone());
        let timeout = upstream.settings.timeout;
        let told = Arc::new(OnceLock::new());
        let work = Work {
            upstream,
            vendor_id: vendor_id.into_owned(),
            options,
            body,
            preferences,
            request_id: id.clone(),
            cutoff: cutoff.clone(),
        };
        let answer = live.idempotency.answer(asked, timeout, work.run(Arc::clone(&told))).await?;
        context.answered_by = told.get().copied().unwrap_or_default();
        return Ok(answered(answer, context));
    }
    let deadline = Deadline::after(upstream.settings.timeout, cutoff);
    let outcome = gateway::update(&upstream, &target, &options, &body, deadline, &mut context.waited).await?;
    if !dry_run {
        context.answered_by = AnsweredBy::Vendor;
    }
    Ok(respond(outcome.body, dry_run, preferences))
}

/// An update that no longer depends on the request that it came with.
struct Work {
    upstream: Arc<Upstream>,
    vendor_id: String,
    options: UpdateOptions,
    body: bytes::Bytes,
    preferences: Preferences,
    request_id: RequestId,
    cutoff: Shutdown,
}

impl Work {
    /// Does it. Whose word the answer is, is told to whoever still listens.
    async fn run(self, told: Arc<OnceLock<AnsweredBy>>) -> (StoredResponse, Duration) {
        let mut waited = Duration::ZERO;
        let updated = match routing::target(&self.upstream, self.vendor_id.into()) {
            Ok(target) => {
                let deadline = Deadline::after(self.upstream.settings.timeout, &self.cutoff);
                gateway::update(&self.upstream, &target, &self.options, &self.body, deadline, &mut waited)
                    .await
            }
            Err(problem) => Err(problem),
        };
        // Said once, so there was nothing before.
        let _ = told.set(updated.as_ref().map_or_else(|problem| problem.answered_by, |_| AnsweredBy::Vendor));
        let response = match updated {
            Ok(outcome) => respond(outcome.body, false, self.preferences),
            Err(problem) => problem.into_response(self.request_id.as_str()),
        };
        (StoredResponse::of(response).await, waited)
    }
}

/// The first answer or the stored one, and which of them it is.
fn answered(answered: IdempotentOutcome, context: &mut RequestContext) -> Response<Body> {
    let (answer, mark) = match answered {
        IdempotentOutcome::First { answer, waited, guaranteed } => {
            context.waited = waited;
            let mark = HeaderName::from_static("idempotency-status");
            (answer, (!guaranteed).then(|| (mark, HeaderValue::from_static("not-guaranteed"))))
        }
        IdempotentOutcome::Replayed(answer) => {
            let mark = HeaderName::from_static("idempotent-replayed");
            (answer, Some((mark, HeaderValue::from_static("true"))))
        }
    };
    (context.code, context.applied) = (answer.code, answer.applied);
    let mut response = answer.into_response();
    response.headers_mut().extend(mark);
    response
}

async fn read_body(live: &Snapshot, cutoff: &Shutdown, incoming: Incoming) -> Result<bytes::Bytes, Problem> {
    let server = &live.settings.server;
    let mut so_far = BytesMut::new();
    let deadline = Deadline::after(server.body_timeout, cutoff);
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
        Err(Over::Shutdown) => {
            let detail = "The gateway is shutting down and the body has not arrived; nothing was sent.";
            Err(Problem::new(Code::Draining, detail).retry_after(1).header(header::CONNECTION, "close"))
        }
        Err(Over::Passed) => Err(Problem::new(
            Code::RequestTimeout,
            format!("The body did not arrive within {} seconds.", server.body_timeout.as_secs_f32()),
        )
        .header(header::CONNECTION, "close")),
    }
}

/// The key for a vendor that takes one: the same for the same caller, path and key, else one of its own.
fn vendor_key(caller: Option<&Caller>, path: &str, key: Option<&str>) -> String {
    use sha2::{Digest, Sha256};
    let Some(key) = key else { return uuid::Uuid::new_v4().to_string() };
    let mut hash = Sha256::new();
    for part in [caller.map_or("", |caller| &caller.name), path, key] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut id = [0; 16];
    id.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    uuid::Builder::from_custom_bytes(id).into_uuid().to_string()
}

fn respond(body: Vec<u8>, dry_run: bool, preferences: Preferences) -> Response<Body> {
    let minimal = preferences.minimal && !dry_run;
    let mut response = if minimal {
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    } else {
        json(StatusCode::OK, body)
    };
    let applied = match (preferences.lenient, minimal) {
        (true, true) => "handling=lenient, return=minimal",
        (true, false) => "handling=lenient",
        (false, true) => "return=minimal",
        (false, false) => return response,
    };
    response
        .headers_mut()
        .insert(HeaderName::from_static("preference-applied"), HeaderValue::from_static(applied));
    response
}
