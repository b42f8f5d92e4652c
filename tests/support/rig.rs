//! One gateway process over one sandbox.

use std::net::SocketAddr;
use std::path::PathBuf;

use parlance_sandbox::{Options, Sandbox};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::http::{self, Answer, Connection, Request};
use super::process::{Ended, Process};
use super::{Tree, contract};

/// The five upstreams of the stories, each with a key that its vendor accepts. Nothing but the test decides how often
/// a vendor may fail.
const USUAL: &str = r#"
[server]
listen = "127.0.0.1:0"
drain_delay = "0s"
[admin]
listen = "127.0.0.1:0"
[defaults]
rate_limit = "off"
circuit = { failures = 0, success_rate = 0.0 }
[upstreams.sales]
vendor = "kakiyo"
base_url = "${kakiyo}"
credential = { value = "${kakiyo_key}" }
[upstreams.support]
vendor = "chatling"
base_url = "${chatling}"
chatbot_id = "9761342719"
credential = { value = "${chatling_key}" }
[upstreams.voice]
vendor = "sigmamind"
base_url = "${sigmamind}"
credential = { value = "${sigmamind_key}" }
[upstreams.planning]
vendor = "cuadra"
base_url = "${cuadra}"
credential = { value = "${cuadra_key}" }
[upstreams.sms]
vendor = "agentphone"
base_url = "${agentphone}"
credential = { value = "${agentphone_key}" }
"#;

/// A gateway, the vendors behind it and a caller before it. Every answer is judged by [`contract`].
#[derive(Debug)]
pub(crate) struct Rig {
    process: Process,
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
    control: SocketAddr,
    secrets: Vec<String>,
    more: PathBuf,
    // Dropped in this order: the gateway is gone before its vendors are.
    sandbox: Sandbox,
    _runtime: Runtime,
    _files: TempDir,
}

/// One request as it reached a vendor.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Sent {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(crate) fn tree(&self) -> Tree {
        Tree::parse(self.body.as_bytes()).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

fn key(sandbox: &Sandbox, vendor: &str) -> String {
    sandbox.credentials()[vendor].keys[0].clone()
}

/// A configuration with everything that it leaves to the sandbox.
fn filled(sandbox: &Sandbox, text: &str) -> String {
    let fill = |text: String, vendor: &&str| {
        text.replace(&format!("${{{vendor}}}"), &sandbox.url(vendor).unwrap())
            .replace(&format!("${{{vendor}_key}}"), &key(sandbox, vendor))
    };
    let mut text = parlance_sandbox::vendors().iter().fold(text.to_owned(), fill);
    let credentials = sandbox.credentials();
    if let Some(client) = credentials.values().find_map(|known| known.clients.first()) {
        text = text
            .replace("${token_url}", &sandbox.token_url())
            .replace("${client_id}", &client.client_id)
            .replace("${client_secret}", &client.client_secret);
    }
    text
}

impl Rig {
    /// The usual configuration.
    pub(crate) fn usual() -> Self {
        Rig::with("")
    }

    /// The usual configuration under a second file. `${vendor}` stands for that vendor's origin, `${vendor_key}` for
    /// its key; `${token_url}`, `${client_id}` and `${client_secret}` for the vendor that gives tokens.
    pub(crate) fn with(more: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sandbox = runtime
            .block_on(parlance_sandbox::start(Options { base_port: 0, ..Options::default() }))
            .unwrap();
        let control: SocketAddr = sandbox.control_url().trim_start_matches("http://").parse().unwrap();
        let files = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = files.path().join(name);
            std::fs::write(&path, filled(&sandbox, text)).unwrap();
            path
        };
        let (usual, more) = (write("usual.toml", USUAL), write("more.toml", more));
        let secrets = parlance_sandbox::vendors().iter().map(|vendor| key(&sandbox, vendor)).collect();
        let (process, api, admin) = Process::serve(&[&usual, &more]);
        Rig { process, api, admin, control, secrets, more, sandbox, _runtime: runtime, _files: files }
    }

    /// Puts another second file in the place of the one that was given.
    pub(crate) fn change(&self, more: &str) {
        let beside = self.more.with_extension("new");
        std::fs::write(&beside, filled(&self.sandbox, more)).unwrap();
        std::fs::rename(&beside, &self.more).unwrap();
    }

    /// With one more text that must stand in no answer and no log line.
    pub(crate) fn keeping(mut self, secret: &str) -> Self {
        self.secrets.push(secret.to_owned());
        self
    }

    #[track_caller]
    pub(crate) fn send(&self, request: &Request) -> Answer {
        self.send_on(&mut self.connect(), request)
    }

    #[track_caller]
    pub(crate) fn send_on(&self, connection: &mut Connection, request: &Request) -> Answer {
        let answer = connection.exchange(request);
        self.judge(request, &answer);
        answer
    }

    /// Judges an answer that was read by hand.
    #[track_caller]
    pub(crate) fn judge(&self, request: &Request, answer: &Answer) {
        contract::judge(request, answer);
        let shown = format!("{answer:?} {}", String::from_utf8_lossy(&answer.body));
        assert!(!self.secrets.iter().any(|secret| shown.contains(secret)), "a secret in {shown}");
    }

    #[track_caller]
    pub(crate) fn patch(&self, id: &str, body: &str) -> Answer {
        self.send(&Request::patch(id, body))
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.api)
    }

    pub(crate) fn ask_admin(&self, request: &Request) -> Answer {
        http::once(self.admin, request)
    }

    /// Asks the sandbox's control side.
    pub(crate) fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = http::once(self.control, &Request::new(method, path).body(body));
        assert!(answer.status < 300, "{method} {path}: {} {}", answer.status, answer.text());
        answer.json()
    }

    pub(crate) fn fault(&self, rule: &Value) {
        self.control("POST", "/faults", rule);
    }

    /// Forgets rules and what was received.
    pub(crate) fn clear(&self) {
        self.control("DELETE", "/faults", &Value::Null);
        self.control("DELETE", "/ledger", &Value::Null);
    }

    /// What reached a vendor, in order.
    pub(crate) fn sent(&self, vendor: &str) -> Vec<Sent> {
        let ledger = self.control("GET", &format!("/ledger?vendor={vendor}"), &Value::Null);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let entry = |entry: &Value| Sent {
            method: text(&entry["method"]),
            target: text(&entry["target"]),
            headers: entry["headers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|pair| (text(&pair[0]), text(&pair[1])))
                .collect(),
            body: text(&entry["body"]),
        };
        ledger["entries"].as_array().unwrap().iter().map(entry).collect()
    }

    /// The only request that reached a vendor.
    #[track_caller]
    pub(crate) fn only(&self, vendor: &str) -> Sent {
        let mut sent = self.sent(vendor);
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    /// Nothing reached any vendor.
    #[track_caller]
    pub(crate) fn nothing_sent(&self) {
        for vendor in parlance_sandbox::vendors() {
            let sent = self.sent(vendor);
            assert!(sent.is_empty(), "{sent:?}");
        }
    }

    /// The key that is configured for a vendor.
    pub(crate) fn key(&self, vendor: &str) -> String {
        key(&self.sandbox, vendor)
    }

    /// The first conversation that a vendor of the sandbox knows.
    pub(crate) fn conversation(&self, vendor: &str) -> String {
        self.sandbox.samples()[vendor].conversations[0].to_owned()
    }

    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Waits for the end: it must be a good one, and the log without a secret.
    pub(crate) fn ended(self) -> Ended {
        let ended = self.process.wait();
        assert!(ended.status.success(), "{ended:?}");
        assert_eq!(ended.err, "", "standard error is for failures");
        for line in &ended.lines {
            let read: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            assert!(read.is_object(), "{line}");
            assert!(!self.secrets.iter().any(|secret| line.contains(secret)), "a secret in {line}");
        }
        ended
    }

    /// Stops it; every test ends with this.
    pub(crate) fn finish(self) -> Ended {
        self.signal("TERM");
        self.ended()
    }
}
