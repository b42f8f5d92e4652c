//! A caller that writes and reads bytes: what a polite client library would never send can be sent, and what it would
//! hide is seen.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Longer than anything that a test waits for on purpose.
const PATIENCE: Duration = Duration::from_secs(30);

/// One request, written as it is told.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Request { method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// A PATCH of what stands behind `/conversations/`, as JSON.
    pub(crate) fn patch(id: &str, body: &str) -> Self {
        Request::new("PATCH", &format!("/conversations/{id}"))
            .header("Content-Type", "application/json")
            .body(body)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With this header instead of any of that name.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(have, _)| !have.eq_ignore_ascii_case(name));
        self.header(name, value)
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(have, _)| have.eq_ignore_ascii_case(name))
    }

    /// The bytes, with `Host` and `Content-Length` unless they are told.
    pub(crate) fn encode(&self) -> Vec<u8> {
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

/// One answer, whole.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The only header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(have, _)| have.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} is there twice: {self:?}");
        value
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {:?}", self.text()))
    }

    /// The code of a problem.
    pub(crate) fn code(&self) -> String {
        let problem = self.json();
        let kind = problem["type"].as_str().unwrap_or_default();
        kind.strip_prefix("urn:parlance:problem:")
            .unwrap_or_else(|| panic!("no problem: {problem}"))
            .to_owned()
    }

    /// Status and code, which is what most problems are about.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?} {}", self.text());
        assert_eq!(self.code(), code, "{}", self.text());
    }

    /// The pointers and codes of `errors`, in order.
    pub(crate) fn errors(&self) -> Vec<(String, String)> {
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
}

/// A connection on which requests follow each other.
#[derive(Debug)]
pub(crate) struct Connection(pub(crate) TcpStream);

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Connection(stream)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub(crate) fn exchange(&mut self, request: &Request) -> Answer {
        self.write(&request.encode());
        self.answer(&request.method)
    }

    /// Reads one answer by its length, leaving what follows unread.
    pub(crate) fn answer(&mut self, method: &str) -> Answer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match self.0.read(&mut byte) {
                Ok(0) => panic!(
                    "the connection ended in the head of an answer: {:?}",
                    String::from_utf8_lossy(&head)
                ),
                Ok(_) => head.push(byte[0]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => panic!("{e} in the head of an answer: {:?}", String::from_utf8_lossy(&head)),
            }
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(':').unwrap_or_else(|| panic!("{line:?} is no header")))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let mut answer = Answer { status, headers, body: Vec::new() };
        let length = answer.header("content-length").map(|length| length.parse().unwrap());
        if method == "HEAD" || status == 204 {
            assert!(status != 204 || length.is_none(), "204 has no body: {answer:?}");
            return answer;
        }
        let length: usize = length.unwrap_or_else(|| panic!("the answer's length is not said: {answer:?}"));
        answer.body = vec![0; length];
        self.0.read_exact(&mut answer.body).unwrap();
        answer
    }

    /// Whether the other side ends the connection, with nothing more said.
    pub(crate) fn ends(&mut self) -> bool {
        // A reset is an end as well: what was still to be read is not wanted any more.
        matches!(self.0.read(&mut [0]), Ok(0)) || self.0.peek(&mut [0]).is_err()
    }
}

/// One request on a connection of its own.
pub(crate) fn once(address: SocketAddr, request: &Request) -> Answer {
    Connection::open(address).exchange(request)
}
