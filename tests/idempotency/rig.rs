//! Gateways over one sandbox, and a caller.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use parlance::gateway::snapshot::Snapshot;
use parlance::runtime::Gateway;
use parlance::settings;
use parlance::telemetry::access::AccessLog;
use parlance_sandbox::{Options, Sandbox};
use serde_json::Value;

/// The conversation that most requests are about.
pub(crate) const PATH: &str = "/conversations/sms:conv_def456";
/// An update of it.
pub(crate) const BODY: &str = r#"{"context":{"order_id":"A-1"}}"#;
const VENDOR: &str = "agentphone";

/// The keys of these callers are `crm-key` and `erp-key`.
pub(crate) const CALLERS: &str = "
[[callers]]
name = \"crm\"
key_sha256 = \"714815f9ca35a80bf606f03cffb3bd66f2511788b0342a0d1e60605d83979167\"
[[callers]]
name = \"erp\"
key_sha256 = \"0cd50862624d9547ee9e517c7569fd7fe4c7212fab77b5db3dc306b9c3a4c55c\"
";

/// Deadline of waits that end when something has happened.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Whether tests are to take their time.
pub(crate) fn is_long() -> bool {
    std::env::var_os("PARLANCE_LONG").is_some()
}

pub(crate) struct Rig {
    pub(crate) sandbox: Sandbox,
    pub(crate) gateways: Vec<Gateway>,
    client: Caller,
}

pub(crate) type Caller = legacy::Client<HttpConnector, Full<Bytes>>;

#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The problem's code, without its prefix.
    pub(crate) fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let code = body["type"].as_str().unwrap_or_default();
        code.strip_prefix("urn:parlance:problem:").unwrap_or(code).to_owned()
    }

    pub(crate) fn is_replay(&self) -> bool {
        self.header("idempotent-replayed") == "true"
    }
}

/// The configuration of a gateway over a sandbox; `idempotency` stands in the table of that name.
pub(crate) fn config(sandbox: &Sandbox, idempotency: &str, more: &str) -> String {
    config_within(sandbox, "4s", idempotency, more)
}

/// The same, with the time that an update may take.
pub(crate) fn config_within(sandbox: &Sandbox, timeout: &str, idempotency: &str, more: &str) -> String {
    let (url, credentials) = (sandbox.url(VENDOR).unwrap(), sandbox.credentials());
    let key = &credentials[VENDOR].keys[0];
    let upstream =
        format!("vendor = \"{VENDOR}\"\nbase_url = \"{url}\"\ncredential = {{ value = \"{key}\" }}\n");
    format!(
        "default_upstream = \"sms\"\n\
         [server]\nlisten = \"127.0.0.1:0\"\ndrain_delay = \"0s\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [defaults]\nmax_attempts = 1\nrate_limit = \"off\"\ntimeout = \"{timeout}\"\n\
         [defaults.circuit]\nfailures = 0\nsuccess_rate = 0.0\n\
         [upstreams.sms]\n{upstream}\n[upstreams.other]\n{upstream}\n\
         [[routes]]\nheaders = {{ x-tenant = \"other\" }}\nupstream = \"other\"\n\
         [idempotency]\n{idempotency}\n{more}\n"
    )
}

pub(crate) fn live(config: &str) -> Snapshot {
    Snapshot::new(read(config)).unwrap()
}

pub(crate) fn read(config: &str) -> settings::Settings {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("parlance.toml");
    std::fs::write(&file, config).unwrap();
    settings::load(&[file], &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults:?}"))
}

pub(crate) fn caller() -> Caller {
    legacy::Client::builder(TokioExecutor::new()).build_http()
}

/// No answer came.
#[derive(Debug)]
pub(crate) struct NoReply {
    /// Whether something may have been sent.
    pub(crate) sent: bool,
}

pub(crate) async fn send(
    caller: &Caller,
    address: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
    let sent = try_send(caller, address, path, headers, body);
    tokio::time::timeout(PATIENCE, sent).await.expect("an answer in time").unwrap()
}

pub(crate) async fn try_send(
    caller: &Caller,
    address: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Reply, NoReply> {
    let mut request = Request::builder().method("PATCH").uri(format!("http://{address}{path}"));
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, value.as_bytes());
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
    let answer = caller.request(request).await.map_err(|error| NoReply { sent: !error.is_connect() })?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(|_| NoReply { sent: true })?.to_bytes();
    Ok(Reply { status: head.status, headers: head.headers, body })
}

impl Rig {
    /// So many gateways with the same configuration.
    pub(crate) async fn start(gateways: usize, idempotency: &str, more: &str) -> Self {
        let sandbox = parlance_sandbox::start(Options { base_port: 0, ..Options::default() }).await.unwrap();
        let config = config(&sandbox, idempotency, more);
        let mut rig = Rig { sandbox, gateways: Vec::new(), client: caller() };
        for _ in 0..gateways {
            rig.gateways.push(Gateway::start(live(&config), AccessLog::new(None)).await.unwrap());
        }
        rig
    }

    /// One more gateway, with settings of its own.
    pub(crate) async fn add(&mut self, idempotency: &str) {
        let config = config(&self.sandbox, idempotency, "");
        self.gateways.push(Gateway::start(live(&config), AccessLog::new(None)).await.unwrap());
    }

    /// One gateway that keeps its records in memory.
    pub(crate) async fn in_memory() -> Self {
        Rig::start(1, "store = \"memory\"", "").await
    }

    pub(crate) fn address(&self, gateway: usize) -> String {
        self.gateways[gateway].api().to_string()
    }

    /// The usual update with this key.
    pub(crate) async fn update(&self, gateway: usize, key: &str) -> Reply {
        self.send(gateway, PATH, &[("idempotency-key", key)], BODY).await
    }

    pub(crate) async fn send(
        &self,
        gateway: usize,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        send(&self.client, &self.address(gateway), path, headers, body).await
    }

    pub(crate) async fn control(&self, method: &str, path: &str, body: &str) -> Value {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.sandbox.control_url()))
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        let answer = self.client.request(request).await.unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
        serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap_or_default()
    }

    /// The next call of the vendor goes wrong in this way.
    pub(crate) async fn fault(&self, rule: &str) {
        self.control("POST", "/faults", rule).await;
    }

    /// How often the vendor was called, and how often it changed something.
    pub(crate) async fn calls(&self) -> (u64, u64) {
        let summary = self.control("GET", "/ledger/summary", "").await;
        let vendor = &summary["vendors"][VENDOR];
        (vendor["requests"].as_u64().unwrap(), vendor["effects"].as_u64().unwrap())
    }

    /// Waits until the vendor was called so often.
    pub(crate) async fn called(&self, times: u64) {
        let end = Instant::now() + PATIENCE;
        while self.calls().await.0 < times {
            assert!(Instant::now() < end, "the vendor was not called {times} times");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The bodies that the vendor received.
    pub(crate) async fn bodies(&self) -> Vec<String> {
        self.received("").await.into_iter().map(|(body, _)| body).collect()
    }

    /// The bodies that changed something at the vendor, in their order; with `id`, in that conversation.
    pub(crate) async fn effects(&self, id: Option<&str>) -> Vec<String> {
        let of = id.map(|id| format!("&id={id}")).unwrap_or_default();
        self.received(&of).await.into_iter().filter(|(_, effect)| *effect).map(|(body, _)| body).collect()
    }

    async fn received(&self, of: &str) -> Vec<(String, bool)> {
        let ledger = self.control("GET", &format!("/ledger?vendor={VENDOR}{of}"), "").await;
        assert_eq!(ledger["dropped"], 0, "the ledger is not whole");
        let read =
            |entry: &Value| (entry["body"].as_str().unwrap().to_owned(), entry["effect"].as_bool().unwrap());
        ledger["entries"].as_array().unwrap().iter().map(read).collect()
    }

    /// The vendor's conversation of this id.
    pub(crate) async fn conversation(&self, id: &str) -> Value {
        self.control("GET", &format!("/conversations/{VENDOR}/{id}"), "").await
    }

    /// The vendor has a conversation of this id.
    pub(crate) async fn put_conversation(&self, id: &str) {
        let mut conversation = self.conversation("conv_def456").await;
        conversation["id"] = id.into();
        self.control("PUT", &format!("/conversations/{VENDOR}/{id}"), &conversation.to_string()).await;
    }
}

/// Asks until the answer is as wanted.
pub(crate) async fn until<F>(mut ask: impl FnMut() -> F, wanted: impl Fn(&Reply) -> bool) -> Reply
where
    F: Future<Output = Reply>,
{
    let end = Instant::now() + PATIENCE;
    loop {
        let reply = ask().await;
        if wanted(&reply) {
            return reply;
        }
        assert!(Instant::now() < end, "still {} {}", reply.status, String::from_utf8_lossy(&reply.body));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
