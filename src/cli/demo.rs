//! `parlance demo` and `parlance sandbox`: everything on loopback, without setup.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parlance_adapters::json::{Raw, Reader};
use parlance_adapters::{ALL, SettingPlacement, Spec};
use parlance_sandbox::{Options, Sandbox};
use serde_json::Value;

use super::terminal::{CliError, Signals, print};
use crate::runtime::Gateway;
use crate::runtime::reload::Source;
use crate::telemetry::access::AccessLog;

/// Runs the simulated vendors until a signal.
pub(super) async fn sandbox(port: u16) -> Result<(), CliError> {
    let mut signals = Signals::new()?;
    let sandbox = parlance_sandbox::start(Options { base_port: port, ..Options::default() }).await?;
    print(&vendors_at(&sandbox))?;
    signals.stop().await;
    sandbox.stop().await;
    Ok(())
}

/// Runs simulated vendors and a gateway in front of them until a signal.
pub(super) async fn run() -> Result<(), CliError> {
    let mut signals = Signals::new()?;
    let sandbox = parlance_sandbox::start(Options::default()).await?;
    let gateway = start(&sandbox, 8080, 9090).await?;
    let mut text = format!(
        "parlance serves http://{}, its admin listener is http://{}\n\n{}\nTry:\n",
        gateway.api(),
        gateway.admin(),
        vendors_at(&sandbox)
    );
    for adapter in ALL {
        let spec = adapter.spec();
        text.push_str(&format!(
            "\n  curl -X PATCH http://{}/conversations/{} \\\n       -H 'Content-Type: application/json' \\\n       -d '{}'\n",
            gateway.api(),
            canonical_id(spec),
            spec.example.patch
        ));
    }
    text.push_str(
        "\nThe same without -X, -H and -d reads the conversation; with -i it shows its ETag for If-Match.\n\
         Add '?dry_run=true' (in quotes) to see the vendor's request instead. Ctrl-C ends the demo.\n",
    );
    print(&text)?;
    signals.stop().await;
    gateway.drain().await;
    sandbox.stop().await;
    Ok(())
}

/// Updates one conversation of each vendor, reads it again, and shows all requests and answers.
pub(super) async fn once() -> Result<(), CliError> {
    let sandbox = parlance_sandbox::start(Options { base_port: 0, ..Options::default() }).await?;
    let gateway = start(&sandbox, 0, 0).await?;
    let client = Client::new();
    let mut wrong = Vec::new();
    for adapter in ALL {
        let spec = adapter.spec();
        let shown = show(&client, &sandbox, &gateway, spec).await?;
        print(&shown.text)?;
        wrong.extend(shown.fault.map(|fault| format!("{}: {fault}", spec.title)));
    }
    gateway.drain().await;
    sandbox.stop().await;
    if wrong.is_empty() {
        return print(&format!("{0} vendors, {0} updates, {0} reads, one API: all right.\n", ALL.len()));
    }
    Err(CliError(wrong))
}

/// Starts a gateway in front of the sandbox, with one upstream for each vendor, named after it.
async fn start(sandbox: &Sandbox, api: u16, admin: u16) -> Result<Gateway, CliError> {
    let source = Source::new(Vec::new(), environment(sandbox, api, admin));
    let settings = source.load().map_err(CliError::faults)?;
    let snapshot = source.build(settings, None).map_err(CliError::faults)?;
    Ok(Gateway::start(snapshot, AccessLog::new(None)).await?)
}

fn environment(sandbox: &Sandbox, api: u16, admin: u16) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let mut set = |path: &str, value: &str| {
        variables.insert(format!("PARLANCE__{path}").to_uppercase(), value.to_owned())
    };
    set("server__listen", &format!("127.0.0.1:{api}"));
    // No load balancer has to notice the drain.
    set("server__drain_delay", "0s");
    set("admin__listen", &format!("127.0.0.1:{admin}"));
    let credentials = sandbox.credentials();
    for spec in ALL.iter().map(|adapter| adapter.spec()) {
        let upstream = format!("upstreams__{}", spec.vendor);
        set(&format!("{upstream}__vendor"), spec.vendor);
        set(&format!("{upstream}__base_url"), &sandbox.url(spec.vendor).unwrap_or_default());
        for (key, value) in spec.example.settings {
            set(&format!("{upstream}__{key}"), value);
        }
        let Some(known) = credentials.get(spec.vendor) else { continue };
        let credential = format!("{upstream}__credential");
        match (known.clients.first(), known.keys.first()) {
            (Some(client), _) => {
                set(&format!("{credential}__oauth2__token_url"), &sandbox.token_url());
                set(&format!("{credential}__oauth2__client_id"), &client.client_id);
                set(&format!("{credential}__oauth2__client_secret__value"), &client.client_secret);
                set(&format!("{credential}__oauth2__scope"), &client.scope);
            }
            (None, Some(key)) => {
                set(&format!("{credential}__value"), key);
            }
            (None, None) => {}
        }
    }
    variables
}

fn vendors_at(sandbox: &Sandbox) -> String {
    let mut text = format!("Simulated vendors (control endpoint {}):\n", sandbox.control_url());
    for spec in ALL.iter().map(|adapter| adapter.spec()) {
        let url = sandbox.url(spec.vendor).unwrap_or_default();
        text.push_str(&format!("  {:<12}{url}\n", spec.vendor));
    }
    text
}

fn canonical_id(spec: &Spec) -> String {
    format!("{}:{}", spec.vendor, spec.example.id)
}

struct Shown {
    text: String,
    fault: Option<String>,
}

async fn show(client: &Client, sandbox: &Sandbox, gateway: &Gateway, spec: &Spec) -> Result<Shown, CliError> {
    let url = format!("http://{}/conversations/{}", gateway.api(), canonical_id(spec));
    let patch = spec.example.patch;
    let preview = client.send("PATCH", &format!("{url}?dry_run=true"), patch).await?;
    let preview: Value = serde_json::from_slice(preview.body())?;
    let answer = client.send("PATCH", &url, patch).await?;
    let conversation: Value = serde_json::from_slice(answer.body())?;
    let ledger =
        client.send("GET", &format!("{}/ledger?vendor={}", sandbox.control_url(), spec.vendor), "").await?;
    let ledger: Value = serde_json::from_slice(ledger.body())?;
    let updates = || {
        at(&ledger, "/entries").as_array().into_iter().flatten().filter(|entry| {
            spec.update.iter().any(|endpoint| at(entry, "/method") == endpoint.method.as_str())
        })
    };

    let mut text = format!("━━━ {} ━━━\n\n", spec.title);
    section(
        &mut text,
        &format!("canonical request   PATCH /conversations/{}", canonical_id(spec)),
        &pretty(patch),
    );
    let mut fault = None;
    match updates().next() {
        Some(entry) => {
            let method = at(entry, "/method").as_str().unwrap_or_default();
            let target = at(entry, "/target").as_str().unwrap_or_default();
            let body = at(entry, "/body").as_str().unwrap_or_default();
            section(
                &mut text,
                &format!("upstream request    {method} {target}{}", headers(spec, entry)),
                &pretty(body),
            );
            let status = at(entry, "/status");
            section(
                &mut text,
                &format!("vendor's answer     {status}"),
                &pretty(at(entry, "/answer").as_str().unwrap_or_default()),
            );
            let sent: Value = serde_json::from_str(body).unwrap_or(Value::Null);
            if sent != *at(&preview, "/request/body") {
                fault = Some("the request sent is not the one that the dry run showed");
            }
            if *at(entry, "/effect") != Value::Bool(true) {
                fault = Some("the update had no effect at the vendor");
            }
        }
        None => fault = Some("no update reached the vendor"),
    }
    section(
        &mut text,
        &format!("canonical answer    {}", answer.status()),
        &pretty(&String::from_utf8_lossy(answer.body())),
    );
    let read = client.send("GET", &url, "").await?;
    let tag = read.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default();
    section(&mut text, &format!("read again          {}, ETag {tag}", read.status()), "");
    let stored: Value = serde_json::from_slice(read.body())?;
    if read.status() != 200 || tag.is_empty() || at(&stored, "/id") != &canonical_id(spec) {
        fault = Some("the conversation cannot be read");
    }
    if updates().count() > 1 {
        fault = Some("more than one update reached the vendor");
    }
    if answer.status() != 200 {
        fault = Some("the answer is no conversation");
    }
    let wanted: Value = serde_json::from_str(patch)?;
    let reported = wanted
        .as_object()
        .into_iter()
        .flatten()
        .all(|(name, _)| !at(&conversation, &format!("/{name}")).is_null());
    if !reported || at(&conversation, "/id") != &canonical_id(spec) {
        fault = Some("the answer lacks what was set");
    }
    Ok(Shown { text, fault: fault.map(str::to_owned) })
}

/// Value at a JSON pointer, or null.
fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

fn section(text: &mut String, heading: &str, body: &str) {
    text.push_str(heading);
    text.push('\n');
    for line in body.lines() {
        text.push_str("    ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
}

/// Headers of interest, with the credential masked.
fn headers(spec: &Spec, entry: &Value) -> String {
    let credential = spec.credential.header();
    let settings = spec.settings.iter().filter_map(|setting| match setting.place {
        SettingPlacement::Header(name) => Some(name),
        SettingPlacement::Path => None,
    });
    let shown: Vec<&str> = settings.chain(["content-type", "idempotency-key", credential.as_str()]).collect();
    let mut text = String::new();
    for pair in at(entry, "/headers").as_array().into_iter().flatten() {
        let name = at(pair, "/0").as_str().unwrap_or_default().to_ascii_lowercase();
        if shown.contains(&name.as_str()) {
            let value =
                if name == credential.as_str() { "***" } else { at(pair, "/1").as_str().unwrap_or_default() };
            text.push_str(&format!("\n                    {name}: {value}"));
        }
    }
    text
}

/// Indents a JSON text. Order of members and digits of numbers stay as they are.
fn pretty(json: &str) -> String {
    let mut text = String::new();
    let whole = Reader::lenient(json.as_bytes()).and_then(|mut reader| reader.raw());
    match whole {
        Ok(value) => indent(value, 0, &mut text),
        Err(_) => text.push_str(json),
    }
    text
}

fn indent(value: Raw<'_>, depth: usize, text: &mut String) {
    let line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.push_str(&"  ".repeat(depth));
    };
    let (members, items) = (value.members(), value.items());
    if members.is_empty() && items.is_empty() {
        text.push_str(value.text());
        return;
    }
    text.push(if items.is_empty() { '{' } else { '[' });
    for (at, (key, value)) in members.iter().enumerate() {
        text.push_str(if at == 0 { "" } else { "," });
        line(text, depth + 1);
        text.push_str(&format!("\"{}\": ", key.written()));
        indent(*value, depth + 1, text);
    }
    for (at, item) in items.iter().enumerate() {
        text.push_str(if at == 0 { "" } else { "," });
        line(text, depth + 1);
        indent(*item, depth + 1, text);
    }
    line(text, depth);
    text.push(if items.is_empty() { '}' } else { ']' });
}

/// HTTP client of the demo.
struct Client(legacy::Client<HttpConnector, Full<Bytes>>);

impl Client {
    fn new() -> Self {
        Client(legacy::Client::builder(TokioExecutor::new()).build_http())
    }

    async fn send(&self, method: &str, url: &str, body: &str) -> Result<Response<Bytes>, CliError> {
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_owned())))?;
        let (head, body) = self.0.request(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }
}
