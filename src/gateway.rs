//! The one use case: a canonical update becomes one vendor request, and its answer one conversation.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use parlance_adapters::canonical::{Patch, Warning};
use parlance_adapters::json::quote;
use parlance_adapters::{
    Adapter, DecodeContext, DecodeError, EncodeRequest, Encoded, Failure, PendingMerge, Target, UpstreamCall,
    ValidationError, decode,
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
    target: &Target,
    wish: &Wish,
    body: &Bytes,
    deadline: Deadline,
    waited: &mut Duration,
) -> Result<Outcome, Problem> {
    let adapter = upstream.settings.vendor;
    let patch = parse(body)?;
    let encoded = encode(upstream, target, wish, &patch)?;
    if wish.dry_run {
        return Ok(Outcome { body: preview(upstream, target, wish, encoded) });
    }

    let mut exchange = Exchange { upstream, adapter, deadline, waited };
    let mut call = match encoded {
        Encoded::Ready(call) => call,
        Encoded::NeedsStored(pending) => exchange.merged(target, wish, pending).await?,
    };
    continue_trace(wish, &mut call.request);
    let reply = exchange.send(std::mem::take(&mut call.request)).await?;
    let conversation = if !reply.status().is_success() {
        let applied = reply.extensions().get::<MaybeApplied>().map(|_| Applied::Unknown);
        return Err(failed(
            upstream,
            reply.status().as_u16(),
            reply.headers(),
            adapter.failure(&reply),
            applied,
        ));
    } else {
        decode(adapter, &DecodeContext::of_update(target, &call), &reply).map_err(|error| match error {
            DecodeError::Failed(failure) => {
                failed(upstream, reply.status().as_u16(), reply.headers(), failure, Some(Applied::Unknown))
            }
            DecodeError::Invalid(why) => invalid(upstream, &reply, &why, Applied::Yes),
        })?
    };
    let mut body = Vec::with_capacity(reply.body().len() + conversation.added());
    let upstream_name = &upstream.settings.adapter.name;
    conversation.write(target.id(), adapter.spec().vendor, upstream_name, &call.warnings, &mut body);
    Ok(Outcome { body })
}

/// Finds what [`update`] would refuse before it calls the vendor.
pub fn check(upstream: &Upstream, target: &Target, wish: &Wish, body: &Bytes) -> Result<(), Problem> {
    encode(upstream, target, wish, &parse(body)?).map(|_| ())
}

/// Puts the caller's trace into a request to the vendor.
fn continue_trace(wish: &Wish, request: &mut Request<Bytes>) {
    if let Some(trace) = &wish.traceparent {
        request.headers_mut().insert(HeaderName::from_static("traceparent"), trace.clone());
    }
}

fn parse(body: &Bytes) -> Result<Patch<'_>, Problem> {
    Patch::parse(body).map_err(|malformed| {
        Problem::new(Code::MalformedJson, format!("The body cannot be read: {malformed}."))
    })
}

fn encode(upstream: &Upstream, target: &Target, wish: &Wish, patch: &Patch<'_>) -> Result<Encoded, Problem> {
    let request = EncodeRequest {
        endpoint: &upstream.settings.adapter,
        target,
        patch,
        merge: wish.merge,
        lenient: wish.lenient,
        idempotency_key: wish.vendor_key.as_deref(),
    };
    upstream.settings.vendor.encode(&request).map_err(|error| refused(upstream, error))
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

    /// Reads the conversation and merges its context into the call. Whatever goes wrong here, the update was not sent.
    async fn merged(
        &mut self,
        target: &Target,
        wish: &Wish,
        pending: PendingMerge,
    ) -> Result<UpstreamCall, Problem> {
        let (upstream, adapter) = (self.upstream, self.adapter);
        let mut request = adapter
            .read_request(&upstream.settings.adapter, target)
            .ok_or_else(|| Problem::new(Code::Internal, "a merge needs a read, which the vendor has not"))?
            .map_err(|e| Problem::new(Code::Internal, e.to_string()))?;
        continue_trace(wish, &mut request);
        let read = self.send(request).await.and_then(|reply| {
            if !reply.status().is_success() {
                let failure = adapter.failure(&reply);
                return Err(failed(upstream, reply.status().as_u16(), reply.headers(), failure, None));
            }
            Ok(reply)
        });
        let reply = read.map_err(|problem| Problem {
            applied: Applied::No,
            detail: format!(
                "The stored context could not be read, so nothing was changed. {}",
                problem.detail
            ),
            ..problem
        })?;
        let stored = decode(adapter, &DecodeContext::of_read(target), &reply)
            .map_err(|error| invalid(upstream, &reply, &error.to_string(), Applied::No))?;
        pending.merge(&stored).map_err(|error| refused(upstream, error))
    }
}

fn refused(upstream: &Upstream, refusal: ValidationError) -> Problem {
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
fn preview(upstream: &Upstream, target: &Target, wish: &Wish, encoded: Encoded) -> Vec<u8> {
    let spec = upstream.settings.vendor.spec();
    let is_merge = matches!(encoded, Encoded::NeedsStored(_));
    let mut call = match encoded {
        Encoded::Ready(call) => call,
        Encoded::NeedsStored(pending) => pending.into_unmerged(),
    };
    continue_trace(wish, &mut call.request);
    let mut warnings = std::mem::take(&mut call.warnings);
    if is_merge {
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
