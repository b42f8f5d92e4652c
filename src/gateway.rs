//! The one use case: a canonical update becomes one vendor request, and its answer one conversation.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use parlance_adapters::canonical::{Patch, Warning};
use parlance_adapters::json::{Reader, quote};
use parlance_adapters::{
    Adapter, Ask, Call, Done, Failure, Target, Unusable, confirm, merge, stored_context,
};

use crate::deadline::Deadline;
use crate::problem::{Applied, Code, FieldError, Problem};
use crate::upstream::{MaybeApplied, Reply, Upstream};

/// What a caller wants, apart from the conversation and the body.
#[derive(Debug, Default)]
pub struct Wish {
    /// The body is a merge patch.
    pub merge: bool,
    /// Members that cannot be written are left out.
    pub lenient: bool,
    /// Nothing is sent; the request is shown.
    pub dry_run: bool,
    /// The key for a vendor that takes one.
    pub vendor_key: Option<String>,
    /// The trace that the caller's request belongs to, for the vendor's.
    pub traceparent: Option<HeaderValue>,
}

/// What became of it.
#[derive(Debug)]
pub struct Outcome {
    /// The canonical answer, JSON.
    pub body: Vec<u8>,
}

/// Carries an update out before `deadline`. `waited` grows by the time that was spent on the vendor.
pub async fn update(
    upstream: &Upstream,
    target: &Target<'_>,
    wish: &Wish,
    body: &[u8],
    deadline: Deadline,
    waited: &mut Duration,
) -> Result<Outcome, Problem> {
    let adapter = upstream.settings.vendor;
    let patch = parse(body)?;
    let mut call = encode(upstream, target, wish, &patch)?;
    if let Some(trace) = &wish.traceparent {
        call.request.headers_mut().insert(HeaderName::from_static("traceparent"), trace.clone());
    }
    if wish.dry_run {
        return Ok(Outcome { body: preview(upstream, target, call) });
    }

    let mut exchange = Exchange { upstream, adapter, deadline, waited };
    let stored = exchange.stored(target, &call).await?;
    let merged = merged(upstream, &mut call, stored.as_ref())?;
    if let (Some(text), Some(context)) =
        (&merged, call.set.iter_mut().find(|set| set.field.name() == "context"))
        && let Ok(value) = Reader::lenient(text.as_bytes()).and_then(|mut reader| reader.raw())
    {
        context.value = value;
    }

    let reply = exchange.send(call.request).await?;
    let done = Done { target, set: &call.set };
    let conversation = if !reply.status().is_success() {
        let applied = reply.extensions().get::<MaybeApplied>().map(|_| Applied::Unknown);
        return Err(failed(
            upstream,
            reply.status().as_u16(),
            reply.headers(),
            adapter.explain(&reply),
            applied,
        ));
    } else if reply.body().is_empty() {
        confirm(&done)
    } else {
        readable(&reply).and_then(|()| adapter.decode(&done, &reply)).map_err(|unusable| match unusable {
            Unusable::Failed(failure) => {
                failed(upstream, reply.status().as_u16(), reply.headers(), failure, Some(Applied::Unknown))
            }
            Unusable::Invalid(why) => invalid(upstream, &reply, &why, Applied::Yes),
        })?
    };
    let mut body = Vec::with_capacity(reply.body().len() + conversation.added());
    let upstream_name = &upstream.settings.adapter.name;
    conversation.write(target.id(), adapter.spec().vendor, upstream_name, &call.warnings, &mut body);
    Ok(Outcome { body })
}

/// Finds what [`update`] would refuse before it calls the vendor.
pub fn check(upstream: &Upstream, target: &Target<'_>, wish: &Wish, body: &[u8]) -> Result<(), Problem> {
    encode(upstream, target, wish, &parse(body)?).map(|_| ())
}

fn parse(body: &[u8]) -> Result<Patch<'_>, Problem> {
    Patch::parse(body).map_err(|malformed| {
        Problem::new(Code::MalformedJson, format!("The body cannot be read: {malformed}."))
    })
}

fn encode<'a>(
    upstream: &Upstream,
    target: &'a Target<'a>,
    wish: &'a Wish,
    patch: &'a Patch<'a>,
) -> Result<Call<'a>, Problem> {
    let ask = Ask {
        target,
        patch,
        merge: wish.merge,
        lenient: wish.lenient,
        idempotency_key: wish.vendor_key.as_deref(),
    };
    upstream.settings.vendor.encode(&ask).map_err(|refusal| refused(upstream, refusal))
}

/// The calls of one update, all before one deadline.
struct Exchange<'a> {
    upstream: &'a Upstream,
    adapter: &'static dyn Adapter,
    deadline: Deadline,
    waited: &'a mut Duration,
}

impl Exchange<'_> {
    async fn send(&mut self, request: Request<Bytes>) -> Result<Reply, Problem> {
        let started = Instant::now();
        let answer = self.upstream.send(request, self.deadline.clone()).await;
        *self.waited += started.elapsed();
        answer.map_err(|trouble| Problem::from_trouble(trouble, self.upstream))
    }

    /// Reads the conversation if the update must be merged into what is stored. Whatever goes wrong here, the update
    /// was not sent.
    async fn stored(&mut self, target: &Target<'_>, call: &Call<'_>) -> Result<Option<Reply>, Problem> {
        if !call.needs_stored_context {
            return Ok(None);
        }
        let spec = self.adapter.spec();
        let mut request =
            merge::read_request(spec, target).map_err(|e| Problem::new(Code::Internal, e.to_string()))?;
        if let Some(trace) = call.request.headers().get("traceparent") {
            request.headers_mut().insert(HeaderName::from_static("traceparent"), trace.clone());
        }
        let read = self.send(request).await.and_then(|reply| {
            if !reply.status().is_success() {
                let failure = self.adapter.explain(&reply);
                return Err(failed(self.upstream, reply.status().as_u16(), reply.headers(), failure, None));
            }
            Ok(reply)
        });
        read.map(Some).map_err(|problem| Problem {
            applied: Applied::No,
            detail: format!(
                "The stored context could not be read, so nothing was changed. {}",
                problem.detail
            ),
            ..problem
        })
    }
}

/// Puts the merged context into the call's body; gives its text.
fn merged(
    upstream: &Upstream,
    call: &mut Call<'_>,
    stored: Option<&Reply>,
) -> Result<Option<String>, Problem> {
    let Some(reply) = stored else { return Ok(None) };
    let spec = upstream.settings.vendor.spec();
    let unreadable = |why: String| invalid(upstream, reply, &why, Applied::No);
    readable(reply).map_err(|_| unreadable("it is not JSON".to_owned()))?;
    let stored = stored_context(spec, reply).map_err(|unusable| match unusable {
        Unusable::Invalid(why) => unreadable(why),
        Unusable::Failed(failure) => unreadable(failure.vendor_message.unwrap_or_default()),
    })?;
    let (body, context) = merge::merged_body(spec, call, stored).map_err(|e| unreadable(e.to_string()))?;
    *call.request.body_mut() = body;
    Ok(Some(context))
}

/// An answer must be JSON as it is: what was not asked for (a coding, a page) is not guessed at.
fn readable(reply: &Reply) -> Result<(), Unusable> {
    let header = |name| reply.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let coding = header(header::CONTENT_ENCODING);
    if !coding.is_empty() && !coding.eq_ignore_ascii_case("identity") {
        return Err(Unusable::Invalid(format!(
            "it is coded as '{}', which was not asked for",
            coding.escape_debug()
        )));
    }
    let kind = header(header::CONTENT_TYPE);
    let essence = kind.split(';').next().unwrap_or_default().trim();
    let json = essence.len().checked_sub(4).and_then(|start| essence.get(start..));
    if essence.is_empty()
        || json.is_some_and(|end| end.eq_ignore_ascii_case("json"))
        || essence.eq_ignore_ascii_case("text/plain")
        || essence.eq_ignore_ascii_case("application/octet-stream")
    {
        return Ok(());
    }
    Err(Unusable::Invalid(format!("it is of the type '{}', not JSON", essence.escape_debug())))
}

fn refused(upstream: &Upstream, refusal: parlance_adapters::Refusal) -> Problem {
    upstream.traffic.refused(&refusal.faults);
    let details: Vec<&str> = refusal.faults.iter().map(|fault| fault.detail.as_str()).collect();
    let mut problem = Problem::new(Code::InvalidPatch, details.join(" ")).about(upstream);
    problem.errors = refusal.faults.into_iter().map(FieldError::from).collect();
    problem
}

/// An unsuccessful answer as a problem.
fn failed(
    upstream: &Upstream,
    status: u16,
    headers: &HeaderMap,
    failure: Failure,
    applied: Option<Applied>,
) -> Problem {
    let mut problem = Problem::from_failure(failure, status, upstream);
    problem.retry_after = crate::retry_after::seconds(headers).filter(|_| problem.code.retryable());
    problem.applied = applied.unwrap_or(problem.applied);
    problem
}

fn invalid(upstream: &Upstream, reply: &Reply, why: &str, applied: Applied) -> Problem {
    let mut problem = Problem::new(
        Code::VendorInvalidResponse,
        format!("The vendor's answer cannot be understood: {why}."),
    )
    .about(upstream);
    problem.applied = applied;
    if let Some(part) = &mut problem.vendor {
        part.status = Some(reply.status().as_u16());
        part.proxy_error = Some("http_protocol_error");
    }
    problem
}

/// What would have been sent.
fn preview(upstream: &Upstream, target: &Target<'_>, call: Call<'_>) -> Vec<u8> {
    let spec = upstream.settings.vendor.spec();
    let mut warnings = call.warnings;
    if call.needs_stored_context {
        warnings.push(Warning {
            code: "unmerged",
            pointer: Some("/context".to_owned()),
            detail: "The body shows the context of the patch; the stored one would be read and merged with it first.".to_owned(),
        });
    }
    let mut out = Vec::with_capacity(1024);
    let text = |out: &mut Vec<u8>, name: &str, value: &str| {
        out.extend_from_slice(name.as_bytes());
        quote(value, out);
    };
    text(&mut out, "{\"dry_run\":true,\"id\":", target.id());
    text(&mut out, ",\"vendor\":", spec.vendor);
    text(&mut out, ",\"upstream\":", &upstream.settings.adapter.name);
    text(&mut out, ",\"request\":{\"method\":", call.request.method().as_str());
    text(&mut out, ",\"url\":", &call.request.uri().to_string());
    text(&mut out, ",\"headers\":{", spec.credential.header().as_str());
    out.extend_from_slice(b":\"***\"");
    for (name, value) in call.request.headers() {
        text(&mut out, ",", name.as_str());
        text(&mut out, ":", value.to_str().unwrap_or_default());
    }
    out.extend_from_slice(b"},\"body\":");
    out.extend_from_slice(call.request.body());
    out.push(b'}');
    for (at, warning) in warnings.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b",\"warnings\":[" } else { b"," });
        warning.write(&mut out);
    }
    if !warnings.is_empty() {
        out.push(b']');
    }
    out.push(b'}');
    out
}
