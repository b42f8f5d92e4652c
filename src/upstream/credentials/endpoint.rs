//! The token endpoint: the client credentials grant of OAuth 2.0 (RFC 6749 section 4.4).

use std::fmt;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Uri, header};
use parlance_adapters::Origin;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tower::Service;

use crate::settings::{self, OAuth2, Secret, TokenStyle};
use crate::types::build_error::BuildError;
use crate::types::code::{Applied, ProxyError};
use crate::types::retry_after;
use crate::upstream::transport::{Client, TransportError, TransportErrorKind, UpstreamRequest};

/// Maximum size of a response, in bytes.
const MAX_RESPONSE: usize = 64 * 1024;
/// Maximum attempts of one token request.
const ATTEMPTS: u32 = 3;
/// Pause before the second attempt; doubled before each further one.
const PAUSE: Duration = Duration::from_millis(100);
/// Lifetime of a token without `expires_in`.
const DEFAULT_LIFE: Duration = Duration::from_secs(5 * 60);
/// Longest lifetime of a token, whatever `expires_in` says.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Maximum length of an error code that is passed on, in bytes.
const MAX_CODE: usize = 40;

/// A token, and its lifetime from the time of the request.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) token: Secret,
    pub(super) life: Duration,
}

/// A token endpoint, and the client's identity there.
pub(super) struct Endpoint {
    client: Client,
    uri: Uri,
    client_id: String,
    scope: Option<String>,
    style: TokenStyle,
}

impl Endpoint {
    /// The token endpoint of an upstream. Has the upstream's `ca_file` and timeouts, but its own `allow_private`.
    ///
    /// # Errors
    /// A `token_url` or a `ca_file` that cannot be used.
    pub(super) fn new(settings: &settings::Upstream, oauth2: &OAuth2) -> Result<Self, BuildError> {
        const URL: &str = "credential.oauth2.token_url";
        let mut adapter = settings.adapter.clone();
        adapter.origin = Origin::parse(&oauth2.token_url).map_err(|e| BuildError::new(URL, e))?;
        let upstream = settings::Upstream {
            adapter,
            allow_private: oauth2.allow_private,
            max_response: MAX_RESPONSE,
            max_in_flight: 1,
            ..settings.clone()
        };
        Ok(Endpoint {
            client: Client::new(&upstream)?,
            uri: oauth2.token_url.parse().map_err(|_| BuildError::new(URL, "is not a URL"))?,
            client_id: oauth2.client_id.clone(),
            scope: oauth2.scope.clone(),
            style: oauth2.style,
        })
    }

    /// Requests a token. Retries failures that may pass: a token request changes nothing.
    ///
    /// # Errors
    /// Error of the last attempt. The update was not sent, so it was not applied.
    pub(super) async fn request_token(
        &self,
        secret: &Secret,
        deadline: Instant,
    ) -> Result<Grant, TransportError> {
        let mut attempt = 1;
        let mut pause = PAUSE;
        loop {
            let error = match self.attempt(secret, deadline).await {
                Ok(grant) => return Ok(grant),
                Err(error) => error,
            };
            let may_pass = matches!(
                error.kind,
                TransportErrorKind::Unreachable
                    | TransportErrorKind::Timeout
                    | TransportErrorKind::Failed
                    | TransportErrorKind::Unavailable
            );
            let is_last = attempt >= ATTEMPTS || Instant::now() + pause >= deadline;
            if !may_pass || is_last || error.retry_after.is_some() {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            attempt += 1;
            pause *= 2;
        }
    }

    async fn attempt(&self, secret: &Secret, deadline: Instant) -> Result<Grant, TransportError> {
        let request = self.request(secret)?;
        let result = (&self.client).call(UpstreamRequest::new(request, deadline)).await;
        let response = result.map_err(|error| no_response(&error))?.response;
        if response.status().is_success() { grant(response.body()) } else { Err(failure(&response, secret)) }
    }

    fn request(&self, secret: &Secret) -> Result<Request<Bytes>, TransportError> {
        const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
        const JSON: HeaderValue = HeaderValue::from_static("application/json");
        let (id, secret, scope) = (self.client_id.as_str(), secret.expose(), self.scope.as_deref());
        let grant = ("grant_type", "client_credentials");
        let scope_pair = scope.map(|scope| ("scope", scope));
        let (content_type, body) = match self.style {
            TokenStyle::Json => {
                let request =
                    TokenRequest { client_id: id, client_secret: secret, grant_type: grant.1, scope };
                // Serializing strings cannot fail.
                (JSON, serde_json::to_vec(&request).unwrap_or_default())
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
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.insert(header::ACCEPT, JSON);
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if self.style == TokenStyle::Basic {
            // RFC 6749 section 2.3.1: both parts are form-encoded first, so that the id holds no colon.
            let pair = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
            let mut value = HeaderValue::from_str(&format!("Basic {pair}")).map_err(|_| {
                let detail = "The client's id and secret cannot stand in a header.";
                TransportError::new(Applied::No, ProxyError::ProxyConfigurationError, detail)
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
struct TokenRequest<'a> {
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
struct TokenResponse {
    access_token: Secret,
    token_type: Option<String>,
    expires_in: Option<Value>,
}

/// The grant in the body of a successful response.
fn grant(body: &[u8]) -> Result<Grant, TransportError> {
    let invalid = |reason: &str| {
        not_fetched(
            ProxyError::HttpProtocolError,
            &format!("The token endpoint's answer is of no use: {reason}"),
        )
    };
    // The parser's error may quote a part of the token.
    let response: TokenResponse =
        serde_json::from_slice(body).map_err(|_| invalid("it is not a JSON object with an access_token"))?;
    if response.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(invalid("its token is not of the type bearer"));
    }
    let token = Secret::header_safe(response.access_token.expose())
        .map_err(|_| invalid("its token is empty or cannot stand in a header"))?;
    Ok(Grant { token, life: lifetime(response.expires_in.as_ref()) })
}

/// Lifetime of a token. Some endpoints write the seconds of `expires_in` as a string.
fn lifetime(expires_in: Option<&Value>) -> Duration {
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

/// Error of an unsuccessful response. A refusal is a fault of the gateway's configuration.
fn failure(response: &Response<Bytes>, secret: &Secret) -> TransportError {
    let status = response.status().as_u16();
    let code = error_code(response.body(), secret).map(|code| format!(" ({code})")).unwrap_or_default();
    let message = format!("The token endpoint answered {status}{code}");
    let (kind, proxy_error) = match status {
        400 | 401 | 403 => (TransportErrorKind::Unauthenticated, ProxyError::ProxyConfigurationError),
        429 => (TransportErrorKind::RateLimited, ProxyError::DestinationUnavailable),
        503 => (TransportErrorKind::Unavailable, ProxyError::DestinationUnavailable),
        500..=599 => (TransportErrorKind::Failed, ProxyError::DestinationUnavailable),
        _ => (TransportErrorKind::UnexpectedStatus, ProxyError::ProxyConfigurationError),
    };
    let may_wait = matches!(kind, TransportErrorKind::RateLimited | TransportErrorKind::Unavailable);
    TransportError {
        retry_after: retry_after::seconds(response.headers()).filter(|_| may_wait),
        ..not_fetched(proxy_error, &message).with_kind(kind)
    }
}

/// Code in the member `error`, or `error_type` at some endpoints, unless it contains the secret.
fn error_code(body: &[u8], secret: &Secret) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let code = body.get("error").or_else(|| body.get("error_type"))?.as_str()?;
    let is_plain = |c: char| c.is_ascii_lowercase() || c == '_';
    let is_code = !code.is_empty() && code.len() <= MAX_CODE && code.chars().all(is_plain);
    (is_code && !code.contains(secret.expose())).then(|| code.to_owned())
}

/// Error of a token request without a complete response.
fn no_response(error: &TransportError) -> TransportError {
    let message = match error.kind {
        TransportErrorKind::Timeout => "The token endpoint did not answer in time",
        TransportErrorKind::Unreachable => "The token endpoint cannot be reached",
        TransportErrorKind::TooLarge => "The token endpoint's answer is too long",
        _ => "The token endpoint's answer cannot be understood",
    };
    not_fetched(error.proxy_error, message).with_kind(error.kind)
}

/// Error of a token that was not obtained.
pub(super) fn not_fetched(proxy_error: ProxyError, message: &str) -> TransportError {
    TransportError::new(Applied::No, proxy_error, format!("{message}; nothing was sent to the vendor."))
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
    fn lifetimes() {
        let read = |text: &str| lifetime(Some(&serde_json::from_str(text).unwrap())).as_secs_f64();
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
        assert_eq!(lifetime(None), DEFAULT_LIFE);
        assert_eq!(read("\"NaN\""), 0.0);
    }

    #[test]
    fn an_error_code_is_passed_on_but_no_secret() {
        let secret = Secret::new("swordfish".to_owned());
        let code = |body: &str| error_code(body.as_bytes(), &secret);
        assert_eq!(code(r#"{"error":"invalid_scope"}"#).as_deref(), Some("invalid_scope"));
        assert_eq!(code(r#"{"error_type":"unauthorized"}"#).as_deref(), Some("unauthorized"));
        for other in ["", "[]", r#"{"error":"wrong_swordfish"}"#, r#"{"error":"a b"}"#, r#"{"error":""}"#] {
            assert_eq!(code(other), None, "{other}");
        }
    }
}
