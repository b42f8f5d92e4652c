//! Use cases: a canonical update becomes one vendor request, and the vendor's answer one conversation; a read likewise.
//!
//! ```text
//! prepare: body ──> Patch ──> Encoded                                every fault of the body, before anything is sent
//! send:    slot ──> turn ──> [read ──> condition ──> merge] ──> UpstreamCall ──> reply ──> Conversation ──> Outcome
//! read:    slot ──> reply ──> Conversation ──> Outcome
//! ```

pub mod callers;
mod dry_run;
mod failures;
pub mod file_digests;
pub mod routing;
pub mod snapshot;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use parlance_adapters::canonical::{Conversation, Field, Patch, VENDOR_FIELDS, Warning};
use parlance_adapters::{DecodeContext, EncodeRequest, Encoded, Target, UpstreamCall, decode};

use self::routing::SelectedBy;
use crate::idempotency::BeforeSend;
use crate::idempotency::turns::{Turn, TurnError, TurnKind, Turns};
use crate::types::code::{AnsweredBy, Applied, Code};
use crate::types::continued::Continued;
use crate::types::deadline::Deadline;
use crate::types::etag::{Condition, ETag};
use crate::types::problem::Problem;
use crate::upstream::transport::Reply;
use crate::upstream::{Exchanged, Slot, Upstream};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Time spent on the read, beyond which the turn is confirmed before the update is sent.
const CONFIRM_AFTER: Duration = Duration::from_secs(1);

/// Options of an update, parsed from the request head.
#[derive(Debug, Default)]
pub struct UpdateOptions {
    /// True for `application/merge-patch+json`.
    pub merge: bool,
    /// True for `Prefer: handling=lenient`: members that cannot be written are left out and named in warnings.
    pub lenient: bool,
    /// State that the conversation must have, from `If-Match`.
    pub if_match: Option<Condition>,
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
    kind: TurnKind,
    if_match: Option<Condition>,
    traceparent: Option<HeaderValue>,
}

/// Result of an update or a read.
#[derive(Debug)]
pub struct Outcome {
    /// The answer, or the problem.
    pub result: Result<Answer, Problem>,
    /// Time spent waiting for the vendor.
    pub waited: Duration,
}

/// Answer to the caller.
#[derive(Debug)]
pub struct Answer {
    /// The conversation, or a vendor's request that is shown, as canonical JSON.
    pub body: Vec<u8>,
    /// Tag of the conversation without its warnings; `None` if the answer is not a whole conversation.
    pub etag: Option<ETag>,
    /// The id and the warnings alone, as JSON; `None` without a warning.
    pub notices: Option<Vec<u8>>,
}

impl Outcome {
    fn unsent(problem: Problem) -> Self {
        Outcome { result: Err(problem), waited: Duration::ZERO }
    }

    /// Producer of the result: the gateway or the vendor.
    pub fn answered_by(&self) -> AnsweredBy {
        self.result.as_ref().map_or_else(|problem| problem.answered_by, |_| AnsweredBy::Vendor)
    }
}

impl Answer {
    fn new(
        upstream: &Upstream,
        target: &Target,
        (conversation, reply): (&Conversation<'_>, &Reply),
        warnings: &[Warning],
    ) -> Self {
        let received = reply.response.body().len();
        let vendor = upstream.settings.vendor.spec().vendor;
        let mut body = Vec::with_capacity(received + conversation.added());
        let tagged = conversation.write(target.id(), vendor, &upstream.name, warnings, &mut body);
        let etag = conversation.is_whole().then(|| ETag::of(body.get(..tagged).unwrap_or_default()));
        Answer { etag, notices: conversation.notices(target.id(), warnings), body }
    }

    fn shown(body: Vec<u8>) -> Self {
        Answer { body, etag: None, notices: None }
    }
}

/// Parses and encodes a body, once.
///
/// # Errors
///
/// The body is not JSON, the patch has faults, all of which a problem names, or the vendor's conversations take no
/// conditions.
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
    let UpdateOptions { if_match, traceparent, .. } = options;
    let mut names = patch.members().iter().map(|(key, _)| key.name());
    let kind = if if_match.is_some() {
        TurnKind::Condition
    } else if names.any(|name| name == Field::Context.name() || name == VENDOR_FIELDS) {
        // The vendor's own members may hold the context too.
        TurnKind::Context
    } else {
        TurnKind::Plain
    };
    if if_match.is_some() && !upstream.settings.vendor.spec().is_conditional() {
        return Err(failures::unconditional(&upstream));
    }
    Ok(Prepared { upstream, target, encoded, kind, if_match, traceparent })
}

impl Prepared {
    /// The vendor's request as canonical JSON; changes nothing. A condition is tested by a read before `deadline`.
    pub async fn dry_run(self, route: SelectedBy, deadline: Deadline) -> Outcome {
        let Prepared { upstream, target, encoded, if_match, traceparent, .. } = self;
        let mut waited = Duration::ZERO;
        if let Some(condition) = &if_match {
            let slot = match upstream.admit() {
                Ok(slot) => slot,
                Err(error) => return Outcome::unsent(failures::transport(&upstream, error)),
            };
            let mut exchange = Exchange::new(&upstream, &target, slot, traceparent, deadline);
            let result = exchange.require(condition).await;
            waited = exchange.waited;
            if let Err(problem) = result {
                return Outcome { result: Err(problem), waited };
            }
        }
        Outcome { result: Ok(Answer::shown(dry_run::update(&upstream, &target, route, encoded))), waited }
    }

    /// True if the update is sent as soon as its turn comes, without a read before it.
    pub fn is_sent_at_once(&self) -> bool {
        self.if_match.is_none() && matches!(self.encoded, Encoded::Ready(_))
    }

    /// Sends the update when its turn has come, all before `deadline`. Reads the conversation before it if there is a
    /// condition or the context must be merged.
    ///
    /// Rare waits are boxed, so that the future of a plain update stays small.
    pub async fn send(self, turns: &Turns, mut before_send: BeforeSend, deadline: Deadline) -> Outcome {
        let upstream = &self.upstream;
        // Before the turn: updates that wait for it must not fill the gateway.
        let slot = match upstream.admit() {
            Ok(slot) => slot,
            Err(error) => return Outcome::unsent(failures::transport(upstream, error)),
        };
        let address = self.target.address(upstream.settings.vendor.spec(), &upstream.settings.adapter);
        let kind = (self.kind, !self.is_sent_at_once());
        let turn = match turns.take_at_once(&address, self.kind) {
            Some(turn) => Ok((turn, false)),
            None => Box::pin(wait(turns, &address, kind, &deadline, &mut before_send)).await,
        };
        let (mut turn, came_late) = match turn {
            Ok(turn) => turn,
            Err(problem) => return Outcome::unsent(failures::about(upstream, problem)),
        };
        // A holder that was stopped must not send after its lease.
        let deadline = match turn.valid_until() {
            Some(latest) => deadline.no_later_than(latest),
            None => deadline,
        };
        let mut exchange = Exchange::new(upstream, &self.target, slot, self.traceparent, deadline);
        let call = match (self.encoded, &self.if_match) {
            (Encoded::Ready(call), None) => Ok(call),
            (encoded, if_match) => match Box::pin(exchange.complete(encoded, if_match.as_ref())).await {
                // The turn came too late to read, for which the vendor is not to blame.
                Err(problem) if came_late && problem.code == Code::VendorTimeout => {
                    Err(failures::about(upstream, failures::no_turn(&TurnError::Busy)))
                }
                completed => completed,
            },
        };
        let call = match call {
            Ok(call) if exchange.waited > CONFIRM_AFTER || before_send.is_pending() => {
                Box::pin(exchange.clear(&mut turn, before_send)).await.map(|()| call)
            }
            call => call,
        };
        let waited = exchange.waited;
        let mut call = match call {
            Ok(call) => call,
            Err(problem) => return Outcome { result: Err(problem), waited },
        };
        let sent = exchange.write(&mut call, turn).await;
        let result = match sent.result {
            Ok(reply) if reply.response.status().is_success() => {
                updated(upstream, &self.target, &call, &reply)
            }
            Ok(reply) => Err(failures::vendor(upstream, &reply)),
            Err(error) => Err(failures::update(failures::transport(upstream, error))),
        };
        Outcome { result, waited: waited + sent.waited }
    }
}

/// Waits for the turn of a conversation. A key's note that the update is sent is taken back meanwhile. Says as well if the
/// turn came after the larger part of the time.
async fn wait(
    turns: &Turns,
    address: &str,
    kind: (TurnKind, bool),
    deadline: &Deadline,
    before_send: &mut BeforeSend,
) -> Result<(Turn, bool), Problem> {
    let begun = Instant::now();
    let mut noted = Ok(());
    let on_wait = async { noted = before_send.unmark().await };
    let turn = turns.take_if_possible(address, kind, deadline, on_wait).await;
    let turn = turn.map_err(|error| failures::no_turn(&error))?;
    let left = deadline.at().saturating_duration_since(Instant::now());
    noted.map(|()| (turn, left < begun.elapsed()))
}

/// Reads a conversation before `deadline`.
pub async fn read(
    upstream: &Arc<Upstream>,
    target: &Target,
    traceparent: Option<HeaderValue>,
    deadline: Deadline,
) -> Outcome {
    let slot = match upstream.admit() {
        Ok(slot) => slot,
        Err(error) => return Outcome::unsent(failures::transport(upstream, error)),
    };
    let mut exchange = Exchange::new(upstream, target, slot, traceparent, deadline);
    let result = exchange.conversation().await;
    Outcome { result, waited: exchange.waited }
}

/// Shows the vendor's request of a read; sends nothing.
///
/// # Errors
///
/// No request can be made.
pub fn show_read(upstream: &Upstream, target: &Target, route: SelectedBy) -> Result<Answer, Problem> {
    let request = read_request(upstream, target)?;
    Ok(Answer::shown(dry_run::read(upstream, target, route, request)))
}

fn read_request(upstream: &Upstream, target: &Target) -> Result<Request<Bytes>, Problem> {
    match upstream.settings.vendor.read_request(&upstream.settings.adapter, target) {
        Some(Ok(request)) => Ok(request),
        Some(Err(error)) => Err(Problem::new(Code::InvalidId, format!("The id is too long: {error}."))),
        None => Err(Problem::defect()),
    }
}

/// Requests of one update or read, all before one deadline.
struct Exchange<'a> {
    upstream: &'a Arc<Upstream>,
    target: &'a Target,
    slot: Slot,
    traceparent: Option<HeaderValue>,
    deadline: Deadline,
    waited: Duration,
}

impl<'a> Exchange<'a> {
    fn new(
        upstream: &'a Arc<Upstream>,
        target: &'a Target,
        slot: Slot,
        traceparent: Option<HeaderValue>,
        deadline: Deadline,
    ) -> Self {
        Exchange { upstream, target, slot, traceparent, deadline, waited: Duration::ZERO }
    }

    /// Sends the call's request, the one that writes. A caller that hangs up must not hand the turn on while its update is
    /// under way, so it goes on.
    fn write(self, call: &mut UpstreamCall, turn: Turn) -> Continued<Exchanged> {
        let request = self.traced(std::mem::take(&mut call.request));
        let Exchange { upstream, slot, deadline, .. } = self;
        let upstream = Arc::clone(upstream);
        Continued::new(async move {
            let sent = upstream.send(&slot, request, deadline).await;
            drop(turn);
            sent
        })
    }

    /// Reads the stored conversation, tests the condition on it, and merges into it what must be merged.
    async fn complete(
        &mut self,
        encoded: Encoded,
        if_match: Option<&Condition>,
    ) -> Result<UpstreamCall, Problem> {
        let reply = self.read().await.map_err(failures::not_read)?;
        let stored = self.stored(&reply).map_err(failures::not_read)?;
        if let Some(condition) = if_match {
            self.compare(condition, &stored, &reply)?;
        }
        match encoded {
            Encoded::Ready(call) => Ok(call),
            Encoded::NeedsStored(pending) => {
                pending.merge(&stored).map_err(|error| failures::validation(self.upstream, error))
            }
        }
    }

    /// Makes sure that the update may be sent, and notes that it is.
    async fn clear(&self, turn: &mut Turn, before_send: BeforeSend) -> Result<(), Problem> {
        // The store may have lost the lease during the read.
        if self.waited > CONFIRM_AFTER {
            turn.confirm()
                .await
                .map_err(|error| failures::about(self.upstream, failures::no_turn(&error)))?;
        }
        before_send.mark().await
    }

    /// Reads the conversation and tests a condition on it.
    async fn require(&mut self, condition: &Condition) -> Result<(), Problem> {
        let reply = self.read().await.map_err(failures::not_read)?;
        let stored = self.stored(&reply).map_err(failures::not_read)?;
        self.compare(condition, &stored, &reply)
    }

    fn compare(
        &self,
        condition: &Condition,
        stored: &Conversation<'_>,
        reply: &Reply,
    ) -> Result<(), Problem> {
        match Answer::new(self.upstream, self.target, (stored, reply), &[]).etag {
            Some(etag) if condition.matches_strongly(etag) => Ok(()),
            etag => Err(failures::changed(self.upstream, etag)),
        }
    }

    /// Reads the conversation for the caller.
    async fn conversation(&mut self) -> Result<Answer, Problem> {
        let reply = self.read().await?;
        let conversation = self.stored(&reply)?;
        Ok(Answer::new(self.upstream, self.target, (&conversation, &reply), &[]))
    }

    /// Reads the conversation. A failed read changed nothing.
    async fn read(&mut self) -> Result<Reply, Problem> {
        let request = self.traced(read_request(self.upstream, self.target)?);
        let sent = self.upstream.send(&self.slot, request, self.deadline.clone()).await;
        self.waited += sent.waited;
        let problem = match sent.result {
            Ok(reply) if reply.response.status().is_success() => return Ok(reply),
            Ok(reply) => failures::vendor(self.upstream, &reply),
            Err(error) => failures::transport(self.upstream, error),
        };
        Err(Problem { applied: Applied::No, ..problem })
    }

    /// Adds the trace context.
    fn traced(&self, mut request: Request<Bytes>) -> Request<Bytes> {
        if let Some(trace) = &self.traceparent {
            request.headers_mut().insert(TRACEPARENT, trace.clone());
        }
        request
    }

    /// The conversation that the reply to a read describes.
    fn stored<'r>(&self, reply: &'r Reply) -> Result<Conversation<'r>, Problem>
    where
        'a: 'r,
    {
        decode(self.upstream.settings.vendor.0, &DecodeContext::of_read(self.target), &reply.response)
            .map_err(|error| failures::unreadable(self.upstream, reply, error))
    }
}

/// The conversation that the reply to an update describes.
fn updated(
    upstream: &Upstream,
    target: &Target,
    call: &UpstreamCall,
    reply: &Reply,
) -> Result<Answer, Problem> {
    let context = DecodeContext::of_update(target, call);
    let conversation = decode(upstream.settings.vendor.0, &context, &reply.response)
        .map_err(|error| failures::undecodable(upstream, reply, error))?;
    Ok(Answer::new(upstream, target, (&conversation, reply), &call.warnings))
}
