//! An OAuth 2.0 token endpoint for the client-credentials grant: JSON or form, the client in the body or in Basic.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::credentials::Client;
use crate::http::{Head, Request, target};
use crate::json::{self, Object};

const DEFAULT_EXPIRES_IN: u64 = 3600;
/// Tokens issued and neither expired nor revoked; the oldest go first.
const MAX_TOKENS: usize = 10_000;
const FIELDS: [&str; 4] = ["client_id", "client_secret", "grant_type", "scope"];

/// A refusal of the endpoint in the words of RFC 6749, section 5.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) why: &'static str,
    /// Whether the client tried Basic, so that the refusal names that scheme.
    pub(crate) basic: bool,
}

#[derive(Debug)]
struct Token {
    text: String,
    scope: String,
    until: Instant,
}

#[derive(Debug)]
struct State {
    clients: Vec<Client>,
    tokens: VecDeque<Token>,
    expires_in: u64,
}

/// The endpoint's clients and the tokens it gave out.
#[derive(Debug)]
pub(crate) struct Tokens {
    demo: Vec<Client>,
    state: Mutex<State>,
}

impl Tokens {
    pub(crate) fn new(demo: Vec<Client>) -> Self {
        let state = State { clients: demo.clone(), tokens: VecDeque::new(), expires_in: DEFAULT_EXPIRES_IN };
        Self { demo, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn demo(&self) -> Vec<Client> {
        self.demo.clone()
    }

    pub(crate) fn reset(&self) {
        *self.state() =
            State { clients: self.demo.clone(), tokens: VecDeque::new(), expires_in: DEFAULT_EXPIRES_IN };
    }

    pub(crate) fn replace_clients(&self, clients: Vec<Client>) {
        self.state().clients = clients;
    }

    pub(crate) fn set_expires_in(&self, seconds: u64) {
        self.state().expires_in = seconds;
    }

    /// Ends every token; how many there were.
    pub(crate) fn revoke(&self) -> usize {
        std::mem::take(&mut self.state().tokens).len()
    }

    /// The scope of a token that is neither expired nor revoked.
    pub(crate) fn scope_of(&self, token: &str) -> Option<String> {
        let now = Instant::now();
        self.state().tokens.iter().find(|t| t.text == token && t.until > now).map(|t| t.scope.clone())
    }

    /// Answers a token request: the body of a 200, or the refusal.
    pub(crate) fn issue(&self, request: &Request<'_>) -> Result<String, Denied> {
        let denied = |status, code, why| Denied { status, code, why, basic: false };
        let fields = fields(request)?;
        let field =
            |name: &str| fields.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str());
        match field("grant_type") {
            None => return Err(denied(400, "invalid_request", "grant_type is required")),
            Some("client_credentials") => {}
            Some(_) => {
                return Err(denied(400, "unsupported_grant_type", "the only grant is client_credentials"));
            }
        }
        let basic = basic(request.head)?;
        let (id, secret, was_basic) = match (&basic, field("client_id"), field("client_secret")) {
            (Some((id, secret)), None, None) => (id.as_str(), secret.as_str(), true),
            (Some(_), _, _) => {
                return Err(denied(400, "invalid_request", "client credentials are given in two ways"));
            }
            (None, Some(id), Some(secret)) => (id, secret, false),
            (None, _, _) => {
                return Err(denied(401, "invalid_client", "client_id and client_secret are required"));
            }
        };
        let mut state = self.state();
        let Some(client) = state.clients.iter().find(|c| c.client_id == id && c.client_secret == secret)
        else {
            return Err(Denied {
                basic: was_basic,
                ..denied(401, "invalid_client", "unknown client or wrong secret")
            });
        };
        let may: Vec<&str> = client.scope.split(' ').collect();
        let scope = field("scope").unwrap_or(&client.scope).to_owned();
        if scope.split(' ').any(|one| !may.contains(&one)) {
            return Err(denied(400, "invalid_scope", "the client may not ask for this scope"));
        }
        let text = random_token(id, &scope, state.expires_in);
        let now = Instant::now();
        state.tokens.retain(|token| token.until > now);
        if state.tokens.len() >= MAX_TOKENS {
            state.tokens.pop_front();
        }
        let expires_in = state.expires_in;
        // A lifetime past the clock's range is a lifetime without end in practice.
        let until =
            now.checked_add(Duration::from_secs(expires_in)).unwrap_or(now + Duration::from_secs(1 << 31));
        state.tokens.push_back(Token { text: text.clone(), scope, until });
        Ok(format!(
            r#"{{"access_token":{},"token_type":"bearer","expires_in":{expires_in}}}"#,
            json::quote(&text)
        ))
    }
}

fn fields(request: &Request<'_>) -> Result<Vec<(String, String)>, Denied> {
    let bad = |why| Denied { status: 400, code: "invalid_request", why, basic: false };
    let kind = request.head.one("content-type").ok().flatten().unwrap_or_default();
    let body = std::str::from_utf8(request.body).map_err(|_| bad("the body is not UTF-8"))?;
    match kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/json" => {
            let object = Object::parse(body).map_err(|_| bad("the body is not one JSON object"))?;
            let pair = |(name, raw): (&str, &str)| {
                let known = FIELDS.contains(&name) && json::kind(raw) == json::Kind::String;
                known.then(|| json::string(raw).map(|value| (name.to_owned(), value))).flatten()
            };
            object
                .iter()
                .map(pair)
                .collect::<Option<_>>()
                .ok_or_else(|| bad("unknown member, or not a string"))
        }
        "application/x-www-form-urlencoded" => {
            let pairs = target::pairs(body, &FIELDS)
                .ok_or_else(|| bad("malformed, unknown or repeated form field"))?;
            Ok(pairs.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
        }
        _ => Err(bad("the content type must be application/json or application/x-www-form-urlencoded")),
    }
}

/// The client of an `Authorization: Basic`; RFC 6749, section 2.3.1 has both halves form-encoded first.
fn basic(head: &Head) -> Result<Option<(String, String)>, Denied> {
    let bad = Denied { status: 401, code: "invalid_client", why: "malformed Basic credentials", basic: true };
    let Some(value) = head.one("authorization").map_err(|()| bad)? else { return Ok(None) };
    let decoded = value.strip_prefix("Basic ").and_then(|text| STANDARD.decode(text).ok()).ok_or(bad)?;
    let text = String::from_utf8(decoded).map_err(|_| bad)?;
    let (id, secret) = text.split_once(':').ok_or(bad)?;
    let plain = |raw: &str| target::decode(raw, true).map(std::borrow::Cow::into_owned).ok_or(bad);
    Ok(Some((plain(id)?, plain(secret)?)))
}

/// Shaped like the JWT the vendors issue, and recognised only by being in the list: the last part is random.
fn random_token(client: &str, scope: &str, expires_in: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let claims = format!(
        r#"{{"sub":{},"scope":{},"iat":{now},"nbf":{now},"exp":{}}}"#,
        json::quote(client),
        json::quote(scope),
        now.saturating_add(expires_in)
    );
    let random = [*uuid::Uuid::new_v4().as_bytes(), *uuid::Uuid::new_v4().as_bytes()].concat();
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    format!("{}.{}.{}", part(br#"{"alg":"RS256","typ":"JWT"}"#), part(claims.as_bytes()), part(&random))
}
