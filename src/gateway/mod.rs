//! Use case: a canonical update becomes one vendor request, and the vendor's answer one conversation.
//!
//! ```text
//! prepare: body ──> Patch ──> Encoded                  every fault of the body, before anything is sent
//! send:    [read ──> merge] ──> UpstreamCall ──> reply ──> Conversation ──> Outcome
//! ```

pub mod callers;
mod dry_run;
mod failures;
pub mod file_digests;
pub mod routing;
pub mod snapshot;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use parlance_adapters::canonical::Patch;
use parlance_adapters::{Adapter, DecodeContext, EncodeRequest, Encoded, Target, UpstreamCall, decode};

use crate::types::code::{AnsweredBy, Code};
use crate::types::deadline::Deadline;
use crate::types::problem::Problem;
use crate::upstream::Upstream;
use crate::upstream::transport::Reply;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Options of an update, parsed from the request head.
#[derive(Debug, Default)]
pub struct UpdateOptions {
    /// True for `application/merge-patch+json`.
    pub merge: bool,
    /// True for `Prefer: handling=lenient`: members that cannot be written are left out and named in warnings.
    pub lenient: bool,
    /// Key for a vendor that takes one.
    pub vendor_key: Option<String>,
    /// Trace context for the vendor's request.
    pub traceparent: Option<HeaderValue>,
}

/// An update that the vendor can be sent. It owns all that it needs, so that it can outlive its request.
#[derive(Debug)]
pub struct Prepared {
    upstream: Arc<Upstream>,
    target: Target,
    encoded: Encoded,
    traceparent: Option<HeaderValue>,
}

/// Result of an update.
#[derive(Debug)]
pub struct Outcome {
    /// The conversation as canonical JSON, or the problem.
    pub result: Result<Vec<u8>, Problem>,
    /// Time spent waiting for the vendor.
    pub waited: Duration,
}

impl Outcome {
    /// Who produced the result.
    pub fn answered_by(&self) -> AnsweredBy {
        self.result.as_ref().map_or_else(|problem| problem.answered_by, |_| AnsweredBy::Vendor)
    }
}

/// Parses and encodes a body, once.
///
/// # Errors
///
/// The body is not JSON, or the patch has faults; a problem names them all.
pub fn prepare(
    upstream: Arc<Upstream>,
    target: Target,
    options: UpdateOptions,
    body: &Bytes,
) -> Result<Prepared, Problem> {
    let patch = Patch::parse(body)
        .map_err(|error| Problem::new(Code::MalformedJson, format!("The body cannot be read: {error}.")))?;
    let request = EncodeRequest {
        endpoint: &upstream.settings.adapter,
        target: &target,
        patch: &patch,
        merge: options.merge,
        lenient: options.lenient,
        idempotency_key: options.vendor_key.as_deref(),
    };
    let encoded = upstream.settings.vendor.encode(&request);
    let encoded = encoded.map_err(|error| failures::validation(&upstream, error))?;
    Ok(Prepared { upstream, target, encoded, traceparent: options.traceparent })
}

impl Prepared {
    /// The vendor's request as canonical JSON; sends nothing.
    pub fn dry_run(self) -> Vec<u8> {
        dry_run::render(&self.upstream, &self.target, self.encoded)
    }

    /// Sends the update, and reads the conversation before it if the context must be merged, all before `deadline`.
    pub async fn send(self, deadline: Deadline) -> Outcome {
        let Prepared { upstream, target, encoded, traceparent } = self;
        let mut exchange =
            Exchange { upstream: &upstream, target: &target, traceparent, deadline, waited: Duration::ZERO };
        let result = exchange.update(encoded).await;
        Outcome { result, waited: exchange.waited }
    }
}

/// Requests of one update, all before one deadline.
struct Exchange<'a> {
    upstream: &'a Upstream,
    target: &'a Target,
    traceparent: Option<HeaderValue>,
    deadline: Deadline,
    waited: Duration,
}

impl Exchange<'_> {
    fn vendor(&self) -> &'static dyn Adapter {
        self.upstream.settings.vendor.0
    }

    async fn update(&mut self, encoded: Encoded) -> Result<Vec<u8>, Problem> {
        let (upstream, target) = (self.upstream, self.target);
        let mut call = match encoded {
            Encoded::Ready(call) => call,
            Encoded::NeedsStored(pending) => {
                let reply = self.read().await.map_err(failures::not_read)?;
                let stored = decode(self.vendor(), &DecodeContext::of_read(target), &reply.response)
                    .map_err(|error| failures::not_read(failures::unreadable(upstream, &reply, error)))?;
                pending.merge(&stored).map_err(|error| failures::validation(upstream, error))?
            }
        };
        let request = std::mem::take(&mut call.request);
        let reply = self.send(request).await?;
        self.conversation(&call, &reply)
    }

    /// Reads the conversation.
    async fn read(&mut self) -> Result<Reply, Problem> {
        let request =
            self.upstream.settings.vendor.read_request(&self.upstream.settings.adapter, self.target);
        let request = match request {
            Some(Ok(request)) => request,
            Some(Err(error)) => return Err(Problem::new(Code::Internal, error.to_string())),
            None => return Err(Problem::defect()),
        };
        self.send(request).await
    }

    /// Sends a request; a reply that is no success is a problem.
    async fn send(&mut self, mut request: Request<Bytes>) -> Result<Reply, Problem> {
        if let Some(trace) = &self.traceparent {
            request.headers_mut().insert(TRACEPARENT, trace.clone());
        }
        let sent = self.upstream.send(request, self.deadline.clone()).await;
        self.waited += sent.waited;
        let reply = sent.result.map_err(|error| failures::transport(self.upstream, error))?;
        if !reply.response.status().is_success() {
            return Err(failures::vendor(self.upstream, &reply));
        }
        Ok(reply)
    }

    /// The conversation that the reply to an update describes.
    fn conversation(&self, call: &UpstreamCall, reply: &Reply) -> Result<Vec<u8>, Problem> {
        let (upstream, vendor) = (self.upstream, self.vendor());
        let context = DecodeContext::of_update(self.target, call);
        let conversation = decode(vendor, &context, &reply.response)
            .map_err(|error| failures::undecodable(upstream, reply, error))?;
        let mut body = Vec::with_capacity(reply.response.body().len() + conversation.added());
        conversation.write(self.target.id(), vendor.spec().vendor, &upstream.name, &call.warnings, &mut body);
        Ok(body)
    }
}
