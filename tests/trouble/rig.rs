//! Gateways in this process over simulated vendors or over sockets that a test holds itself.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parlance::gateway::snapshot::Snapshot;
use parlance::runtime::Gateway;
use parlance::settings;
use parlance::telemetry::access::AccessLog;
use parlance::upstream::Upstream;
use parlance_adapters::Spec;
use serde_json::Value;
use tokio::task::JoinSet;

/// Longer than anything that a test waits for on purpose.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The credential where a test holds the vendor's socket itself.
pub(crate) const KEY: &str = "canary-4b1d7c0e9f";

/// A gateway with the upstreams that a test gave it.
pub(crate) struct Rig {
    gateway: Gateway,
    upstreams: BTreeMap<String, Arc<Upstream>>,
    caller: Caller,
}

/// One answer and how long it took.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) took: Duration,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn code(&self) -> String {
        let kind = self.json()["type"].as_str().unwrap_or_default().to_owned();
        kind.trim_start_matches("urn:parlance:problem:").to_owned()
    }

    /// Status, code and whether the update was applied: what most tests are about.
    pub(crate) fn told(&self) -> (u16, String, String) {
        let applied = self.json()["update_applied"].as_str().unwrap_or_default().to_owned();
        (self.status, self.code(), applied)
    }

    pub(crate) fn proxy_error(&self) -> String {
        let value = self.header("proxy-status").unwrap_or_default();
        let error = value.split("; ").find_map(|part| part.strip_prefix("error="));
        error.unwrap_or_default().to_owned()
    }
}

/// A caller that speaks HTTP/1.1 or HTTP/2.
#[derive(Clone)]
pub(crate) struct Caller(legacy::Client<HttpConnector, Full<Bytes>>);

impl Caller {
    pub(crate) fn new(http2: bool) -> Self {
        Caller(legacy::Client::builder(TokioExecutor::new()).http2_only(http2).build_http())
    }

    pub(crate) async fn send(&self, method: &str, url: &str, key: Option<&str>, body: &str) -> Answer {
        let mut request =
            Request::builder().method(method).uri(url).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let started = Instant::now();
        let exchange = async {
            let (head, body) = self.0.request(request).await.unwrap().into_parts();
            Response::from_parts(head, body.collect().await.unwrap().to_bytes())
        };
        let (head, body) = tokio::time::timeout(PATIENCE, exchange).await.unwrap().into_parts();
        Answer { status: head.status.as_u16(), headers: head.headers, body, took: started.elapsed() }
    }
}

/// `vendor`'s example conversation at the upstream of that name.
pub(crate) fn id(upstream: &str, spec: &Spec) -> String {
    format!("{upstream}:{}", spec.example.id)
}

impl Rig {
    /// A gateway with this configuration, its listeners on ports of the system's choice.
    pub(crate) async fn new(toml: &str) -> Self {
        Rig::with_caller(toml, Caller::new(false)).await
    }

    pub(crate) async fn with_caller(toml: &str, caller: Caller) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("parlance.toml");
        let listeners =
            "[server]\nlisten = \"127.0.0.1:0\"\ndrain_delay = \"0s\"\n[admin]\nlisten = \"127.0.0.1:0\"\n";
        std::fs::write(&file, format!("{listeners}{toml}")).unwrap();
        let settings = settings::load(&[file], &BTreeMap::new());
        let settings = settings.unwrap_or_else(|faults| panic!("{toml}\n{faults:#?}"));
        let live = Snapshot::new(settings).unwrap();
        let upstreams = live.routes.upstreams().clone();
        let gateway = Gateway::start(live, AccessLog::new(None)).await.unwrap();
        Rig { gateway, upstreams, caller }
    }

    /// A gateway with one upstream, `it`, at this address. Plain http unless `more` says otherwise, nothing but
    /// `more` decides how often it may fail.
    pub(crate) async fn over(vendor: &str, base_url: &str, more: &str) -> Self {
        Rig::new(&upstream("it", vendor, base_url, KEY, more)).await
    }

    pub(crate) fn upstream(&self, name: &str) -> &Upstream {
        &self.upstreams[name]
    }

    /// Updates the example conversation of an upstream.
    pub(crate) async fn update(&self, upstream: &str) -> Answer {
        self.updating(upstream).await
    }

    /// The same as a task's work.
    pub(crate) fn updating(&self, upstream: &str) -> impl Future<Output = Answer> + Send + 'static {
        let spec = self.upstreams[upstream].settings.vendor.spec();
        let url = self.url(&id(upstream, spec));
        let caller = self.caller.clone();
        async move { caller.send("PATCH", &url, None, spec.example.patch).await }
    }

    /// So many of them at once.
    pub(crate) async fn updates(&self, upstream: &str, count: usize) -> Vec<Answer> {
        (0..count).map(|_| self.updating(upstream)).collect::<JoinSet<Answer>>().join_all().await
    }

    pub(crate) async fn send(&self, id: &str, key: Option<&str>, patch: &str) -> Answer {
        self.caller.send("PATCH", &self.url(id), key, patch).await
    }

    fn url(&self, id: &str) -> String {
        format!("http://{}/conversations/{id}", self.gateway.api())
    }

    pub(crate) async fn stop(self) {
        drop(self.caller);
        self.gateway.drain().await;
    }
}

/// The configuration of one upstream: short times, no limits but those that the test gives.
pub(crate) fn upstream(name: &str, vendor: &str, base_url: &str, key: &str, more: &str) -> String {
    let given = |setting: &str| more.lines().any(|line| line.trim_start().starts_with(setting));
    let mut text = format!(
        "[upstreams.{name}]\nvendor = \"{vendor}\"\nbase_url = \"{base_url}\"\ncredential = {{ value = \"{key}\" }}\n"
    );
    for (setting, value) in [
        ("timeout", "\"5s\""),
        ("connect_timeout", "\"1s\""),
        ("max_response", "\"64KiB\""),
        ("rate_limit", "\"off\""),
        ("circuit", "{ failures = 0, success_rate = 0.0 }"),
    ] {
        if !given(&format!("{setting} ")) {
            text.push_str(&format!("{setting} = {value}\n"));
        }
    }
    for (setting, value) in parlance_adapters::vendor(vendor).unwrap().spec().example.settings {
        text.push_str(&format!("{setting} = \"{value}\"\n"));
    }
    text + more + "\n"
}
