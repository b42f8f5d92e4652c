//! The control side: what was received, what shall go wrong, what is stored.

mod show;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::credentials::Client;
use crate::faults::{self, Faults, Spec};
use crate::http::head::{self, NoHead};
use crate::http::{Answer, Head, Refused, Request, Stream, body, target};
use crate::json::{self, Kind, Object, quote};
use crate::ledger::Ledger;
use crate::vendors::{self, Vendor};

/// Conversations and canned answers may be large.
const BODY_CAP: usize = 16 << 20;
const LINGER: std::time::Duration = std::time::Duration::from_secs(1);

/// Everything the control side works on.
pub(crate) struct Control {
    vendors: Vec<Arc<dyn Vendor>>,
    addresses: Vec<(&'static str, String)>,
    ledger: Arc<Ledger>,
    faults: Arc<Faults>,
}

/// A request that cannot be done: the status, what is wrong and what to do instead.
struct Wrong(u16, String);

type Done = Result<Answer, Wrong>;

fn wrong<T>(message: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong(400, message.into()))
}

fn ok() -> Done {
    Ok(Answer::json(200, r#"{"ok":true}"#))
}

impl Control {
    pub(crate) fn new(
        vendors: Vec<Arc<dyn Vendor>>,
        addresses: Vec<(&'static str, String)>,
        ledger: Arc<Ledger>,
        faults: Arc<Faults>,
    ) -> Self {
        Self { vendors, addresses, ledger, faults }
    }

    /// Serves a connection to its end.
    pub(crate) async fn serve(self: Arc<Self>, tcp: TcpStream) {
        // A socket that refuses is gone already.
        let _ = tcp.set_nodelay(true);
        let mut stream = Stream::Plain(tcp);
        let mut buffer = BytesMut::with_capacity(8 << 10);
        while let Some(bytes) = self.exchange(&mut stream, &mut buffer).await {
            if stream.write_all(&bytes).await.is_err() {
                return;
            }
        }
        faults::close_gently(&mut stream, LINGER).await;
    }

    /// Reads one request and answers it; `None` when the connection is over.
    async fn exchange(&self, stream: &mut Stream, buffer: &mut BytesMut) -> Option<Vec<u8>> {
        let refused =
            |refused: &Refused| error(refused.status, &refused.message).with("connection", "close").encode();
        let head = match head::read(stream, buffer).await {
            Ok(head) => head,
            Err(NoHead::Refused(why)) => {
                // Nothing is left to be said when the peer is gone.
                let _ = stream.write_all(&refused(&why)).await;
                return None;
            }
            Err(NoHead::Closed | NoHead::Cut(_)) => return None,
        };
        let read = match head::check(&head) {
            Ok(framing) => {
                body::read(stream, buffer, &head, framing, BODY_CAP).await.map_err(|why| why.refused)
            }
            Err(why) => Err(Some(why)),
        };
        match read {
            Ok(body) if head.wants_close() => {
                let bytes =
                    self.handle(&Request { head: &head, body: &body }).with("connection", "close").encode();
                // As above.
                let _ = stream.write_all(&bytes).await;
                None
            }
            Ok(body) => Some(self.handle(&Request { head: &head, body: &body }).encode()),
            Err(why) => {
                if let Some(why) = why {
                    // As above.
                    let _ = stream.write_all(&refused(&why)).await;
                }
                None
            }
        }
    }

    fn handle(&self, request: &Request<'_>) -> Answer {
        if !local(request.head) {
            let message = "the control side answers local tools only: use a loopback address as Host and send no Origin";
            return error(403, message);
        }
        self.route(request).unwrap_or_else(|Wrong(status, message)| error(status, &message))
    }

    fn route(&self, request: &Request<'_>) -> Done {
        let bad_path = || Wrong(404, "the path is not one of those that GET / lists".into());
        let raw = request.head.target.as_str();
        if request.head.method == "GET" && raw == "/" {
            return Ok(Answer::json(200, show::help(&self.addresses)));
        }
        let target = target::split(raw).ok_or_else(bad_path)?;
        let segments: Vec<&str> = target.segments.iter().map(AsRef::as_ref).collect();
        if target.query.is_some()
            && (request.head.method.as_str(), segments.as_slice()) != ("GET", ["ledger"].as_slice())
        {
            return wrong("only GET /ledger takes query parameters");
        }
        match (request.head.method.as_str(), segments.as_slice()) {
            ("GET", ["ledger"]) => self.ledger(target.query),
            ("PUT", ["ledger"]) => {
                let given = members(request, &["enabled"])?;
                match given.get("enabled") {
                    Some("true") => self.ledger.enable(true),
                    Some("false") => self.ledger.enable(false),
                    _ => return wrong("send {\"enabled\": true} or {\"enabled\": false}"),
                }
                ok()
            }
            ("DELETE", ["ledger"]) => {
                self.ledger.clear();
                ok()
            }
            ("GET", ["ledger", "summary"]) => {
                let (totals, dropped) = self.ledger.totals();
                Ok(Answer::json(
                    200,
                    show::summary(vendors::names(), &totals, dropped, self.ledger.enabled()),
                ))
            }
            ("GET", ["faults"]) => Ok(Answer::json(200, self.faults.show())),
            ("POST", ["faults"]) => self.add_faults(request),
            ("DELETE", ["faults"]) => {
                Ok(Answer::json(200, format!(r#"{{"deleted":{}}}"#, self.faults.clear())))
            }
            ("POST", ["reset"]) => {
                self.vendors.iter().for_each(|vendor| vendors::reset(vendor.as_ref()));
                self.faults.clear();
                self.ledger.clear();
                ok()
            }
            ("GET", ["conversations", vendor, ids @ ..]) => {
                let (vendor, key) = self.conversation(vendor, ids)?;
                let text = vendor.store().with(&key, |conversation| conversation.render(&[]));
                text.map(|text| Answer::json(200, text))
                    .ok_or_else(|| Wrong(404, format!("no conversation {key:?} is stored")))
            }
            ("PUT", ["conversations", vendor, ids @ ..]) => {
                let (vendor, key) = self.conversation(vendor, ids)?;
                let conversation = object(request)?;
                match vendor.flaw(&conversation) {
                    Some(flaw) => wrong(format!("not a conversation of this vendor: {flaw}")),
                    None if vendor.store().put(&key, conversation) => ok(),
                    None => Err(Wrong(507, "no more conversations are taken; POST /reset first".into())),
                }
            }
            ("PUT", ["credentials", vendor]) => self.credentials(vendor, request),
            ("GET", ["settings", vendor]) => {
                Ok(Answer::json(200, show::settings(&self.vendor(vendor)?.settings())))
            }
            ("PUT", ["settings", vendor]) => self.settings(vendor, request),
            ("POST", ["tokens", "revoke"]) => {
                let revoked: usize =
                    self.vendors.iter().filter_map(|v| v.tokens()).map(|(_, tokens)| tokens.revoke()).sum();
                Ok(Answer::json(200, format!(r#"{{"revoked":{revoked}}}"#)))
            }
            ("PUT", ["tokens"]) => {
                let given = members(request, &["expires_in"])?;
                let Some(seconds) = given.get("expires_in").and_then(|raw| raw.parse().ok()) else {
                    return wrong("send {\"expires_in\": seconds}; it holds for tokens issued from now on");
                };
                self.vendors
                    .iter()
                    .filter_map(|v| v.tokens())
                    .for_each(|(_, tokens)| tokens.set_expires_in(seconds));
                ok()
            }
            _ => Err(bad_path()),
        }
    }

    fn vendor(&self, name: &str) -> Result<&dyn Vendor, Wrong> {
        let found = self.vendors.iter().find(|vendor| vendor.name() == name);
        let names = || vendors::names().join(", ");
        found
            .map(AsRef::as_ref)
            .ok_or_else(|| Wrong(404, format!("no vendor {name:?}; the vendors are {}", names())))
    }

    fn conversation(&self, vendor: &str, ids: &[&str]) -> Result<(&dyn Vendor, String), Wrong> {
        let vendor = self.vendor(vendor)?;
        if ids.len() == vendor.ids() {
            return Ok((vendor, ids.join("/")));
        }
        wrong(format!("a conversation of {} is named by {} id(s) in the path", vendor.name(), vendor.ids()))
    }

    fn ledger(&self, query: Option<&str>) -> Done {
        let pairs = query.map_or(Some(Vec::new()), |query| target::pairs(query, &["vendor", "since", "id"]));
        let Some(pairs) = pairs else {
            return wrong("the query parameters are vendor, since and id, each once");
        };
        let (mut vendor, mut since, mut id) = (None, 0, None);
        for (name, value) in &pairs {
            match name.as_ref() {
                "vendor" => vendor = Some(self.vendor(value)?.name()),
                "since" => match value.parse() {
                    Ok(number) => since = number,
                    Err(_) => return wrong("since is the sequence number after which to begin"),
                },
                _ => id = Some(value.as_ref()),
            }
        }
        let named = |text: &str| {
            id.is_none_or(|id| target::split(text).is_some_and(|t| t.segments.iter().any(|s| s == id)))
        };
        let of = |name: &str| vendor.is_none_or(|vendor| vendor == name);
        let view = self
            .ledger
            .view(|e| e.sequence > since && of(e.vendor) && named(&e.head.target), |c| of(c.vendor));
        Ok(Answer::json(200, show::ledger(&view, self.ledger.enabled())))
    }

    fn add_faults(&self, request: &Request<'_>) -> Done {
        let text = text(request)?;
        let trimmed = text.trim();
        let rules = if trimmed.starts_with('[') { json::elements(trimmed) } else { vec![trimmed] };
        if rules.is_empty() {
            return wrong("send one rule or a list of rules, each a JSON object with a \"mode\"");
        }
        let specs =
            rules.into_iter().map(|raw| Spec::parse(raw, vendors::names())).collect::<Result<Vec<_>, _>>();
        let ids = specs.and_then(|specs| self.faults.add(specs)).map_err(|why| Wrong(400, why))?;
        let ids = ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        Ok(Answer::json(201, format!(r#"{{"ids":[{ids}]}}"#)))
    }

    fn credentials(&self, vendor: &str, request: &Request<'_>) -> Done {
        let vendor = self.vendor(vendor)?;
        let given = members(request, &["accept", "clients"])?;
        let help = "send {\"accept\": [\"key\", ...]} and, for a vendor with a token endpoint, {\"clients\": [{\"client_id\", \
                    \"client_secret\", \"scope\"}, ...]}";
        let keys = given.get("accept").map(serde_json::from_str::<Vec<String>>).transpose();
        let Ok(keys) = keys else { return wrong(help) };
        let clients =
            given.get("clients").map(|raw| clients(raw).ok_or(Wrong(400, help.into()))).transpose()?;
        match (clients, vendor.tokens()) {
            (None, _) if keys.is_none() => return wrong(help),
            (Some(_), None) => return wrong(format!("{} has no token endpoint", vendor.name())),
            (Some(clients), Some((_, tokens))) => tokens.replace_clients(clients),
            (None, _) => {}
        }
        if let Some(keys) = keys {
            vendor.keys().replace(keys);
        }
        ok()
    }

    fn settings(&self, vendor: &str, request: &Request<'_>) -> Done {
        let vendor = self.vendor(vendor)?;
        let known = vendor.settings();
        let names: Vec<&str> = known.iter().map(|(name, ..)| *name).collect();
        let given = members(request, &names)?;
        let mut changes = Vec::new();
        for (name, values, _) in known {
            match given.get(name).map(json::string) {
                None => {}
                Some(Some(value)) if values.contains(&value.as_str()) => changes.push((name, value)),
                Some(_) => return wrong(format!("{name:?} must be one of {}", values.join(", "))),
            }
        }
        changes.iter().for_each(|(name, value)| vendor.set(name, value));
        ok()
    }
}

fn clients(raw: &str) -> Option<Vec<Client>> {
    if json::kind(raw) != Kind::Array {
        return None;
    }
    let one = |raw: &str| {
        let object = Object::parse(raw).ok()?;
        let text = |name| object.text(name);
        Some(Client {
            client_id: text("client_id")?,
            client_secret: text("client_secret")?,
            scope: text("scope")?,
        })
    };
    json::elements(raw).into_iter().map(one).collect()
}

/// A page in a browser can reach loopback too; it cannot hide its origin, nor that it used a foreign name.
fn local(head: &Head) -> bool {
    let host = head.one("host").ok().flatten().unwrap_or_default();
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(name, _)| name);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let loopback =
        name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback());
    loopback && head.all("origin").next().is_none()
}

fn text<'a>(request: &Request<'a>) -> Result<&'a str, Wrong> {
    std::str::from_utf8(request.body).or_else(|_| wrong("the body must be UTF-8"))
}

fn object(request: &Request<'_>) -> Result<Object, Wrong> {
    Object::parse(text(request)?).map_err(|why| Wrong(400, format!("the body must be a JSON object: {why}")))
}

fn members(request: &Request<'_>, known: &[&str]) -> Result<Object, Wrong> {
    let object = object(request)?;
    if let Some((odd, _)) = object.iter().find(|(name, _)| !known.contains(name)) {
        return wrong(format!("unknown member {odd:?}; known here: {}", known.join(", ")));
    }
    Ok(object)
}

fn error(status: u16, message: &str) -> Answer {
    Answer::json(status, format!(r#"{{"error":{}}}"#, quote(message)))
}
