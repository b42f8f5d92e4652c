//! A gateway over simulated vendors, in this process.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};
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
use parlance_sandbox::{Options, Sandbox, Tls};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The vendor with a token endpoint, and one without.
pub(crate) const OAUTH: &str = "cuadra";
pub(crate) const PLAIN: &str = "agentphone";
/// Longer than anything that a test waits for on purpose.
const PATIENCE: Duration = Duration::from_secs(60);

/// The simulated vendors, and files for the gateways over them.
pub(crate) struct Rig {
    pub(crate) sandbox: Sandbox,
    pub(crate) files: TempDir,
    http: Http,
}

/// One gateway with one upstream, named `it`.
pub(crate) struct Over {
    gateway: Gateway,
    pub(crate) upstream: Arc<Upstream>,
    http: Http,
    id: &'static str,
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
        let sandbox = parlance_sandbox::start(Options { base_port: 0, ..options }).await.unwrap();
        Rig { sandbox, files: tempfile::tempdir().unwrap(), http: Http::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// A gateway whose upstream has this credential, in TOML, and these further lines.
    pub(crate) async fn gateway(&self, vendor: &str, credential: &str, more: &str) -> Over {
        let settings = self.settings(vendor, credential, more);
        let live = Snapshot::new(settings).unwrap();
        let upstream = Arc::clone(&live.routes.upstreams()["it"]);
        let gateway = Gateway::start(live, AccessLog::new(None)).await.unwrap();
        let id = parlance_adapters::vendor(vendor).unwrap().spec().example.id;
        Over { gateway, upstream, http: self.http.clone(), id }
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

    pub(crate) async fn control(&self, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.sandbox.control_url());
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.http.send(method, &url, &body).await;
        assert!(answer.status().is_success(), "{method} {path}: {answer:?}");
        serde_json::from_slice(answer.body()).unwrap()
    }

    pub(crate) async fn accept(&self, vendor: &str, keys: &[&str]) {
        self.control("PUT", &format!("/credentials/{vendor}"), json!({ "accept": keys })).await;
    }

    /// A fault of the token endpoint, until faults are cleared.
    pub(crate) async fn token_fault(&self, mut rule: Value) {
        rule["vendor"] = json!(OAUTH);
        rule["path_contains"] = json!("/oauth2/token");
        rule["count"] = json!(1_000_000);
        self.control("POST", "/faults", rule).await;
    }

    /// What the vendor received with this method, oldest first.
    pub(crate) async fn received(&self, vendor: &str, method: &str) -> Vec<Value> {
        let ledger = self.control("GET", &format!("/ledger?vendor={vendor}"), Value::Null).await;
        let entries = ledger["entries"].as_array().unwrap().iter();
        entries.filter(|entry| entry["method"] == method).cloned().collect()
    }

    pub(crate) async fn token_requests(&self) -> usize {
        self.received(OAUTH, "POST").await.len()
    }
}

impl Over {
    pub(crate) fn url(&self) -> String {
        format!("http://{}/conversations/it:{}", self.gateway.api(), self.id)
    }

    /// One update that the vendor can take.
    pub(crate) async fn update(&self) -> Response<Bytes> {
        let patch = self.upstream.settings.vendor.spec().example.patch;
        self.http.send("PATCH", &self.url(), patch).await
    }

    /// One update that must come to nothing, and be said to have.
    pub(crate) async fn refused(&self, code: &str) -> Response<Bytes> {
        let answer = self.update().await;
        let problem: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(problem["type"], format!("urn:parlance:problem:{code}"), "{problem:#}");
        assert_eq!(problem["update_applied"], "no", "{problem:#}");
        answer
    }

    /// An update by a task of its own, with what is needed for it.
    pub(crate) fn updater(&self) -> impl Fn() -> tokio::task::JoinHandle<u16> + Send + 'static {
        let (http, url) = (self.http.clone(), self.url());
        let patch = self.upstream.settings.vendor.spec().example.patch;
        move || {
            let (http, url) = (http.clone(), url.clone());
            tokio::spawn(async move { http.send("PATCH", &url, patch).await.status().as_u16() })
        }
    }

    pub(crate) async fn end(self) {
        self.gateway.drain().await;
    }
}

#[derive(Clone)]
struct Http(legacy::Client<HttpConnector, Full<Bytes>>);

impl Http {
    fn new() -> Self {
        Http(legacy::Client::builder(TokioExecutor::new()).build_http())
    }

    async fn send(&self, method: &str, url: &str, body: &str) -> Response<Bytes> {
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        let (head, body) =
            tokio::time::timeout(PATIENCE, self.0.request(request)).await.unwrap().unwrap().into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    }
}

/// A header of a ledger entry.
pub(crate) fn header<'a>(entry: &'a Value, name: &str) -> Option<&'a str> {
    let pairs = entry["headers"].as_array().unwrap().iter();
    pairs
        .filter(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name))
        .find_map(|pair| pair[1].as_str())
}

/// The seconds of an answer's `Retry-After`.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<u64> {
    headers.get("retry-after").map(|value| value.to_str().unwrap().parse().unwrap())
}

/// Waits until it is true.
pub(crate) async fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < until, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
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
