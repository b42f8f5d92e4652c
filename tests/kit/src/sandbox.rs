//! The simulated vendors, with a client of their control side.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Deref;

use parlance_sandbox::Options;
use serde_json::Value;

use crate::{Client, Reply, Request, Tree, eventually};

/// The simulated vendors on ports of the system's choice.
#[derive(Debug)]
pub struct Sandbox {
    inner: parlance_sandbox::Sandbox,
    client: Client,
}

/// One request as it reached a vendor.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The method.
    pub method: String,
    /// The path and the query.
    pub target: String,
    /// Names and values in their order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// The status of the reply; `None` where none was sent.
    pub status: Option<u16>,
    /// The number of its connection.
    pub connection: u64,
    /// True where it changed something at the vendor.
    pub effect: bool,
    /// The time of its arrival, in milliseconds since the sandbox started.
    pub ms: u64,
}

impl Sent {
    fn of(entry: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let headers = entry["headers"].as_array().unwrap().iter();
        Sent {
            method: text(&entry["method"]),
            target: text(&entry["target"]),
            headers: headers.map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
            body: text(&entry["body"]),
            status: entry["status"].as_u64().map(|status| u16::try_from(status).unwrap()),
            connection: entry["connection"].as_u64().unwrap(),
            effect: entry["effect"].as_bool().unwrap(),
            ms: entry["ms"].as_u64().unwrap(),
        }
    }

    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The body as JSON that keeps the text of numbers.
    #[must_use]
    pub fn tree(&self) -> Tree {
        Tree::parse(self.body.as_bytes()).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

impl Deref for Sandbox {
    type Target = parlance_sandbox::Sandbox;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl Sandbox {
    /// Starts one with the usual options.
    pub async fn start() -> Self {
        Sandbox::with(Options::default()).await
    }

    /// Starts one with these options, but for the ports.
    pub async fn with(options: Options) -> Self {
        let inner = parlance_sandbox::start(Options { base_port: 0, ..options }).await.unwrap();
        Sandbox { inner, client: Client::default() }
    }

    /// Stops it and waits until all of it is gone.
    pub async fn stop(self) {
        self.inner.stop().await;
    }

    /// The address of a vendor's listener.
    #[must_use]
    pub fn address(&self, vendor: &str) -> SocketAddr {
        address(&self.url(vendor).unwrap())
    }

    /// The address of the control side.
    #[must_use]
    pub fn control_address(&self) -> SocketAddr {
        address(&self.control_url())
    }

    /// A key that the vendor accepts.
    #[must_use]
    pub fn key(&self, vendor: &str) -> String {
        self.credentials()[vendor].keys[0].clone()
    }

    /// A text with its placeholders filled: `${vendor}` stands for that vendor's origin, `${vendor_key}` for its key;
    /// `${token_url}`, `${client_id}` and `${client_secret}` for the vendor that gives tokens.
    #[must_use]
    pub fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for vendor in parlance_sandbox::vendors() {
            text = text
                .replace(&format!("${{{vendor}}}"), &self.url(vendor).unwrap())
                .replace(&format!("${{{vendor}_key}}"), &self.key(vendor));
        }
        if let Some(client) = self.credentials().values().find_map(|known| known.clients.first()) {
            text = text
                .replace("${token_url}", &self.token_url())
                .replace("${client_id}", &client.client_id)
                .replace("${client_secret}", &client.client_secret);
        }
        text
    }

    /// Asks the control side; `body` is JSON or its text, and `null` for none.
    pub async fn ask(&self, method: &str, path: &str, body: impl ToString) -> Reply {
        let body = body.to_string();
        let body = if body == "null" { "" } else { &body };
        let request = Request::new(method, path).header("Content-Type", "application/json").body(body);
        self.client.send(self.control_address(), &request).await
    }

    /// Asks the control side for something that it can do; gives its answer.
    pub async fn control(&self, method: &str, path: &str, body: impl ToString) -> Value {
        let reply = self.ask(method, path, body).await;
        assert!(reply.status < 300, "{method} {path}: {reply:?}");
        if reply.body.is_empty() { Value::Null } else { reply.json() }
    }

    /// Adds a rule for what goes wrong next.
    pub async fn fault(&self, rule: impl ToString) {
        self.control("POST", "/faults", rule).await;
    }

    /// Forgets all rules.
    pub async fn faults_over(&self) {
        self.control("DELETE", "/faults", Value::Null).await;
    }

    /// Forgets all that was received.
    pub async fn forget(&self) {
        self.control("DELETE", "/ledger", Value::Null).await;
    }

    /// The connections of the newest requests that reached a vendor, as many as the ledger keeps.
    pub async fn connections(&self, vendor: &str) -> BTreeSet<u64> {
        let ledger = self.control("GET", &format!("/ledger?vendor={vendor}"), Value::Null).await;
        ledger["entries"].as_array().unwrap().iter().map(|entry| Sent::of(entry).connection).collect()
    }

    /// The requests that reached a vendor, in order.
    pub async fn sent(&self, vendor: &str) -> Vec<Sent> {
        let ledger = self.control("GET", &format!("/ledger?vendor={vendor}"), Value::Null).await;
        assert_eq!(ledger["dropped"], 0, "the ledger is not whole");
        ledger["entries"].as_array().unwrap().iter().map(Sent::of).collect()
    }

    /// Waits until so many requests reached a vendor.
    pub async fn reached(&self, vendor: &str, requests: usize) {
        eventually("the vendor is called", async || self.counts(vendor).await.0 >= requests).await;
    }

    /// The number of calls that reached a vendor, and of those that changed something.
    pub async fn counts(&self, vendor: &str) -> (usize, usize) {
        let summary = self.control("GET", "/ledger/summary", Value::Null).await;
        let count = |name: &str| summary["vendors"][vendor][name].as_u64().unwrap();
        (count("requests").try_into().unwrap(), count("effects").try_into().unwrap())
    }
}

/// The address in an origin, such as `http://127.0.0.1:9101`.
#[must_use]
pub fn address(url: &str) -> SocketAddr {
    url.split("//").nth(1).unwrap().parse().unwrap()
}
