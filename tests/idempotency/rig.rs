//! Gateways over one sandbox, and a caller.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::{Duration, Instant};

use parlance::gateway::snapshot::Snapshot;
use parlance::runtime::Gateway;
use parlance::settings;
use parlance::telemetry::access::AccessLog;
use serde_json::Value;
use testkit::{Client, PATIENCE, Reply, Request, Sandbox};

/// The conversation that most requests are about.
pub(crate) const PATH: &str = "/conversations/sms:conv_def456";
/// An update of it.
pub(crate) const BODY: &str = r#"{"context":{"order_id":"A-1"}}"#;
const VENDOR: &str = "agentphone";
/// The vendor that takes a key of its own, which its upstream `planning` is at. `again` is the usual vendor with
/// `retry_unknown`.
pub(crate) const SAFE_VENDOR: &str = "cuadra";
pub(crate) const SAFE_ID: &str = "a4f0c0a2-4b1d-4e57-8a2a-0c18f9d4b1e2";

/// The keys of these callers are `crm-key` and `erp-key`.
pub(crate) const CALLERS: &str = "
[[callers]]
name = \"crm\"
key_sha256 = \"714815f9ca35a80bf606f03cffb3bd66f2511788b0342a0d1e60605d83979167\"
[[callers]]
name = \"erp\"
key_sha256 = \"0cd50862624d9547ee9e517c7569fd7fe4c7212fab77b5db3dc306b9c3a4c55c\"
";

pub(crate) struct Rig {
    pub(crate) sandbox: Sandbox,
    pub(crate) gateways: Vec<Gateway>,
    client: Client,
}

impl Deref for Rig {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

/// The configuration of a gateway over a sandbox; `idempotency` stands in the table of that name.
pub(crate) fn config(sandbox: &Sandbox, idempotency: &str, more: &str) -> String {
    config_within(sandbox, "4s", idempotency, more)
}

/// The same, with the time that an update may take.
pub(crate) fn config_within(sandbox: &Sandbox, timeout: &str, idempotency: &str, more: &str) -> String {
    let (url, key) = (sandbox.url(VENDOR).unwrap(), sandbox.key(VENDOR));
    let (safe_url, safe_key) = (sandbox.url(SAFE_VENDOR).unwrap(), sandbox.key(SAFE_VENDOR));
    let upstream =
        format!("vendor = \"{VENDOR}\"\nbase_url = \"{url}\"\ncredential = {{ value = \"{key}\" }}\n");
    format!(
        "default_upstream = \"sms\"\n\
         [server]\nlisten = \"127.0.0.1:0\"\ndrain_delay = \"0s\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [defaults]\nmax_attempts = 1\nrate_limit = \"off\"\ntimeout = \"{timeout}\"\n\
         [defaults.circuit]\nfailures = 0\nsuccess_rate = 0.0\n\
         [upstreams.sms]\n{upstream}\n[upstreams.other]\n{upstream}\n\
         [upstreams.again]\n{upstream}retry_unknown = true\n\
         [upstreams.planning]\nvendor = \"{SAFE_VENDOR}\"\nbase_url = \"{safe_url}\"\n\
         credential = {{ value = \"{safe_key}\" }}\n\
         [[routes]]\nheaders = {{ x-tenant = \"other\" }}\nupstream = \"other\"\n\
         [idempotency]\n{idempotency}\n{more}\n"
    )
}

pub(crate) fn live(config: &str) -> Snapshot {
    Snapshot::build(read(config), None).unwrap()
}

pub(crate) fn read(config: &str) -> settings::Settings {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("parlance.toml");
    std::fs::write(&file, config).unwrap();
    settings::load(&[file], &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// An update at this path; its content type is JSON unless a header says otherwise.
pub(crate) fn request(path: &str, headers: &[(&str, &str)], body: &str) -> Request {
    let request = Request::new("PATCH", path).headers(headers).body(body);
    let typed = headers.iter().any(|(name, _)| *name == "content-type");
    if typed { request } else { request.header("content-type", "application/json") }
}

impl Rig {
    /// So many gateways with the same configuration.
    pub(crate) async fn start(gateways: usize, idempotency: &str, more: &str) -> Self {
        let sandbox = Sandbox::start().await;
        let config = config(&sandbox, idempotency, more);
        let mut rig = Rig { sandbox, gateways: Vec::new(), client: Client::default() };
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
        self.client.send(self.gateways[gateway].api(), &request(path, headers, body)).await
    }

    /// The number of calls of the vendor, and of those that changed something.
    pub(crate) async fn calls(&self) -> (usize, usize) {
        self.counts(VENDOR).await
    }

    /// Waits until the vendor was called so often.
    pub(crate) async fn called(&self, times: usize) {
        self.reached(VENDOR, times).await;
    }

    /// The bodies that the vendor received.
    pub(crate) async fn bodies(&self) -> Vec<String> {
        self.sent(VENDOR).await.into_iter().map(|sent| sent.body).collect()
    }

    /// The bodies that changed something at the vendor, in their order; with `id`, in that conversation.
    pub(crate) async fn effects(&self, id: Option<&str>) -> Vec<String> {
        let of = id.map(|id| format!("/{id}")).unwrap_or_default();
        let sent = self.sent(VENDOR).await.into_iter();
        sent.filter(|sent| sent.effect && sent.target.ends_with(&of)).map(|sent| sent.body).collect()
    }

    /// The vendor's conversation of this id.
    pub(crate) async fn conversation(&self, id: &str) -> Value {
        self.control("GET", &format!("/conversations/{VENDOR}/{id}"), Value::Null).await
    }

    /// The vendor has a conversation of this id.
    pub(crate) async fn put_conversation(&self, id: &str) {
        let mut conversation = self.conversation("conv_def456").await;
        conversation["id"] = id.into();
        self.control("PUT", &format!("/conversations/{VENDOR}/{id}"), conversation).await;
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
        assert!(Instant::now() < end, "still {reply:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
