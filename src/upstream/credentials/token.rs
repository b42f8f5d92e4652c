//! Tokens fetched with a client's id and secret, cached and renewed.
//!
//! One background task fetches a token for all requests that need it, and continues without them. From 80 % of its
//! lifetime a token is renewed in the background while it is still used; it is used until 90 %, or until 10 seconds before
//! its expiry where that is later. A token that was never used is renewed on demand only. Without `expires_in` the
//! lifetime is five minutes, and no lifetime is longer than a day.
//!
//! A failure is cached for one second, or for the endpoint's `Retry-After` up to one minute: requests meanwhile get the
//! same error. Pauses between background attempts grow to 30 seconds. A changed secret is tried at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use parlance_adapters::Credential as Scheme;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::endpoint::{Endpoint, Grant, not_fetched};
use super::file::WatchedFile;
use super::key::Key;
use super::stats::Stats;
use crate::settings::{self, Credential, OAuth2, Secret};
use crate::types::build_error::BuildError;
use crate::types::code::ProxyError;
use crate::types::deadline::{Deadline, Expired};
use crate::types::retry_after::ceil_secs;
use crate::upstream::transport::{TransportError, TransportErrorKind};

/// Minimum time for which a failure is cached, and for which the replacement of a refused token is not replaced.
const HOLD: Duration = Duration::from_secs(1);
/// Maximum time for which a failure is cached.
const MAX_HOLD: Duration = Duration::from_secs(60);
/// Longest pause between two background attempts.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// End of a token's lifetime in which it is not used, for the time on the network and differing clocks.
const MARGIN: Duration = Duration::from_secs(10);

/// Tokens of one upstream. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Tokens(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    upstream: String,
    endpoint: Endpoint,
    secret: ClientSecret,
    scheme: Scheme,
    timeout: Duration,
    token: ArcSwapOption<Token>,
    state: Mutex<State>,
    fetched: AtomicU64,
    failed: AtomicU64,
}

#[derive(Debug)]
enum ClientSecret {
    Fixed(Arc<Secret>),
    File(Arc<WatchedFile<Secret>>),
}

#[derive(Debug)]
struct Token {
    key: Arc<Key>,
    fetched: Instant,
    renew_at: Instant,
    usable_until: Instant,
    since: SystemTime,
    expires: SystemTime,
    /// Consecutive predecessors that the vendor rejected on first use.
    refused_before: u32,
}

/// Result of a fetch.
type Outcome = Result<Arc<Key>, TransportError>;
type Fetch = watch::Receiver<Option<Outcome>>;

#[derive(Debug, Default)]
struct State {
    /// The pending fetch.
    fetch: Option<Fetch>,
    /// Failure of the last fetch.
    failure: Option<Failure>,
    /// Task that renews the token.
    renewal: Option<AbortHandle>,
}

#[derive(Debug)]
struct Failure {
    error: TransportError,
    /// The client's secret that failed. Another one is tried at once.
    secret: Arc<Secret>,
    until: Instant,
    /// Earliest time of the next background attempt.
    pause_until: Instant,
    consecutive: u32,
}

impl Tokens {
    /// The tokens of an upstream; fetches none yet.
    ///
    /// # Errors
    /// A key below `credential.oauth2` that cannot be used.
    pub(super) fn new(settings: &settings::Upstream, oauth2: &OAuth2) -> Result<Self, BuildError> {
        const SECRET: &str = "credential.oauth2.client_secret";
        let upstream = settings.adapter.name.clone();
        let secret = match &*oauth2.client_secret {
            Credential::Value(value) | Credential::Env { value, .. } => {
                ClientSecret::Fixed(Arc::new(value.clone()))
            }
            Credential::File { path, value } => {
                let file = WatchedFile::new(&upstream, path, value, Ok);
                ClientSecret::File(file.map_err(|error| error.below(SECRET))?)
            }
            Credential::OAuth2(_) => return Err(BuildError::new(SECRET, "cannot be a token itself")),
        };
        Ok(Tokens(Arc::new(Shared {
            upstream,
            endpoint: Endpoint::new(settings, oauth2)?,
            secret,
            scheme: settings.vendor.spec().credential,
            timeout: settings.timeout,
            token: ArcSwapOption::empty(),
            state: Mutex::default(),
            fetched: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })))
    }

    /// The token to send now.
    ///
    /// # Errors
    /// The token endpoint's error, or the end of `deadline`.
    pub(super) async fn current(&self, deadline: &Deadline) -> Outcome {
        let now = Instant::now();
        if let Some(token) = &*self.0.token.load()
            && now < token.usable_until
        {
            if now >= token.renew_at {
                self.0.renew_ahead();
            }
            return Ok(Arc::clone(&token.key));
        }
        let step = self.0.step(None);
        step.outcome(deadline).await
    }

    /// The token to send after the vendor refused `used`.
    ///
    /// # Errors
    /// As [`current`](Self::current).
    pub(super) async fn renew(&self, used: &Arc<Key>, deadline: &Deadline) -> Outcome {
        let step = self.0.step(Some(used));
        step.outcome(deadline).await
    }

    pub(super) fn stats(&self) -> Stats {
        let shared = &self.0;
        let token = shared.token.load_full();
        let fetched = shared.fetched.load(Ordering::Relaxed);
        Stats {
            source: "oauth2",
            generation: fetched,
            changed: token.as_ref().map(|token| token.since),
            expires: token.as_ref().map(|token| token.expires),
            renewed: fetched,
            failed: shared.failed.load(Ordering::Relaxed),
            last_error: shared.state().failure.as_ref().map(|failure| label(failure.error.kind)),
        }
    }
}

/// Next step towards a token.
enum Step {
    Done(Outcome),
    Wait(Fetch),
}

impl Step {
    async fn outcome(self, deadline: &Deadline) -> Outcome {
        let mut fetch = match self {
            Step::Done(outcome) => return outcome,
            Step::Wait(fetch) => fetch,
        };
        match deadline.within(fetch.wait_for(Option::is_some)).await {
            // Without an outcome the task was dropped: the runtime is shutting down.
            Ok(ended) => ended
                .ok()
                .and_then(|outcome| outcome.clone())
                .unwrap_or_else(|| Err(not_fetched(ProxyError::ProxyInternalError, "No token was had"))),
            Err(expired @ Expired::Shutdown) => Err(TransportError::not_sent(expired)),
            Err(Expired::Timeout) => {
                let message = "The token endpoint did not answer in time";
                Err(not_fetched(ProxyError::HttpResponseTimeout, message))
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A usable token other than the refused one, else the pending fetch, else the cached failure, else a new fetch.
    fn step(self: &Arc<Self>, refused: Option<&Arc<Key>>) -> Step {
        let mut state = self.state();
        let now = Instant::now();
        let mut refused_before = 0;
        if let Some(token) = self.token.load_full().filter(|token| now < token.usable_until) {
            let other = refused.is_none_or(|refused| !Arc::ptr_eq(refused, &token.key));
            if other || !token.may_be_replaced(now) {
                return Step::Done(Ok(Arc::clone(&token.key)));
            }
            // Never sent again.
            self.token.store(None);
            refused_before = if token.key.was_accepted() { 0 } else { token.refused_before + 1 };
        }
        if let Some(fetch) = state.pending() {
            return Step::Wait(fetch);
        }
        let secret = self.secret.load();
        if let Some(failure) = &state.failure
            && now < failure.until
            && Arc::ptr_eq(&failure.secret, &secret)
        {
            return Step::Done(Err(failure.repeat(now)));
        }
        Step::Wait(self.fetch(&mut state, secret, refused_before))
    }

    /// Starts a fetch while the current token is still used.
    fn renew_ahead(self: &Arc<Self>) {
        let mut state = self.state();
        let secret = self.secret.load();
        let now = Instant::now();
        // Another request may have renewed it already.
        let is_due = self.token.load().as_ref().is_none_or(|token| now >= token.renew_at);
        let pauses = state
            .failure
            .as_ref()
            .is_some_and(|failure| now < failure.pause_until && Arc::ptr_eq(&failure.secret, &secret));
        if is_due && !pauses && state.pending().is_none() {
            self.fetch(&mut state, secret, 0);
        }
    }

    /// Starts a fetch in its own task, so that no waiting request cancels it.
    fn fetch(self: &Arc<Self>, state: &mut State, secret: Arc<Secret>, refused_before: u32) -> Fetch {
        let (ended, fetch) = watch::channel(None);
        state.fetch = Some(fetch.clone());
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let began = Instant::now();
            let (secret, granted) = shared.request(secret, began + shared.timeout).await;
            let outcome = match granted.and_then(|(began, grant)| shared.token(began, grant, refused_before))
            {
                Ok(token) => shared.succeeded(token),
                Err(error) => shared.failed(error, secret),
            };
            ended.send_replace(Some(outcome));
        });
        fetch
    }

    /// Requests a token, and once more if the endpoint refuses and the file now holds another secret. Returns the secret
    /// used last, and the start of its request.
    async fn request(
        &self,
        secret: Arc<Secret>,
        deadline: Instant,
    ) -> (Arc<Secret>, Result<(Instant, Grant), TransportError>) {
        let began = Instant::now();
        let granted = self.endpoint.request_token(&secret, deadline).await;
        if let Err(error) = &granted
            && error.kind == TransportErrorKind::Unauthenticated
            && let ClientSecret::File(file) = &self.secret
        {
            let other = file.reload_if_still(&secret, &deadline.into()).await;
            if !Arc::ptr_eq(&other, &secret) {
                let began = Instant::now();
                let granted = self.endpoint.request_token(&other, deadline).await;
                return (other, granted.map(|grant| (began, grant)));
            }
        }
        (secret, granted.map(|grant| (began, grant)))
    }

    /// The token of a grant. Its lifetime counts from the start of the request, never later than the endpoint's count.
    fn token(&self, began: Instant, grant: Grant, refused_before: u32) -> Result<Token, TransportError> {
        let Grant { token, life } = grant;
        let key = Key::new(self.scheme, &token).map_err(|_| {
            not_fetched(ProxyError::HttpProtocolError, "The token endpoint's token cannot stand in a header")
        })?;
        let since = SystemTime::now();
        Ok(Token {
            key: Arc::new(key),
            fetched: began,
            renew_at: began + life.mul_f64(0.8),
            usable_until: began + life.saturating_sub(MARGIN).max(life.mul_f64(0.9)),
            since,
            expires: since + life,
            refused_before,
        })
    }

    fn succeeded(self: &Arc<Self>, token: Token) -> Outcome {
        let token = Arc::new(token);
        let mut state = self.state();
        self.token.store(Some(Arc::clone(&token)));
        state.fetch = None;
        state.failure = None;
        let weak = Arc::downgrade(self);
        let renewed = Arc::clone(&token);
        let renewal = tokio::spawn(async move {
            tokio::time::sleep_until(renewed.renew_at.into()).await;
            if let Some(shared) = weak.upgrade().filter(|_| renewed.key.was_accepted()) {
                shared.renew_ahead();
            }
        });
        if let Some(before) = state.renewal.replace(renewal.abort_handle()) {
            before.abort();
        }
        let generation = self.fetched.fetch_add(1, Ordering::Relaxed) + 1;
        let life = token.usable_until.saturating_duration_since(Instant::now());
        tracing::info!(upstream = self.upstream, generation, usable_s = life.as_secs(), "token fetched");
        Ok(Arc::clone(&token.key))
    }

    fn failed(&self, error: TransportError, secret: Arc<Secret>) -> Outcome {
        let mut state = self.state();
        state.fetch = None;
        let consecutive = state.failure.as_ref().map_or(0, |failure| failure.consecutive) + 1;
        let retry_after = error.retry_after.map_or(HOLD, Duration::from_secs);
        let hold = retry_after.clamp(HOLD, MAX_HOLD);
        let growing = HOLD.saturating_mul(1 << (consecutive - 1).min(8)).min(MAX_PAUSE);
        let now = Instant::now();
        self.failed.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            upstream = self.upstream,
            error = label(error.kind),
            detail = error.detail,
            still_usable = self.token.load().as_ref().is_some_and(|token| now < token.usable_until),
            "no token fetched"
        );
        state.failure = Some(Failure {
            error: error.clone(),
            secret,
            until: now + hold,
            pause_until: now + hold.max(growing),
            consecutive,
        });
        Err(error)
    }
}

impl Token {
    /// True if a token that the vendor refuses may be replaced. False for a token younger than [`HOLD`] that was never
    /// accepted and whose predecessor was not either: a further one would most likely be refused too.
    fn may_be_replaced(&self, now: Instant) -> bool {
        self.key.was_accepted() || self.refused_before == 0 || now >= self.fetched + HOLD
    }
}

impl State {
    fn pending(&self) -> Option<Fetch> {
        // A fetch whose task has gone never ends.
        self.fetch.clone().filter(|fetch| fetch.has_changed().is_ok())
    }
}

impl Failure {
    /// The cached error, with the rest of its `Retry-After`.
    fn repeat(&self, now: Instant) -> TransportError {
        let left = self.until.saturating_duration_since(now);
        TransportError { retry_after: self.error.retry_after.map(|_| ceil_secs(left)), ..self.error.clone() }
    }
}

impl ClientSecret {
    fn load(&self) -> Arc<Secret> {
        match self {
            ClientSecret::Fixed(secret) => Arc::clone(secret),
            ClientSecret::File(file) => file.load(),
        }
    }
}

/// Name of an error kind in logs and in `last_error`.
fn label(kind: TransportErrorKind) -> &'static str {
    match kind {
        TransportErrorKind::Full => "full",
        TransportErrorKind::Unreachable => "unreachable",
        TransportErrorKind::Timeout => "timeout",
        TransportErrorKind::Invalid => "invalid",
        TransportErrorKind::TooLarge => "too-large",
        TransportErrorKind::Unauthenticated => "refused",
        TransportErrorKind::Unavailable => "unavailable",
        TransportErrorKind::RateLimited => "rate-limited",
        TransportErrorKind::Failed => "failed",
        TransportErrorKind::UnexpectedStatus => "unexpected-status",
        TransportErrorKind::Shutdown => "cut-off",
    }
}
