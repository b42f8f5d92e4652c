//! Answers and their bytes.

use crate::clock;

/// What a vendor says to one request.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether an update was stored for this request.
    pub(crate) effect: bool,
    /// A word for the ledger.
    pub(crate) note: Option<&'static str>,
}

impl Answer {
    /// An answer with a JSON body.
    pub(crate) fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let (content_type, body) = ("application/json", body.into());
        Self { status, content_type, headers: Vec::new(), body, effect: false, note: None }
    }

    /// The same answer with another media type.
    pub(crate) fn of_type(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }

    /// The same answer with one more field.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Status line and fields, up to and with the blank line. `length` is the field that says where the body ends.
    pub(crate) fn head(&self, length: &str) -> Vec<u8> {
        let mut out = String::with_capacity(192 + self.body.len());
        out.push_str("HTTP/1.1 ");
        out.push_str(&format!("{:03} {}\r\n", self.status, reason(self.status)));
        if !self.content_type.is_empty()
            && !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        {
            out.push_str("content-type: ");
            out.push_str(self.content_type);
            out.push_str("\r\n");
        }
        out.push_str("date: ");
        out.push_str(&clock::http_date());
        out.push_str("\r\n");
        for (name, value) in &self.headers {
            out.push_str(name);
            out.push_str(": ");
            out.push_str(value);
            out.push_str("\r\n");
        }
        if !length.is_empty() {
            out.push_str(length);
            out.push_str("\r\n");
        }
        out.push_str("\r\n");
        out.into_bytes()
    }

    /// The field that declares the body's length; none where the protocol forbids a body.
    pub(crate) fn length_field(&self) -> String {
        match self.status {
            100..=199 | 204 | 304 => String::new(),
            _ => format!("content-length: {}", self.body.len()),
        }
    }

    /// All bytes, for one write.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = self.head(&self.length_field());
        out.extend_from_slice(&self.body);
        out
    }

    /// Whether the answer itself announces the end of the connection.
    pub(crate) fn closes(&self) -> bool {
        self.headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close")
        })
    }
}

/// The phrase behind a status code; clients must not read it, people do.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        205 => "Reset Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Payload Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "Unknown",
    }
}
