//! A gateway in this process, over simulated vendors.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parlance::gateway::snapshot::Snapshot;
use parlance::runtime::Gateway;
use parlance::runtime::reload::Source;
use parlance::telemetry::access::AccessLog;
use parlance_sandbox::Options;
use serde_json::Value;
use tempfile::TempDir;
use testkit::{Connection, Ended, Process, Program, Sandbox};
use tokio::net::TcpStream;

const BINARY: &str = env!("CARGO_BIN_EXE_parlance");

/// A conversation that the sandbox knows.
pub(crate) const ID: &str = "sales:chat_12345abcde";

/// Simulated vendors and a directory for configurations.
pub(crate) struct Bench {
    pub(crate) sandbox: Sandbox,
    pub(crate) dir: TempDir,
}

impl Deref for Bench {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Bench::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        Bench { sandbox: Sandbox::with(options).await, dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A whole configuration: two upstreams, listeners on any port, and `more` in front of them.
    pub(crate) fn config(&self, server: &str, more: &str) -> String {
        // Nobody needs time to notice that a test is over.
        let delay = if server.contains("drain_delay") { "" } else { "drain_delay = \"0s\"\n" };
        let upstream = |name: &str, vendor: &str| {
            format!(
                "[upstreams.{name}]\nvendor = \"{vendor}\"\nbase_url = \"{}\"\ncredential = {{ value = \"{}\" }}\n",
                self.sandbox.url(vendor).unwrap(),
                self.sandbox.key(vendor)
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
}

pub(crate) async fn follow(path: &Path) -> Gateway {
    let source = Source::new(vec![path.to_owned()], BTreeMap::new());
    let live = Snapshot::build(source.load().unwrap(), None).unwrap();
    let mut gateway = Gateway::start(live, AccessLog::new(None)).await.unwrap();
    gateway.follow(source);
    gateway
}

/// The program as it is shipped, with these variables and no others.
pub(crate) fn program(config: &Path, environment: &[(&str, &str)]) -> Program {
    Program::serve(BINARY, &[config], environment)
}

/// Starts the program and asks it to end so long after.
pub(crate) async fn run_for(config: &Path, time: std::time::Duration) -> Ended {
    let mut command = testkit::command(BINARY);
    command.arg("--config").arg(config);
    let process = Process::start(command);
    tokio::time::sleep(time).await;
    process.signal("TERM");
    process.ended().await
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

/// A connection with TLS; the error is the handshake's.
pub(crate) async fn secured(
    address: SocketAddr,
    config: &Arc<rustls::ClientConfig>,
) -> io::Result<Connection> {
    Ok(Connection::over(secure(address, config).await?))
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
    let mut conn = Connection::open(gateway.admin()).await.unwrap();
    let answer = conn.exchange(&get("/config")).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}
