//! A gateway over simulated vendors, in this process.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};

use parlance::gateway::snapshot::Snapshot;
use parlance::runtime::Gateway;
use parlance::settings;
use parlance::telemetry::access::AccessLog;
use parlance::upstream::Upstream;
use parlance_sandbox::{Options, Tls};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{Client, Reply, Request, Sandbox, Sent};

/// The vendor with a token endpoint, and one without.
pub(crate) const OAUTH: &str = "cuadra";
pub(crate) const PLAIN: &str = "agentphone";

/// The simulated vendors, and files for the gateways over them.
pub(crate) struct Rig {
    pub(crate) sandbox: Sandbox,
    pub(crate) files: TempDir,
    client: Client,
}

/// One gateway with one upstream, named `it`.
pub(crate) struct Over {
    gateway: Gateway,
    pub(crate) upstream: Arc<Upstream>,
    client: Client,
    id: &'static str,
}

impl Deref for Rig {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Rig::with(Options::default()).await
    }

    pub(crate) async fn over_tls(tls: Tls) -> Self {
        Rig::with(Options { tls: Some(tls), ..Options::default() }).await
    }

    async fn with(options: Options) -> Self {
        listen_to_logs();
        Rig {
            sandbox: Sandbox::with(options).await,
            files: tempfile::tempdir().unwrap(),
            client: Client::default(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// A gateway whose upstream has this credential, in TOML, and these further lines.
    pub(crate) async fn gateway(&self, vendor: &str, credential: &str, more: &str) -> Over {
        let settings = self.settings(vendor, credential, more);
        let live = Snapshot::build(settings, None).unwrap();
        let upstream = Arc::clone(&live.routes.upstreams()["it"]);
        let gateway = Gateway::start(live, AccessLog::new(None)).await.unwrap();
        let id = parlance_adapters::vendor(vendor).unwrap().spec().example.id;
        Over { gateway, upstream, client: self.client.clone(), id }
    }

    pub(crate) fn settings(&self, vendor: &str, credential: &str, more: &str) -> settings::Settings {
        let url = self.sandbox.url(vendor).unwrap();
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nmax_in_flight = 4096\ndrain_delay = \"0s\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [upstreams.it]\nvendor = \"{vendor}\"\nbase_url = \"{url}\"\nmax_in_flight = 4096\nrate_limit = \"off\"\n\
             circuit = {{ failures = 0, success_rate = 0.0 }}\ncredential = {credential}\n{more}\n"
        );
        let path = self.path("parlance.toml");
        std::fs::write(&path, &text).unwrap();
        settings::load(&[path], &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults:#?}\n{text}"))
    }

    /// The credential of the sandbox's own OAuth client; `more` are further members of the table.
    pub(crate) fn oauth2(&self, more: &str) -> String {
        let client = &self.sandbox.credentials()[OAUTH].clients[0];
        self.oauth2_as(&client.client_id, &client.client_secret, more)
    }

    pub(crate) fn oauth2_as(&self, id: &str, secret: &str, more: &str) -> String {
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        format!(
            "{{ oauth2 = {{ token_url = {}, client_id = {}, client_secret = {{ value = {} }}{more} }} }}",
            quoted(&self.sandbox.token_url()),
            quoted(id),
            quoted(secret)
        )
    }

    pub(crate) fn client_secret(&self) -> String {
        self.sandbox.credentials()[OAUTH].clients[0].client_secret.clone()
    }

    pub(crate) async fn accept(&self, vendor: &str, keys: &[&str]) {
        self.control("PUT", &format!("/credentials/{vendor}"), json!({ "accept": keys })).await;
    }

    /// A fault of the token endpoint, until faults are cleared.
    pub(crate) async fn token_fault(&self, mut rule: Value) {
        rule["vendor"] = json!(OAUTH);
        rule["path_contains"] = json!("/oauth2/token");
        rule["count"] = json!(1_000_000);
        self.fault(rule).await;
    }

    /// The requests that the vendor received with this method, oldest first.
    pub(crate) async fn received(&self, vendor: &str, method: &str) -> Vec<Sent> {
        self.sent(vendor).await.into_iter().filter(|sent| sent.method == method).collect()
    }

    pub(crate) async fn token_requests(&self) -> usize {
        self.received(OAUTH, "POST").await.len()
    }
}

impl Over {
    fn request(&self) -> Request {
        Request::patch(&format!("it:{}", self.id), self.upstream.settings.vendor.spec().example.patch)
    }

    /// One update that the vendor can take.
    pub(crate) async fn update(&self) -> Reply {
        self.client.send(self.gateway.api(), &self.request()).await
    }

    /// One update that must come to nothing, and be said to have.
    pub(crate) async fn refused(&self, code: &str) -> Reply {
        let reply = self.update().await;
        let (_, given, applied) = reply.outcome();
        assert_eq!((given.as_str(), applied.as_str()), (code, "no"), "{reply:?}");
        reply
    }

    /// An update by a task of its own, with what is needed for it.
    pub(crate) fn updater(&self) -> impl Fn() -> tokio::task::JoinHandle<u16> + Send + 'static {
        let (client, api, request) = (self.client.clone(), self.gateway.api(), self.request());
        move || {
            let (client, request) = (client.clone(), request.clone());
            tokio::spawn(async move { client.send(api, &request).await.status })
        }
    }

    pub(crate) async fn end(self) {
        self.gateway.drain().await;
    }
}

/// Puts another text where a file is, as one step.
pub(crate) fn rename_over(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn listen_to_logs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
        tracing::subscriber::set_global_default(subscriber.with_writer(|| Log).finish()).unwrap();
    });
}

/// Everything that was logged so far, by every crate, at every level.
pub(crate) fn logged() -> String {
    String::from_utf8(LOG.lock().unwrap().clone()).unwrap()
}
