//! A sandbox for one test, and the requests of its vendors.

#![expect(dead_code, reason = "each test file uses its own part")]

use std::ops::Deref;

use parlance_sandbox::Options;
use serde_json::{Value, json};
use testkit::blocking::{Connection, Sandbox, eventually};
use testkit::{Reply, Request};

/// A running sandbox on ports of the system's choice.
pub(crate) struct Rig(Sandbox);

impl Deref for Rig {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.0
    }
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        Rig(Sandbox::with(options))
    }

    pub(crate) fn stop(self) {
        self.0.stop();
    }

    /// The credential's field, in the scheme the vendor's document shows.
    pub(crate) fn auth(&self, vendor: &str) -> (String, String) {
        match vendor {
            "sigmamind" => ("X-API-Key".into(), self.key(vendor)),
            _ => ("Authorization".into(), format!("Bearer {}", self.key(vendor))),
        }
    }

    /// The path of an update of a vendor's first seeded conversation.
    pub(crate) fn path(&self, vendor: &str) -> String {
        let sample = &self.samples()[vendor];
        sample
            .update_path
            .replace("{parent}", sample.parent.unwrap_or(""))
            .replace("{id}", sample.conversations[0])
    }

    /// The body of an update that has an effect.
    pub(crate) fn effective(&self, vendor: &str) -> &'static str {
        self.samples()[vendor].effective
    }

    pub(crate) fn connect(&self, vendor: &str) -> Connection {
        Connection::open(self.address(vendor))
    }

    pub(crate) fn fault(&self, rule: &Value) {
        let reply = self.ask("POST", "/faults", rule);
        assert_eq!(reply.status, 201, "{reply:?}");
    }

    pub(crate) fn entries(&self, vendor: &str) -> Vec<Value> {
        let ledger = self.control("GET", &format!("/ledger?vendor={vendor}"), Value::Null);
        ledger["entries"].as_array().unwrap().clone()
    }

    pub(crate) fn last(&self, vendor: &str) -> Value {
        self.entries(vendor).pop().unwrap_or_default()
    }

    /// The last entry once it is finished; faults finish after the client has seen the end.
    pub(crate) fn finished(&self, vendor: &str) -> Value {
        let mut last = Value::Null;
        eventually("the exchange is over", || {
            last = self.last(vendor);
            !last["end"].is_null()
        });
        last
    }

    /// The fields of a correct update: the vendor's credential, the content type, and what else it asks for.
    pub(crate) fn fields(&self, vendor: &str) -> Vec<(String, String)> {
        let more = self.samples()[vendor].update_headers.clone().into_iter();
        let mut fields = vec![self.auth(vendor), ("Content-Type".into(), "application/json".into())];
        fields.extend(more.map(|(name, _)| (name.to_owned(), unique())));
        fields
    }

    /// A correct update, as bytes.
    pub(crate) fn update(&self, vendor: &str, body: &str) -> Vec<u8> {
        let fields = self.fields(vendor);
        let request = Request::new("PATCH", &self.path(vendor)).body(body);
        fields.iter().fold(request, |request, (name, value)| request.header(name, value)).encode()
    }

    pub(crate) fn patch(&self, vendor: &str, body: &str) -> Reply {
        let mut connection = self.connect(vendor);
        connection.write(&self.update(vendor, body));
        connection.reply()
    }

    pub(crate) fn call(
        &self,
        vendor: &str,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        self.connect(vendor).exchange(&request(method, path, fields, body))
    }

    pub(crate) fn get(&self, vendor: &str, path: &str) -> Reply {
        let (name, value) = self.auth(vendor);
        self.call(vendor, "GET", path, &[(&name, &value)], "")
    }

    /// The path at which the first seeded conversation is read.
    pub(crate) fn read_path(&self, vendor: &str) -> String {
        self.path(vendor).trim_end_matches("/custom-data").to_owned()
    }
}

/// The names of all vendors.
pub(crate) fn vendors() -> impl Iterator<Item = &'static str> {
    parlance_sandbox::vendors().iter().copied()
}

pub(crate) fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("key-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A request with a length wherever it may have a body.
pub(crate) fn request(method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Request {
    let request = Request::new(method, path).headers(fields).body(body);
    if method == "GET" || !body.is_empty() { request } else { request.header("Content-Length", "0") }
}

/// A rule for one vendor, with more members.
pub(crate) fn rule(vendor: &str, mode: &str, more: &Value) -> Value {
    let mut rule = json!({"vendor": vendor, "mode": mode});
    for (name, value) in more.as_object().cloned().unwrap_or_default() {
        rule[name] = value;
    }
    rule
}
