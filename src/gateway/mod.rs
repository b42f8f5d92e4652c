//! The one use case: a canonical update becomes one vendor request, and its answer one conversation.

pub mod callers;
mod dry_run;
mod failures;
pub mod routing;
pub mod snapshot;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, header};
use parlance_adapters::canonical::Patch;
use parlance_adapters::json::Reader;
use parlance_adapters::{Adapter, Ask, Call, Done, Target, Unusable, confirm, merge, stored_context};

use self::dry_run::preview;
use self::failures::{failed, invalid, refused};
use crate::types::code::{Applied, Code};
use crate::types::deadline::Deadline;
use crate::types::problem::Problem;
use crate::upstream::Upstream;
use crate::upstream::transport::Reply;

/// What a caller wants, apart from the conversation and the body.
#[derive(Debug, Default)]
pub struct UpdateOptions {
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
    options: &UpdateOptions,
    body: &[u8],
    deadline: Deadline,
    waited: &mut Duration,
) -> Result<Outcome, Problem> {
    let adapter = upstream.settings.vendor;
    let patch = parse(body)?;
    let mut call = encode(upstream, target, options, &patch)?;
    if let Some(trace) = &options.traceparent {
        call.request.headers_mut().insert(HeaderName::from_static("traceparent"), trace.clone());
    }
    if options.dry_run {
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

    let Reply { response: reply, maybe_applied } = exchange.send(call.request).await?;
    let done = Done { target, set: &call.set };
    let conversation = if !reply.status().is_success() {
        let applied = maybe_applied.then_some(Applied::Unknown);
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
pub fn check(
    upstream: &Upstream,
    target: &Target<'_>,
    options: &UpdateOptions,
    body: &[u8],
) -> Result<(), Problem> {
    encode(upstream, target, options, &parse(body)?).map(|_| ())
}

fn parse(body: &[u8]) -> Result<Patch<'_>, Problem> {
    Patch::parse(body).map_err(|malformed| {
        Problem::new(Code::MalformedJson, format!("The body cannot be read: {malformed}."))
    })
}

fn encode<'a>(
    upstream: &Upstream,
    target: &'a Target<'a>,
    options: &'a UpdateOptions,
    patch: &'a Patch<'a>,
) -> Result<Call<'a>, Problem> {
    let ask = Ask {
        target,
        patch,
        merge: options.merge,
        lenient: options.lenient,
        idempotency_key: options.vendor_key.as_deref(),
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
        let sent = self.upstream.send(request, self.deadline.clone()).await;
        *self.waited += sent.waited;
        sent.result.map_err(|trouble| Problem::from_transport(trouble, self.upstream))
    }

    /// Reads the conversation if the update must be merged into what is stored. Whatever goes wrong here, the update
    /// was not sent.
    async fn stored(
        &mut self,
        target: &Target<'_>,
        call: &Call<'_>,
    ) -> Result<Option<Response<Bytes>>, Problem> {
        if !call.needs_stored_context {
            return Ok(None);
        }
        let spec = self.adapter.spec();
        let mut request =
            merge::read_request(spec, target).map_err(|e| Problem::new(Code::Internal, e.to_string()))?;
        if let Some(trace) = call.request.headers().get("traceparent") {
            request.headers_mut().insert(HeaderName::from_static("traceparent"), trace.clone());
        }
        let read = self.send(request).await.and_then(|Reply { response: reply, .. }| {
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
    stored: Option<&Response<Bytes>>,
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
fn readable(reply: &Response<Bytes>) -> Result<(), Unusable> {
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
