//! A sandbox for one test and a client that shows every byte it gets.

#![expect(dead_code, reason = "each test file uses its own part of the client")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use parlance_sandbox::{Options, Sandbox};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// A running sandbox on ports of the system's choice.
pub(crate) struct Rig {
    runtime: Runtime,
    sandbox: Option<Sandbox>,
}

/// A response taken apart, with everything that came after it until the connection paused or ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|why| panic!("{why} in {:?}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// How reading a connection to its end went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Fin,
    Reset,
    Silence,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let sandbox = runtime.block_on(parlance_sandbox::start(Options { base_port: 0, ..options })).unwrap();
        Self { runtime, sandbox: Some(sandbox) }
    }

    pub(crate) fn sandbox(&self) -> &Sandbox {
        self.sandbox.as_ref().unwrap()
    }

    pub(crate) fn stop(mut self) {
        self.runtime.block_on(self.sandbox.take().unwrap().stop());
    }

    pub(crate) fn address(&self, vendor: &str) -> SocketAddr {
        address(&self.sandbox().url(vendor).unwrap())
    }

    pub(crate) fn key(&self, vendor: &str) -> String {
        self.sandbox().credentials()[vendor].keys[0].clone()
    }

    /// The credential's field, in the scheme the vendor's document shows.
    pub(crate) fn auth(&self, vendor: &str) -> (String, String) {
        match vendor {
            "sigmamind" => ("X-API-Key".into(), self.key(vendor)),
            _ => ("Authorization".into(), format!("Bearer {}", self.key(vendor))),
        }
    }

    /// The path of an update of a vendor's first seeded conversation.
    pub(crate) fn path(&self, vendor: &str) -> String {
        let sample = &self.sandbox().samples()[vendor];
        sample
            .update_path
            .replace("{parent}", sample.parent.unwrap_or(""))
            .replace("{id}", sample.conversations[0])
    }

    pub(crate) fn connect(&self, vendor: &str) -> TcpStream {
        connect(self.address(vendor))
    }

    pub(crate) fn control(&self, method: &str, path: &str, body: &Value) -> Reply {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.control_text(method, path, &text)
    }

    pub(crate) fn control_text(&self, method: &str, path: &str, body: &str) -> Reply {
        let mut stream = connect(address(&self.sandbox().control_url()));
        send(&mut stream, &request(method, path, &[], body));
        reply(&mut stream).unwrap()
    }

    pub(crate) fn fault(&self, rule: &Value) {
        let reply = self.control("POST", "/faults", rule);
        assert_eq!(reply.status, 201, "{}", reply.body);
    }

    pub(crate) fn entries(&self, vendor: &str) -> Vec<Value> {
        self.control("GET", &format!("/ledger?vendor={vendor}"), &Value::Null).json()["entries"]
            .as_array()
            .unwrap()
            .clone()
    }

    pub(crate) fn last(&self, vendor: &str) -> Value {
        self.entries(vendor).pop().unwrap_or_default()
    }

    /// The last entry once it is finished; faults finish after the client has seen the end.
    pub(crate) fn finished(&self, vendor: &str) -> Value {
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let last = self.last(vendor);
            if !last["end"].is_null() || Instant::now() > until {
                return last;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A correct update with the vendor's credential, as bytes.
    pub(crate) fn update(&self, vendor: &str, body: &str) -> Vec<u8> {
        let (name, value) = self.auth(vendor);
        let mut fields = vec![(name, value), ("Content-Type".into(), "application/json".into())];
        if vendor == "cuadra" {
            fields.push(("Idempotency-Key".into(), unique()));
        }
        request_owned("PATCH", &self.path(vendor), &fields, body)
    }

    pub(crate) fn patch(&self, vendor: &str, body: &str) -> Reply {
        let mut stream = self.connect(vendor);
        send(&mut stream, &self.update(vendor, body));
        reply(&mut stream).unwrap()
    }

    pub(crate) fn call(
        &self,
        vendor: &str,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        let mut stream = self.connect(vendor);
        send(&mut stream, &request(method, path, fields, body));
        reply(&mut stream).unwrap()
    }

    pub(crate) fn get(&self, vendor: &str, path: &str) -> Reply {
        let (name, value) = self.auth(vendor);
        self.call(vendor, "GET", path, &[(&name, &value)], "")
    }

    /// The path at which the first seeded conversation is read.
    pub(crate) fn read_path(&self, vendor: &str) -> String {
        self.path(vendor).trim_end_matches("/custom-data").to_owned()
    }
}

pub(crate) const VENDORS: [&str; 5] = ["kakiyo", "chatling", "sigmamind", "cuadra", "agentphone"];

/// An update of every vendor that has an effect.
pub(crate) fn effective(vendor: &str) -> &'static str {
    match vendor {
        "kakiyo" => r#"{"customData":"effective"}"#,
        "chatling" => r#"{"archive":true}"#,
        "sigmamind" => r#"{"dynamicVariables":{"effective":true}}"#,
        "cuadra" => r#"{"title":"effective"}"#,
        _ => r#"{"metadata":{"effective":true}}"#,
    }
}

pub(crate) fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("key-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn address(url: &str) -> SocketAddr {
    url.split("//").nth(1).unwrap().split('/').next().unwrap().parse().unwrap()
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub(crate) fn send(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
}

pub(crate) fn request(method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Vec<u8> {
    let owned: Vec<_> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    request_owned(method, path, &owned, body)
}

fn request_owned(method: &str, path: &str, fields: &[(String, String)], body: &str) -> Vec<u8> {
    let mut out = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n");
    for (name, value) in fields {
        out += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() || method != "GET" {
        out += &format!("Content-Length: {}\r\n", body.len());
    }
    out += "\r\n";
    out += body;
    out.into_bytes()
}

/// Reads one response by its length, leaving what follows unread.
pub(crate) fn reply(stream: &mut TcpStream) -> Result<Reply, ErrorKind> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof),
            Ok(_) => head.push(byte[0]),
            Err(why) => return Err(why.kind()),
        }
    }
    let mut reply = parse_head(&String::from_utf8(head).unwrap());
    let length = reply.header("content-length").map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).map_err(|why| why.kind())?;
    reply.body = String::from_utf8(body).unwrap();
    Ok(reply)
}

pub(crate) fn parse_head(head: &str) -> Reply {
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers =
        lines.map(|line| line.split_once(": ").unwrap()).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    Reply { status, headers, body: String::new() }
}

/// Reads until the connection ends or nothing comes for the time.
pub(crate) fn read_to_end(stream: &mut TcpStream, silence: Duration) -> (Vec<u8>, End) {
    stream.set_read_timeout(Some(silence)).unwrap();
    let mut all = Vec::new();
    let mut piece = [0; 65536];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return (all, End::Fin),
            Ok(read) => all.extend_from_slice(&piece[..read]),
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return (all, End::Silence);
            }
            Err(_) => return (all, End::Reset),
        }
    }
}

/// Where an object is nested in the ledger or an answer, `json!` keeps the tests short.
pub(crate) fn rule(vendor: &str, mode: &str, more: &Value) -> Value {
    let mut rule = json!({"vendor": vendor, "mode": mode});
    for (name, value) in more.as_object().cloned().unwrap_or_default() {
        rule[name] = value;
    }
    rule
}
