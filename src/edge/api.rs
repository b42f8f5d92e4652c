//! Handler of the API: HTTP in, one use case, HTTP out.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderValue, Method, Response, header};
use hyper::body::Incoming;
use parlance_adapters::Target;
use tower::Service;

use super::context::{ContextResponse, IdentifiedRequest, Rejection, RequestContext};
use super::headers;
use super::openapi;
use super::preconditions;
use super::resource::Resource;
use super::response;
use crate::gateway::callers::{self, Caller};
use crate::gateway::routing::{self, SelectedBy};
use crate::gateway::snapshot::Snapshot;
use crate::gateway::{self, UpdateOptions};
use crate::idempotency::{self, BeforeSend, FingerprintInput, KeyedRequest, Worked};
use crate::server::tls::ClientIdentity;
use crate::types::body::{self, Body, ReadError};
use crate::types::code::Code;
use crate::types::deadline::{Deadline, Expired, Shutdown};
use crate::types::problem::Problem;
use crate::types::request_id::RequestId;
use crate::upstream::Upstream;

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
    snapshot: &'a Arc<Snapshot>,
    shutdown: &'a Shutdown,
    context: RequestContext,
}

/// Conversation that a request names, at the upstream that serves it.
struct Routed {
    upstream: Arc<Upstream>,
    target: Target,
    by: SelectedBy,
}

impl<'a> Handler<'a> {
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
                Method::GET | Method::HEAD => Ok(response::json(openapi::document())),
                _ => Err(response::not_allowed("GET, HEAD")),
            },
            Resource::Conversation => match head.method {
                Method::PATCH => self.update(&head, client.as_deref(), incoming, id).await,
                Method::GET | Method::HEAD => self.read(&head, client.as_deref()).await,
                Method::OPTIONS => Ok(response::options()),
                _ => Err(response::not_allowed(response::ALLOW)),
            },
            Resource::Unknown if head.uri.path().starts_with('/') => Err(response::not_found()),
            // CONNECT and `OPTIONS *` name no resource; what follows a CONNECT must not be read as a request.
            Resource::Unknown => Err(response::not_found().header(header::CONNECTION, "close")),
        }
    }

    /// Admits the caller.
    fn admit(
        &mut self,
        head: &Parts,
        client: Option<&ClientIdentity>,
    ) -> Result<Option<&'a Caller>, Problem> {
        let caller = self.snapshot.callers.admit(head, client)?;
        self.context.caller = caller.map(|caller| Arc::clone(&caller.name));
        Ok(caller)
    }

    /// Selects the upstream, and locates the conversation there.
    fn route(&mut self, head: &Parts, caller: Option<&Caller>) -> Result<Routed, Problem> {
        let segment = Resource::conversation_segment(head.uri.path());
        let selected = self.snapshot.routes.select(segment, &head.headers);
        let selected =
            selected.map_err(|problem| explained(problem, self.snapshot, segment, caller, None))?;
        let (upstream, by) = (selected.upstream, selected.by);
        self.context.traffic = Some(Arc::clone(&upstream.traffic));
        self.context.route = Some(by);
        callers::authorize_upstream(caller, &upstream)?;
        let target = routing::target(&upstream, &selected.vendor_id)?;
        Ok(Routed { upstream, target, by })
    }

    /// `GET /conversations/{id}`, and `HEAD`.
    async fn read(
        &mut self,
        head: &Parts,
        client: Option<&ClientIdentity>,
    ) -> Result<Response<Body>, Problem> {
        let caller = self.admit(head, client)?;
        let dry_run = headers::dry_run(head.uri.query())?;
        let if_none_match = preconditions::of_read(&head.headers)?;
        let Routed { upstream, target, by } = self.route(head, caller)?;
        if dry_run {
            return Ok(response::json(gateway::show_read(&upstream, &target, by)?.body.into()));
        }
        let deadline = Deadline::after(upstream.settings.timeout, self.shutdown);
        let outcome = gateway::read(&upstream, &target, headers::traceparent(&head.headers), deadline).await;
        self.context.answered_by = outcome.answered_by();
        self.context.waited = outcome.waited;
        let segment = Resource::conversation_segment(head.uri.path());
        let answer =
            outcome.result.map_err(|problem| explained(problem, self.snapshot, segment, caller, Some(by)))?;
        Ok(response::read(answer, if_none_match.as_ref()))
    }

    /// `PATCH /conversations/{id}`.
    async fn update(
        &mut self,
        head: &Parts,
        client: Option<&ClientIdentity>,
        incoming: Incoming,
        id: RequestId,
    ) -> Result<Response<Body>, Problem> {
        let (snapshot, shutdown) = (self.snapshot, self.shutdown);
        let path = head.uri.path();
        let caller = self.admit(head, client)?;
        let dry_run = headers::dry_run(head.uri.query())?;
        let merge = headers::is_merge_patch(&head.headers)
            .map_err(|problem| problem.header(response::ACCEPT_PATCH, response::PATCH_TYPES))?;
        let preferences = headers::preferences(&head.headers);
        let if_match = preconditions::of_update(&head.headers)?;
        let if_match_given = if_match.is_some();
        let key = headers::idempotency_key(&head.headers)?;
        let Routed { upstream, target, by } = self.route(head, caller)?;

        let body = read_body(snapshot, shutdown, incoming).await?;
        let options = UpdateOptions {
            merge,
            lenient: preferences.lenient,
            if_match,
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
        let segment = Resource::conversation_segment(path);
        let Some(key) = key.filter(|_| !dry_run) else {
            let deadline = Deadline::after(timeout, shutdown);
            let outcome = match dry_run {
                true => prepared.dry_run(by, deadline).await,
                false => prepared.send(snapshot.idempotency.turns(), BeforeSend::unkeyed(), deadline).await,
            };
            self.context.answered_by = outcome.answered_by();
            self.context.waited = outcome.waited;
            let answer =
                outcome.result.map_err(|problem| explained(problem, snapshot, segment, caller, Some(by)))?;
            return Ok(response::updated(answer, dry_run, preferences).into_response());
        };
        let condition = head.headers.get_all(header::IF_MATCH).iter().map(HeaderValue::as_bytes);
        let condition = if_match_given.then(|| condition.collect::<Vec<_>>().join(&b','));
        let keyed = KeyedRequest::new(
            &FingerprintInput {
                caller: caller.map(|caller| &caller.name),
                key: &key,
                path,
                upstream: &upstream.name,
                merge,
                lenient: preferences.lenient,
                minimal: preferences.minimal,
                condition: condition.as_deref(),
                body: &body,
            },
            conversation,
            upstream.settings.retry_unknown,
            id,
        );
        let shutdown = shutdown.clone();
        // Needed only to explain an id that names no upstream.
        let unnamed = (by != SelectedBy::Prefix)
            .then(|| (Arc::clone(snapshot), segment.to_owned(), self.context.caller.clone()));
        // Boxed once: the update is moved into two tasks, and its future is large.
        let (turns, is_sent_at_once) = (snapshot.idempotency.turns().clone(), prepared.is_sent_at_once());
        let work = |before_send| {
            Box::pin(async move {
                let outcome = prepared.send(&turns, before_send, Deadline::after(timeout, &shutdown)).await;
                Worked {
                    answered_by: outcome.answered_by(),
                    waited: outcome.waited,
                    result: match (outcome.result, unnamed) {
                        (Ok(answer), _) => Ok(response::updated(answer, false, preferences)),
                        (Err(problem), None) => Err(problem),
                        (Err(problem), Some((snapshot, segment, caller))) => {
                            let caller = caller.and_then(|name| snapshot.callers.named(&name));
                            Err(explained(problem, &snapshot, &segment, caller, Some(by)))
                        }
                    },
                }
            })
        };
        let outcome = snapshot.idempotency.answer(keyed, timeout, is_sent_at_once, work).await?;
        Ok(response::keyed(outcome, &mut self.context))
    }
}

/// Adds to a problem that an id without a known upstream may have caused which part of the id is none. `by` is the reason
/// of the selection, if there was one.
fn explained(
    mut problem: Problem,
    snapshot: &Snapshot,
    segment: &str,
    caller: Option<&Caller>,
    by: Option<SelectedBy>,
) -> Problem {
    if by == Some(SelectedBy::Prefix) || !matches!(problem.code, Code::NoRoute | Code::ConversationNotFound) {
        return problem;
    }
    let is_usable = |upstream: &Upstream| callers::authorize_upstream(caller, upstream).is_ok();
    if let Some(hint) = snapshot.routes.unknown_prefix(segment, is_usable) {
        problem.say(&hint);
        problem.detail.push_str(&match by {
            Some(by) => Cow::Owned(format!(
                ", so the whole was taken for the vendor's id; the upstream was chosen by {}.",
                by.text()
            )),
            None => Cow::Borrowed("."),
        });
    }
    problem
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
