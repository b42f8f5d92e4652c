//! A gateway in this process, simulated vendors behind it, and callers that see every byte.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parlance::gateway::snapshot::Snapshot;
use parlance::runtime::Gateway;
use parlance::runtime::reload::Source;
use parlance::telemetry::access::AccessLog;
use parlance_sandbox::{Options, Sandbox};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Generous: other work may be using the same processors.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A conversation that the sandbox knows.
pub(crate) const ID: &str = "sales:chat_12345abcde";

/// Simulated vendors and a directory for configurations.
pub(crate) struct Bench {
    pub(crate) sandbox: Sandbox,
    pub(crate) dir: TempDir,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let sandbox = parlance_sandbox::start(Options { base_port: 0, ..Options::default() }).await.unwrap();
        Bench { sandbox, dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A whole configuration: two upstreams, listeners on any port, and `more` in front of them.
    pub(crate) fn config(&self, server: &str, more: &str) -> String {
        let credentials = self.sandbox.credentials();
        // Nobody needs time to notice that a test is over.
        let delay = if server.contains("drain_delay") { "" } else { "drain_delay = \"0s\"\n" };
        let upstream = |name: &str, vendor: &str| {
            format!(
                "[upstreams.{name}]\nvendor = \"{vendor}\"\nbase_url = \"{}\"\ncredential = {{ value = \"{}\" }}\n",
                self.sandbox.url(vendor).unwrap(),
                credentials[vendor].keys[0]
            )
        };
        format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n{delay}{server}\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [defaults]\nrate_limit = \"off\"\n{more}\n{}{}",
            upstream("sales", "kakiyo"),
            upstream("sms", "agentphone")
        )
    }

    /// Writes a file beside its place and renames it over it, as careful programs do.
    pub(crate) fn replace(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        let beside = self.path(&format!(".{name}.new"));
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, &path).unwrap();
        path
    }

    /// A gateway that follows `parlance.toml`.
    pub(crate) async fn gateway(&self, server: &str, more: &str) -> Gateway {
        let path = self.replace("parlance.toml", self.config(server, more));
        follow(&path).await
    }

    pub(crate) async fn control(&self, method: &str, path: &str, body: &str) -> Value {
        let address = self.sandbox.control_url().trim_start_matches("http://").parse().unwrap();
        let mut conn = Conn::open(address).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = conn.exchange(request.as_bytes()).await.unwrap();
        assert!(answer.status < 300, "{answer:?}");
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    pub(crate) async fn fault(&self, rule: &str) {
        self.control("POST", "/faults", rule).await;
    }

    pub(crate) async fn faults_over(&self) {
        self.control("DELETE", "/faults", "").await;
    }

    /// What reached a vendor.
    pub(crate) async fn ledger(&self, vendor: &str) -> Vec<Value> {
        let ledger = self.control("GET", &format!("/ledger?vendor={vendor}"), "").await;
        ledger["entries"].as_array().unwrap().clone()
    }

    /// Waits until so many requests reached a vendor.
    pub(crate) async fn reached(&self, vendor: &str, requests: usize) {
        let until = Instant::now() + DEADLINE;
        while self.ledger(vendor).await.len() < requests {
            assert!(Instant::now() < until, "{requests} requests did not reach {vendor} in time");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub(crate) async fn follow(path: &Path) -> Gateway {
    let source = Source::new(vec![path.to_owned()], BTreeMap::new());
    let live = Snapshot::new(source.load().unwrap()).unwrap();
    let mut gateway = Gateway::start(live, AccessLog::new(None)).await.unwrap();
    gateway.follow(source);
    gateway
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !so() {
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A PATCH as it goes over an HTTP/1.1 connection. `headers` are whole lines.
pub(crate) fn patch(id: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "PATCH /conversations/{id} HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: gateway\r\n\r\n").into_bytes()
}

pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

/// One answer, whole.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (have, value) = line.split_once(':')?;
            have.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// Whether it says that it is the last on its connection.
    pub(crate) fn is_last(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The code of a problem.
    pub(crate) fn code(&self) -> String {
        let kind = self.json()["type"].as_str().unwrap_or_default().to_owned();
        kind.trim_start_matches("urn:parlance:problem:").to_owned()
    }
}

/// A caller's connection.
pub(crate) struct Conn {
    pub(crate) socket: Box<dyn Socket>,
    unread: Vec<u8>,
}

impl Conn {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Conn::over(TcpStream::connect(address).await?))
    }

    pub(crate) fn over(socket: impl Socket + 'static) -> Self {
        Conn { socket: Box::new(socket), unread: Vec::new() }
    }

    /// With TLS; the error is the handshake's.
    pub(crate) async fn secure(address: SocketAddr, config: &Arc<rustls::ClientConfig>) -> io::Result<Self> {
        Ok(Conn::over(secure(address, config).await?))
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await?;
        self.socket.flush().await
    }

    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.write(request).await?;
        self.answer().await
    }

    /// Reads one answer by its length.
    pub(crate) async fn answer(&mut self) -> io::Result<Answer> {
        let read = async {
            let end = loop {
                if let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                    break end + 4;
                }
                self.more().await?;
            };
            let head = String::from_utf8_lossy(&self.unread[..end]).into_owned();
            self.unread.drain(..end);
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
            let mut answer = Answer { status, head, body: Vec::new() };
            let length = answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            while self.unread.len() < length {
                self.more().await?;
            }
            answer.body = self.unread.drain(..length).collect();
            Ok(answer)
        };
        tokio::time::timeout(DEADLINE, read).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.socket.read_buf(&mut self.unread).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Waits until the other side ends the connection; gives how long that took. It says nothing more before.
    pub(crate) async fn ended(&mut self) -> Duration {
        let begun = Instant::now();
        let mut room = [0; 64];
        match tokio::time::timeout(DEADLINE, self.socket.read(&mut room)).await {
            Err(_) => panic!("the connection was not ended"),
            Ok(Ok(read)) => assert_eq!(read, 0, "{:?}", String::from_utf8_lossy(&room[..read])),
            Ok(Err(_)) => {}
        }
        begun.elapsed()
    }
}

pub(crate) async fn secure(
    address: SocketAddr,
    config: &Arc<rustls::ClientConfig>,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = rustls::pki_types::ServerName::try_from("gateway.test").unwrap();
    tokio_rustls::TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}

/// The `/config` of a gateway.
pub(crate) async fn shown(gateway: &Gateway) -> Value {
    let mut conn = Conn::open(gateway.admin()).await.unwrap();
    let answer = conn.exchange(&get("/config")).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}
