//! The API listener's resources: HTTP in, one use case, HTTP out.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::BytesMut;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tower::Service;

use crate::body::{self, Body, ReadError};
use crate::callers::{self, Caller};
use crate::deadline::{Cutoff, Deadline, Over};
use crate::facts::{Facts, Identified, Origin, RequestId, Told};
use crate::gateway::{self, Wish};
use crate::idempotency::{Answer, Answered, Asked, Words};
use crate::live::Live;
use crate::openapi;
use crate::problem::{Code, Problem};
use crate::routes;
use crate::upstream::Upstream;
use crate::wishes::{self, Preferences};

const ACCEPT_PATCH: &str = "application/json, application/merge-patch+json";
const ACCEPT_PATCH_HEADER: HeaderName = HeaderName::from_static("accept-patch");

/// The API as a service. A clone is the same API.
#[derive(Debug, Clone)]
pub struct Api {
    live: Arc<ArcSwap<Live>>,
    cutoff: Cutoff,
}

impl Api {
    /// The API over whatever configuration is live. At the cutoff it answers what is under way, with what is true then.
    pub fn new(live: Arc<ArcSwap<Live>>, cutoff: Cutoff) -> Self {
        Api { live, cutoff }
    }
}

impl Service<Identified<Incoming>> for Api {
    type Response = Told;
    type Error = Refused;
    type Future = Pin<Box<dyn Future<Output = Result<Told, Refused>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, Identified { request, id }: Identified<Incoming>) -> Self::Future {
        let live = self.live.load_full();
        let cutoff = self.cutoff.clone();
        Box::pin(async move {
            let mut facts = Facts::default();
            match answer(&live, &cutoff, request, &id, &mut facts).await {
                Ok(response) => Ok(Told { response, facts }),
                Err(problem) => Err(Refused { problem, facts }),
            }
        })
    }
}

/// A problem, with what was known when it arose.
#[derive(Debug)]
pub struct Refused {
    /// What to tell the caller.
    pub problem: Problem,
    /// What to log.
    pub facts: Facts,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.problem.code.as_str())
    }
}

impl std::error::Error for Refused {}

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// A conversation, by one segment that is still encoded.
    Conversation(&'a str),
    /// The description of the API.
    OpenApi,
    /// Nothing.
    Unknown,
}

impl<'a> Resource<'a> {
    /// What this path names.
    pub fn of(path: &'a str) -> Self {
        match path.strip_prefix("/conversations/") {
            Some(segment) if !segment.is_empty() && !segment.contains('/') => Resource::Conversation(segment),
            None if path == "/openapi.json" => Resource::OpenApi,
            _ => Resource::Unknown,
        }
    }

    /// The template of its paths; nothing has none.
    pub fn template(self) -> Option<&'static str> {
        match self {
            Resource::Conversation(_) => Some("/conversations/{id}"),
            Resource::OpenApi => Some("/openapi.json"),
            Resource::Unknown => None,
        }
    }
}

/// Finds the resource and what may be done with it.
async fn answer(
    live: &Live,
    cutoff: &Cutoff,
    request: Request<Incoming>,
    id: &RequestId,
    facts: &mut Facts,
) -> Result<Response<Body>, Problem> {
    let (head, incoming) = request.into_parts();
    wishes::host(&head)?;
    wishes::framing(&head)?;
    let path = head.uri.path();
    match Resource::of(path) {
        Resource::OpenApi => match head.method {
            Method::GET | Method::HEAD => Ok(json(StatusCode::OK, openapi::document())),
            _ => Err(not_allowed("GET, HEAD")),
        },
        Resource::Conversation(segment) => match head.method {
            Method::PATCH => patch(live, cutoff, &head, segment, incoming, id, facts).await,
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
    live: &Live,
    cutoff: &Cutoff,
    head: &Parts,
    segment: &str,
    incoming: Incoming,
    id: &RequestId,
    facts: &mut Facts,
) -> Result<Response<Body>, Problem> {
    let caller = live.callers.admit(head)?;
    facts.caller = caller.map(|caller| Arc::clone(&caller.name));
    let dry_run = wishes::dry_run(head.uri.query())?;
    let merge = wishes::is_merge_patch(&head.headers)
        .map_err(|problem| problem.header(ACCEPT_PATCH_HEADER, ACCEPT_PATCH))?;
    let preferences = wishes::preferences(&head.headers);
    let key = wishes::idempotency_key(&head.headers)?;

    let (upstream, vendor_id) = live.routes.choose(segment, &head.headers)?;
    facts.vendor = Some(upstream.settings.vendor.spec().vendor);
    facts.upstream = Some(Arc::clone(&upstream.name));
    facts.traffic = Some(Arc::clone(&upstream.traffic));
    callers::may_use(caller, &upstream)?;
    let target = routes::target(&upstream, &vendor_id)?;

    let body = read_body(live, cutoff, incoming).await?;
    let wish = Wish {
        merge,
        dry_run,
        lenient: preferences.lenient,
        vendor_key: upstream
            .settings
            .vendor
            .spec()
            .idempotency_key
            .then(|| vendor_key(caller, head.uri.path(), key.as_deref())),
        traceparent: wishes::traceparent(&head.headers),
    };
    if let Some(key) = key.filter(|_| !dry_run) {
        // What can be refused without the vendor is refused before the key is taken.
        gateway::check(&upstream, &target, &wish, &body)?;
        let words = Words {
            caller: caller.map(|caller| &*caller.name),
            key: &key,
            path: head.uri.path(),
            upstream: &upstream.name,
            merge,
            lenient: preferences.lenient,
            minimal: preferences.minimal,
            body: &body,
        };
        let asked = Asked::new(&words, id.clone());
        let timeout = upstream.settings.timeout;
        let told = Arc::new(OnceLock::new());
        let work = Work {
            upstream,
            vendor_id: vendor_id.into_owned(),
            wish,
            body,
            preferences,
            request_id: id.clone(),
            cutoff: cutoff.clone(),
        };
        let answer = live.idempotency.answer(asked, timeout, work.run(Arc::clone(&told))).await?;
        facts.origin = told.get().copied().unwrap_or_default();
        return Ok(answered(answer, facts));
    }
    let deadline = Deadline::after(upstream.settings.timeout, cutoff);
    let outcome = gateway::update(&upstream, &target, &wish, &body, deadline, &mut facts.waited).await?;
    if !dry_run {
        facts.origin = Origin::Vendor;
    }
    Ok(respond(outcome.body, dry_run, preferences))
}

/// An update that no longer depends on the request that it came with.
struct Work {
    upstream: Arc<Upstream>,
    vendor_id: String,
    wish: Wish,
    body: bytes::Bytes,
    preferences: Preferences,
    request_id: RequestId,
    cutoff: Cutoff,
}

impl Work {
    /// Does it. Whose word the answer is, is told to whoever still listens.
    async fn run(self, told: Arc<OnceLock<Origin>>) -> (Answer, Duration) {
        let mut waited = Duration::ZERO;
        let updated = match routes::target(&self.upstream, &self.vendor_id) {
            Ok(target) => {
                let deadline = Deadline::after(self.upstream.settings.timeout, &self.cutoff);
                gateway::update(&self.upstream, &target, &self.wish, &self.body, deadline, &mut waited).await
            }
            Err(problem) => Err(problem),
        };
        // Said once, so there was nothing before.
        let _ = told.set(updated.as_ref().map_or_else(|problem| problem.origin, |_| Origin::Vendor));
        let response = match updated {
            Ok(outcome) => respond(outcome.body, false, self.preferences),
            Err(problem) => problem.into_response(self.request_id.as_str()),
        };
        (Answer::of(response).await, waited)
    }
}

/// The first answer or the stored one, and which of them it is.
fn answered(answered: Answered, facts: &mut Facts) -> Response<Body> {
    let (answer, mark) = match answered {
        Answered::First { answer, waited, guaranteed } => {
            facts.waited = waited;
            let mark = HeaderName::from_static("idempotency-status");
            (answer, (!guaranteed).then(|| (mark, HeaderValue::from_static("not-guaranteed"))))
        }
        Answered::Replayed(answer) => {
            let mark = HeaderName::from_static("idempotent-replayed");
            (answer, Some((mark, HeaderValue::from_static("true"))))
        }
    };
    (facts.code, facts.applied) = (answer.code, answer.applied);
    let mut response = answer.into_response();
    response.headers_mut().extend(mark);
    response
}

async fn read_body(live: &Live, cutoff: &Cutoff, incoming: Incoming) -> Result<bytes::Bytes, Problem> {
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
        Err(Over::CutOff) => {
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
