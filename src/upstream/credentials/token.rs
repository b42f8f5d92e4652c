//! A token fetched with a client's id and secret, cached and renewed.
//!
//! However many requests need a token, one task of its own fetches it, and goes on when those who wait have gone. From
//! 80 % of its life a token is renewed in the background while it still serves; it is used until 90 %, or until 10
//! seconds before its end where that is later. A token that was never used is not renewed until somebody needs one.
//! An answer without `expires_in` is taken for five minutes, and no token for longer than a day.
//!
//! A failure is remembered for one second, or for as long as the endpoint asked for (a minute at most): who needs a
//! token meanwhile gets the same trouble. In the background the pauses grow to half a minute. A changed secret is tried
//! at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use parlance_adapters::Credential as Scheme;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::endpoint::{Endpoint, Grant, trouble};
use super::file::WatchedFile;
use super::key::Key;
use super::stats::Stats;
use crate::settings::{self, Credential, OAuth2, Secret};
use crate::types::code::ProxyError;
use crate::types::deadline::{Deadline, Expired};
use crate::types::retry_after::ceil_secs;
use crate::upstream::transport::{TransportError, TransportErrorKind};

/// How long a failure is remembered at least, and how long a token that replaced a refused one is left alone.
const HOLD: Duration = Duration::from_secs(1);
/// How long a failure is remembered at most, whatever the endpoint asks for.
const MAX_HOLD: Duration = Duration::from_secs(60);
/// The longest pause between two attempts in the background.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// A token is not used in the last seconds of its life: it travels, and clocks differ.
const MARGIN: Duration = Duration::from_secs(10);

/// The tokens of one upstream. A clone is the same.
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
    /// So many tokens before it, one after the other, were refused by the vendor from the start.
    refused_before: u32,
}

/// What a fetch gave, once it has ended.
type Outcome = Result<Arc<Key>, TransportError>;
type Fetch = watch::Receiver<Option<Outcome>>;

#[derive(Debug, Default)]
struct State {
    /// The fetch under way.
    fetch: Option<Fetch>,
    /// The last fetch, if it failed.
    failure: Option<Failure>,
    /// Renews the token in time.
    renewal: Option<AbortHandle>,
}

#[derive(Debug)]
struct Failure {
    trouble: TransportError,
    /// What was used; another secret may have another fate.
    secret: Arc<Secret>,
    until: Instant,
    /// When the background may try again.
    pause_until: Instant,
    in_a_row: u32,
}

impl Tokens {
    pub(super) fn new(settings: &settings::Upstream, oauth2: &OAuth2) -> Result<Self, String> {
        let upstream = settings.adapter.name.clone();
        let secret = match &*oauth2.client_secret {
            Credential::Value(value) | Credential::Env { value, .. } => {
                ClientSecret::Fixed(Arc::new(value.clone()))
            }
            Credential::File { path, value } => {
                ClientSecret::File(WatchedFile::new(&upstream, path, value, Ok)?)
            }
            Credential::OAuth2(_) => return Err("client_secret cannot be a token itself".to_owned()),
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
            last_error: shared.state().failure.as_ref().map(|failure| sort(failure.trouble.kind)),
        }
    }
}

/// What there is to do for a token.
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
            Ok(Ok(ended)) => match &*ended {
                Some(outcome) => outcome.clone(),
                None => Err(trouble(
                    TransportErrorKind::Failed,
                    ProxyError::ProxyInternalError,
                    "No token was had",
                )),
            },
            // Its task is gone, which only the end of the process explains.
            Ok(Err(_)) => {
                Err(trouble(TransportErrorKind::Failed, ProxyError::ProxyInternalError, "No token was had"))
            }
            Err(expired @ Expired::Shutdown) => Err(TransportError::not_sent(expired)),
            Err(Expired::Timeout) => {
                let said = "The token endpoint did not answer in time";
                Err(trouble(TransportErrorKind::Timeout, ProxyError::HttpResponseTimeout, said))
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token that is good and is not the refused one; else the fetch under way; else the last failure while it is
    /// fresh; else a new fetch.
    fn step(self: &Arc<Self>, refused: Option<&Arc<Key>>) -> Step {
        let mut state = self.state();
        let now = Instant::now();
        let mut refused_before = 0;
        if let Some(token) = self.token.load_full().filter(|token| now < token.usable_until) {
            let other = refused.is_none_or(|refused| !Arc::ptr_eq(refused, &token.key));
            if other || !token.may_be_replaced(now) {
                return Step::Done(Ok(Arc::clone(&token.key)));
            }
            // From here on nobody sends it any more.
            self.token.store(None);
            refused_before = if token.key.was_accepted() { 0 } else { token.refused_before + 1 };
        }
        if let Some(fetch) = state.under_way() {
            return Step::Wait(fetch);
        }
        let secret = self.secret.load();
        if let Some(failure) = &state.failure
            && now < failure.until
            && Arc::ptr_eq(&failure.secret, &secret)
        {
            return Step::Done(Err(failure.again(now)));
        }
        Step::Wait(self.fetch(&mut state, secret, refused_before))
    }

    /// Fetches another token while the present one still serves.
    fn renew_ahead(self: &Arc<Self>) {
        let mut state = self.state();
        let secret = self.secret.load();
        let now = Instant::now();
        // Others may have come first.
        let is_due = self.token.load().as_ref().is_none_or(|token| now >= token.renew_at);
        let pauses = state
            .failure
            .as_ref()
            .is_some_and(|failure| now < failure.pause_until && Arc::ptr_eq(&failure.secret, &secret));
        if is_due && !pauses && state.under_way().is_none() {
            self.fetch(&mut state, secret, 0);
        }
    }

    /// Starts a fetch, in a task of its own: it serves all who wait, so it does not end with any of them.
    fn fetch(self: &Arc<Self>, state: &mut State, secret: Arc<Secret>, refused_before: u32) -> Fetch {
        let (ended, fetch) = watch::channel(None);
        state.fetch = Some(fetch.clone());
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let began = Instant::now();
            let (secret, granted) = shared.ask(secret, began + shared.timeout).await;
            let outcome = match granted.and_then(|(began, grant)| shared.token(began, grant, refused_before))
            {
                Ok(token) => shared.succeeded(token),
                Err(trouble) => shared.went_wrong(trouble, secret),
            };
            ended.send_replace(Some(outcome));
        });
        fetch
    }

    /// Asks; where the endpoint refuses and the file holds another secret by now, asks with that. Gives the secret that
    /// was used last and when the question was asked.
    async fn ask(
        &self,
        secret: Arc<Secret>,
        deadline: Instant,
    ) -> (Arc<Secret>, Result<(Instant, Grant), TransportError>) {
        let began = Instant::now();
        let granted = self.endpoint.ask(&secret, deadline).await;
        if let Err(trouble) = &granted
            && trouble.kind == TransportErrorKind::Unauthenticated
            && let ClientSecret::File(file) = &self.secret
        {
            let other = file.reload_if_still(&secret, &deadline.into()).await;
            if !Arc::ptr_eq(&other, &secret) {
                let began = Instant::now();
                let granted = self.endpoint.ask(&other, deadline).await;
                return (other, granted.map(|grant| (began, grant)));
            }
        }
        (secret, granted.map(|grant| (began, grant)))
    }

    /// Its life is counted from the question: the endpoint cannot have counted from earlier.
    fn token(&self, began: Instant, grant: Grant, refused_before: u32) -> Result<Token, TransportError> {
        let Grant { token, life } = grant;
        let key = Key::new(self.scheme, &token).map_err(|_| {
            let said = "The token endpoint's token cannot stand in a header";
            trouble(TransportErrorKind::Invalid, ProxyError::HttpProtocolError, said)
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

    fn went_wrong(&self, trouble: TransportError, secret: Arc<Secret>) -> Outcome {
        let mut state = self.state();
        state.fetch = None;
        let in_a_row = state.failure.as_ref().map_or(0, |failure| failure.in_a_row) + 1;
        let asked = trouble.retry_after.map_or(HOLD, Duration::from_secs);
        let hold = asked.clamp(HOLD, MAX_HOLD);
        let growing = HOLD.saturating_mul(1 << (in_a_row - 1).min(8)).min(MAX_PAUSE);
        let now = Instant::now();
        self.failed.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            upstream = self.upstream,
            error = sort(trouble.kind),
            detail = trouble.detail,
            still_usable = self.token.load().as_ref().is_some_and(|token| now < token.usable_until),
            "no token fetched"
        );
        state.failure = Some(Failure {
            trouble: trouble.clone(),
            secret,
            until: now + hold,
            pause_until: now + hold.max(growing),
            in_a_row,
        });
        Err(trouble)
    }
}

impl Token {
    /// Whether another is fetched where the vendor refuses it. Not where it was refused from the start, came in the place
    /// of one that was, and is new: more of the same would only storm the token endpoint.
    fn may_be_replaced(&self, now: Instant) -> bool {
        self.key.was_accepted() || self.refused_before == 0 || now >= self.fetched + HOLD
    }
}

impl State {
    fn under_way(&self) -> Option<Fetch> {
        // Without its task there is nothing to wait for.
        self.fetch.clone().filter(|fetch| fetch.has_changed().is_ok())
    }
}

impl Failure {
    /// The trouble for those who come later.
    fn again(&self, now: Instant) -> TransportError {
        let left = self.until.saturating_duration_since(now);
        TransportError {
            retry_after: self.trouble.retry_after.map(|_| ceil_secs(left)),
            ..self.trouble.clone()
        }
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

/// The sort of a failure, as metrics and logs name it.
fn sort(kind: TransportErrorKind) -> &'static str {
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
