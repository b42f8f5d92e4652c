//! The token endpoint: one question (RFC 6749, section 4.4), and what its answers mean.

use std::fmt;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use parlance_adapters::Origin;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tower::Service;

use crate::settings::{self, OAuth2, Secret, TokenStyle};
use crate::types::code::{Applied, ProxyError};
use crate::types::retry_after;
use crate::upstream::transport::{Client, Reply, TransportError, TransportErrorKind, UpstreamRequest};

/// Bytes of an answer that are read at most.
const MAX_ANSWER: usize = 64 * 1024;
/// How often a question is asked whose answer may be better the next time.
const ATTEMPTS: u32 = 3;
/// The time before the second question; twice as long before the third.
const PAUSE: Duration = Duration::from_millis(100);
/// The life of a token whose answer does not tell it.
const DEFAULT_LIFE: Duration = Duration::from_secs(5 * 60);
/// No token is used for longer, whatever the answer says.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);
/// The longest error code that is repeated.
const MAX_CODE: usize = 40;

/// A token, and how long it is good for from the moment of the question.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) token: Secret,
    pub(super) life: Duration,
}

/// The way to a token endpoint, and who asks.
pub(super) struct Endpoint {
    client: Client,
    uri: Uri,
    client_id: String,
    scope: Option<String>,
    style: TokenStyle,
}

impl Endpoint {
    /// The endpoint of an upstream's tokens: reached as the upstream is (authorities, connect timeout), but under its own
    /// rule about addresses. Connects to nothing yet.
    pub(super) fn new(settings: &settings::Upstream, oauth2: &OAuth2) -> Result<Self, String> {
        let wrong = |what: &dyn std::fmt::Display| format!("token_url {what}");
        let mut adapter = settings.adapter.clone();
        adapter.origin = Origin::parse(&oauth2.token_url).map_err(|e| wrong(&e))?;
        let way = settings::Upstream {
            adapter,
            allow_private: oauth2.allow_private,
            max_response: MAX_ANSWER,
            max_in_flight: 1,
            ..settings.clone()
        };
        Ok(Endpoint {
            client: Client::new(&way)?,
            uri: oauth2.token_url.parse().map_err(|_| wrong(&"is not a URL"))?,
            client_id: oauth2.client_id.clone(),
            scope: oauth2.scope.clone(),
            style: oauth2.style,
        })
    }

    /// Asks for a token. A failure that may pass is tried again, briefly: a token request changes nothing. Every trouble
    /// says that the update was not applied, for it was not sent.
    pub(super) async fn ask(&self, secret: &Secret, deadline: Instant) -> Result<Grant, TransportError> {
        let mut attempt = 1;
        let mut pause = PAUSE;
        loop {
            let trouble = match self.ask_once(secret, deadline).await {
                Ok(grant) => return Ok(grant),
                Err(trouble) => trouble,
            };
            let may_pass = matches!(
                trouble.kind,
                TransportErrorKind::Unreachable
                    | TransportErrorKind::Timeout
                    | TransportErrorKind::Failed
                    | TransportErrorKind::Unavailable
            );
            let is_last = attempt >= ATTEMPTS || Instant::now() + pause >= deadline;
            if !may_pass || is_last || trouble.retry_after.is_some() {
                return Err(trouble);
            }
            tokio::time::sleep(pause).await;
            attempt += 1;
            pause *= 2;
        }
    }

    async fn ask_once(&self, secret: &Secret, deadline: Instant) -> Result<Grant, TransportError> {
        let request = self.request(secret)?;
        let answer = (&self.client).call(UpstreamRequest::new(request, deadline)).await;
        let reply = answer.map_err(|trouble| unanswered(&trouble))?;
        if reply.status().is_success() { granted(&reply) } else { Err(denied(&reply, secret)) }
    }

    fn request(&self, secret: &Secret) -> Result<Request<Bytes>, TransportError> {
        const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
        const JSON: HeaderValue = HeaderValue::from_static("application/json");
        let (id, secret, scope) = (self.client_id.as_str(), secret.expose(), self.scope.as_deref());
        let grant = ("grant_type", "client_credentials");
        let scope_pair = scope.map(|scope| ("scope", scope));
        let (kind, body) = match self.style {
            TokenStyle::Json => {
                let question = Question { client_id: id, client_secret: secret, grant_type: grant.1, scope };
                // Four texts are always JSON.
                (JSON, serde_json::to_vec(&question).unwrap_or_default())
            }
            TokenStyle::Form => {
                let pairs = [("client_id", id), ("client_secret", secret), grant];
                (FORM, form(pairs.into_iter().chain(scope_pair)).into_bytes())
            }
            TokenStyle::Basic => (FORM, form([grant].into_iter().chain(scope_pair)).into_bytes()),
        };
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, kind);
        headers.insert(header::ACCEPT, JSON);
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if self.style == TokenStyle::Basic {
            // Section 2.3.1: each half is form-encoded first, so that a colon in the id is none in the pair.
            let pair = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
            let mut value = HeaderValue::from_str(&format!("Basic {pair}")).map_err(|_| {
                TransportError::new(
                    TransportErrorKind::Unauthenticated,
                    Applied::No,
                    ProxyError::ProxyConfigurationError,
                    "The client's id and secret cannot stand in a header.",
                )
            })?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        Ok(request)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("uri", &self.uri).field("style", &self.style).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Question<'a> {
    client_id: &'a str,
    client_secret: &'a str,
    grant_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
}

/// A form of these members (`application/x-www-form-urlencoded`).
fn form<'a>(members: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(members).finish()
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[derive(Deserialize)]
struct Answer {
    access_token: Secret,
    token_type: Option<String>,
    expires_in: Option<Value>,
}

fn granted(reply: &Reply) -> Result<Grant, TransportError> {
    let invalid = |why: &str| {
        trouble(
            TransportErrorKind::Invalid,
            ProxyError::HttpProtocolError,
            &format!("The token endpoint's answer is of no use: {why}"),
        )
    };
    // The parser's own words may show a part of the token.
    let answer: Answer = serde_json::from_slice(reply.response.body())
        .map_err(|_| invalid("it is not a JSON object with an access_token"))?;
    if answer.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(invalid("its token is not of the type bearer"));
    }
    let token = Secret::header_safe(answer.access_token.expose())
        .map_err(|_| invalid("its token is empty or cannot stand in a header"))?;
    Ok(Grant { token, life: life(answer.expires_in.as_ref()) })
}

/// Some endpoints write the seconds as a text.
fn life(expires_in: Option<&Value>) -> Duration {
    let seconds = match expires_in {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    match seconds {
        None => DEFAULT_LIFE,
        Some(seconds) => {
            Duration::try_from_secs_f64(seconds.max(0.0)).map_or(MAX_LIFE, |life| life.min(MAX_LIFE))
        }
    }
}

/// What a status other than 2xx means: as it would from the vendor, but that a refusal is the gateway's own.
fn denied(reply: &Reply, secret: &Secret) -> TransportError {
    let status = reply.status().as_u16();
    let code = error_code(reply.response.body(), secret).map(|code| format!(" ({code})")).unwrap_or_default();
    let said = format!("The token endpoint answered {status}{code}");
    let (kind, proxy_error) = match status {
        400 | 401 | 403 => (TransportErrorKind::Unauthenticated, ProxyError::ProxyConfigurationError),
        429 => (TransportErrorKind::RateLimited, ProxyError::DestinationUnavailable),
        503 => (TransportErrorKind::Unavailable, ProxyError::DestinationUnavailable),
        500..=599 => (TransportErrorKind::Failed, ProxyError::DestinationUnavailable),
        _ => (TransportErrorKind::UnexpectedStatus, ProxyError::ProxyConfigurationError),
    };
    let asked_to_wait = matches!(kind, TransportErrorKind::RateLimited | TransportErrorKind::Unavailable);
    TransportError {
        retry_after: retry_after::seconds(reply.response.headers()).filter(|_| asked_to_wait),
        ..trouble(kind, proxy_error, &said)
    }
}

/// The error's code, `error` or, as some endpoints call it, `error_type`; nothing that could be the secret.
fn error_code(body: &[u8], secret: &Secret) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let code = body.get("error").or_else(|| body.get("error_type"))?.as_str()?;
    let plain = |c: char| c.is_ascii_lowercase() || c == '_';
    let good = !code.is_empty() && code.len() <= MAX_CODE && code.chars().all(plain);
    (good && !code.contains(secret.expose())).then(|| code.to_owned())
}

/// What it means that no whole answer came.
fn unanswered(unanswered: &TransportError) -> TransportError {
    let said = match unanswered.kind {
        TransportErrorKind::Timeout => "The token endpoint did not answer in time",
        TransportErrorKind::Unreachable => "The token endpoint cannot be reached",
        TransportErrorKind::TooLarge => "The token endpoint's answer is too long",
        _ => "The token endpoint's answer cannot be understood",
    };
    trouble(unanswered.kind, unanswered.proxy_error, said)
}

pub(super) fn trouble(kind: TransportErrorKind, proxy_error: ProxyError, said: &str) -> TransportError {
    TransportError::new(kind, Applied::No, proxy_error, format!("{said}; nothing was sent to the vendor."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_encoded() {
        assert_eq!(encoded("Az09-._* +&=%:/é"), "Az09-._*+%2B%26%3D%25%3A%2F%C3%A9");
        assert_eq!(form([("a", "1 2"), ("b", "&")].into_iter()), "a=1+2&b=%26");
    }

    #[test]
    fn lives() {
        let read = |text: &str| life(Some(&serde_json::from_str(text).unwrap())).as_secs_f64();
        let table = [
            ("3600", 3600.0),
            ("\"60\"", 60.0),
            ("1.5", 1.5),
            ("0", 0.0),
            ("-1", 0.0),
            ("1e300", 86_400.0),
            ("null", 300.0),
            ("\"soon\"", 300.0),
            ("{}", 300.0),
        ];
        for (text, seconds) in table {
            assert_eq!(read(text), seconds, "{text}");
        }
        assert_eq!(life(None), DEFAULT_LIFE);
        assert_eq!(read("\"NaN\""), 0.0);
    }

    #[test]
    fn an_error_code_is_repeated_but_no_secret() {
        let secret = Secret::new("swordfish".to_owned());
        let code = |body: &str| error_code(body.as_bytes(), &secret);
        assert_eq!(code(r#"{"error":"invalid_scope"}"#).as_deref(), Some("invalid_scope"));
        assert_eq!(code(r#"{"error_type":"unauthorized"}"#).as_deref(), Some("unauthorized"));
        for other in ["", "[]", r#"{"error":"wrong_swordfish"}"#, r#"{"error":"a b"}"#, r#"{"error":""}"#] {
            assert_eq!(code(other), None, "{other}");
        }
    }
}
