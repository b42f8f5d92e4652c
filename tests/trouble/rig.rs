//! Gateways in this process over simulated vendors or over sockets that a test holds itself.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use parlance::gateway::snapshot::Snapshot;
use parlance::runtime::Gateway;
use parlance::settings;
use parlance::telemetry::access::AccessLog;
use parlance::upstream::Upstream;
use parlance_adapters::Spec;
use testkit::{Client, Reply, Request};
use tokio::task::JoinSet;

/// The credential where a test holds the vendor's socket itself.
pub(crate) const KEY: &str = "canary-4b1d7c0e9f";

/// A gateway with the upstreams that a test gave it.
pub(crate) struct Rig {
    gateway: Gateway,
    upstreams: BTreeMap<String, Arc<Upstream>>,
    client: Client,
}

/// The outcome of a problem: status, code and `update_applied`.
pub(crate) fn told(status: u16, code: &str, applied: &str) -> (u16, String, String) {
    (status, code.to_owned(), applied.to_owned())
}

/// `vendor`'s example conversation at the upstream of that name.
pub(crate) fn id(upstream: &str, spec: &Spec) -> String {
    format!("{upstream}:{}", spec.example.id)
}

impl Rig {
    /// A gateway with this configuration, its listeners on ports of the system's choice.
    pub(crate) async fn new(toml: &str) -> Self {
        Rig::with_client(toml, Client::default()).await
    }

    pub(crate) async fn with_client(toml: &str, client: Client) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("parlance.toml");
        let listeners =
            "[server]\nlisten = \"127.0.0.1:0\"\ndrain_delay = \"0s\"\n[admin]\nlisten = \"127.0.0.1:0\"\n";
        std::fs::write(&file, format!("{listeners}{toml}")).unwrap();
        let settings = settings::load(&[file], &BTreeMap::new());
        let settings = settings.unwrap_or_else(|faults| panic!("{toml}\n{faults:#?}"));
        let live = Snapshot::build(settings, None).unwrap();
        let upstreams = live.routes.upstreams().clone();
        let gateway = Gateway::start(live, AccessLog::new(None)).await.unwrap();
        Rig { gateway, upstreams, client }
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
    pub(crate) async fn update(&self, upstream: &str) -> Reply {
        self.updating(upstream).await
    }

    /// The same as a task's work.
    pub(crate) fn updating(&self, upstream: &str) -> impl Future<Output = Reply> + Send + 'static {
        let spec = self.upstreams[upstream].settings.vendor.spec();
        self.updating_one(&id(upstream, spec), upstream)
    }

    fn updating_one(&self, id: &str, upstream: &str) -> impl Future<Output = Reply> + Send + 'static + use<> {
        let request = Request::patch(id, self.upstreams[upstream].settings.vendor.spec().example.patch);
        let (client, api) = (self.client.clone(), self.gateway.api());
        async move { client.send(api, &request).await }
    }

    /// So many of them at once, each of another conversation: none waits for its turn.
    pub(crate) async fn updates(&self, upstream: &str, count: usize) -> Vec<Reply> {
        let id = id(upstream, self.upstreams[upstream].settings.vendor.spec());
        let update = |number: usize| self.updating_one(&format!("{id}-{number}"), upstream);
        (0..count).map(update).collect::<JoinSet<Reply>>().join_all().await
    }

    pub(crate) async fn send(&self, request: &Request) -> Reply {
        self.client.send(self.gateway.api(), request).await
    }

    pub(crate) async fn stop(self) {
        drop(self.client);
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
