//! Requests and replies of HTTP/1.1, as bytes: a request is written as given, a reply shows every header.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method, in its own case.
    pub method: String,
    /// The path and the query.
    pub target: String,
    /// Names and values in their order.
    pub headers: Vec<(String, String)>,
    /// The body, already framed where a header says that it is.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without headers and body.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        Request { method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// A PATCH of `/conversations/{id}` with a JSON body.
    #[must_use]
    pub fn patch(id: &str, body: &str) -> Self {
        Request::new("PATCH", &format!("/conversations/{id}"))
            .header("Content-Type", "application/json")
            .body(body)
    }

    /// The request with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The request with more headers.
    #[must_use]
    pub fn headers(self, headers: &[(&str, &str)]) -> Self {
        headers.iter().fold(self, |request, (name, value)| request.header(name, value))
    }

    /// The request with this header instead of any of that name.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(have, _)| !have.eq_ignore_ascii_case(name));
        self.header(name, value)
    }

    /// The request with this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(have, _)| have.eq_ignore_ascii_case(name))
    }

    /// The bytes of the request, with `Host` and `Content-Length` unless they are given.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.has("host") {
            out += "Host: 127.0.0.1\r\n";
        }
        for (name, value) in &self.headers {
            out += &format!("{name}: {value}\r\n");
        }
        let bodied = !self.body.is_empty() || self.method == "PATCH";
        if bodied && !self.has("content-length") && !self.has("transfer-encoding") {
            out += &format!("Content-Length: {}\r\n", self.body.len());
        }
        out += "\r\n";
        let mut out = out.into_bytes();
        out.extend_from_slice(&self.body);
        out
    }
}

/// One whole reply.
#[derive(Clone, Default)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Names and values in their order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The time from the request to the end of the reply, where a [`Client`](crate::Client) measured it.
    pub took: Duration,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        write!(f, "{} {:?} {body:?} after {:?}", self.status, self.headers, self.took)
    }
}

impl Reply {
    /// A reply with this head, its body still to be read.
    #[must_use]
    pub fn of_head(head: &str) -> Self {
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines
            .map(|line| line.split_once(':').unwrap_or_else(|| panic!("{line:?} is no header")))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let status = status.unwrap_or_else(|| panic!("no status in {head:?}"));
        Reply { status, headers, ..Reply::default() }
    }

    /// The length in bytes of the body that follows the head.
    pub(crate) fn length(&self, of_head: bool) -> usize {
        let length = self.header("content-length").map(|length| length.parse().unwrap());
        if of_head || matches!(self.status, 100..200 | 204 | 304) {
            assert!(of_head || length.is_none(), "such a reply has no body: {self:?}");
            return 0;
        }
        length.unwrap_or_else(|| panic!("the reply does not give its length: {self:?}"))
    }

    /// The only header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(have, _)| have.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} is there twice: {self:?}");
        value
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    /// The text of a member of the body; empty where there is none.
    fn member(&self, name: &str) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body[name].as_str().unwrap_or_default().to_owned()
    }

    /// The code of a problem; empty where the reply is none.
    #[must_use]
    pub fn code(&self) -> String {
        let kind = self.member("type");
        kind.strip_prefix("urn:parlance:problem:").unwrap_or_default().to_owned()
    }

    /// Asserts status and code of a problem.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, &*self.code()), (status, code), "{self:?}");
    }

    /// Status, code and `update_applied` of a problem; the latter two are empty where the reply is none.
    #[must_use]
    pub fn outcome(&self) -> (u16, String, String) {
        (self.status, self.code(), self.member("update_applied"))
    }

    /// The pointers and codes of `errors`, sorted.
    #[must_use]
    pub fn errors(&self) -> Vec<(String, String)> {
        let problem = self.json();
        let text = |error: &Value, name: &str| error[name].as_str().unwrap_or("?").to_owned();
        let mut errors: Vec<_> = problem["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|error| (text(error, "pointer"), text(error, "code")))
            .collect();
        errors.sort();
        errors
    }

    /// The `error` parameter of `Proxy-Status`; empty where there is none.
    #[must_use]
    pub fn proxy_error(&self) -> &str {
        let value = self.header("proxy-status").unwrap_or_default();
        value.split("; ").find_map(|part| part.strip_prefix("error=")).unwrap_or_default()
    }

    /// The seconds of `Retry-After`.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        self.header("retry-after").map(|value| value.parse().unwrap())
    }

    /// Tells whether the reply says that it is the last on its connection.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// Tells whether the reply is a stored one.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.header("idempotent-replayed") == Some("true")
    }
}
