//! Acme: simulated from its documents. Say here what is strict, and what no document says.

use std::io;

use crate::credentials::{self, Keys};
use crate::http::{Answer, Refused, Request, target};
use crate::json::{self, Kind, Object, quote};
use crate::store::Store;

use super::check::{self, NoObject};
use super::{Sample, Vendor};

pub(super) const NAME: &str = "acme";
const KEY: &str = "acme-sandbox-key";

pub(super) struct Acme {
    store: Store,
    keys: Keys,
}

impl Acme {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { store: Store::new(include_str!("seeds/acme.json"))?, keys: Keys::new(&[KEY]) })
    }

    fn update(&self, id: &str, request: &Request<'_>) -> Answer {
        let body = match check::object(request) {
            Ok(body) => body,
            Err(NoObject::MediaType(reason)) => return error(415, &reason),
            Err(NoObject::Json(reason)) => return error(400, &reason.to_string()),
        };
        if body.is_empty() {
            return error(400, "Nothing to change");
        }
        if let Some(name) = check::unknown(&body, &["title", "metadata"]) {
            return error(400, &format!("Unknown field {name:?}"));
        }
        if body.get("title").is_some_and(|raw| !matches!(json::kind(raw), Kind::String | Kind::Null)) {
            return error(400, "title must be a string or null");
        }
        if body.get("metadata").is_some_and(|raw| !matches!(json::kind(raw), Kind::Object | Kind::Null)) {
            return error(400, "metadata must be an object or null");
        }
        let updated = self.store.with(id, |conversation| {
            for (name, raw) in body.iter() {
                conversation.set(name, raw);
            }
            conversation.render(&[])
        });
        let Some(text) = updated else { return error(404, "No such conversation") };
        let mut answer = Answer::json(200, text);
        answer.effect = true;
        answer
    }
}

impl Vendor for Acme {
    fn name(&self) -> &'static str {
        NAME
    }

    fn handle(&self, request: &Request<'_>) -> Answer {
        let Some(target) = target::split(&request.head.target) else { return error(404, "No such path") };
        let segments: Vec<&str> = target.segments.iter().map(AsRef::as_ref).collect();
        let ["v1", "conversations", id] = segments.as_slice() else { return error(404, "No such path") };
        let is_update = match request.head.method.as_str() {
            "PATCH" => true,
            "GET" => false,
            _ => return error(405, "Method not allowed").with("allow", "GET, PATCH"),
        };
        if !credentials::bearer(request.head).is_ok_and(|key| self.keys.has(key)) {
            return error(401, "Invalid API key");
        }
        if target.query.is_some() {
            return error(400, "No query parameters are taken");
        }
        if is_update {
            return self.update(id, request);
        }
        if !request.body.is_empty() {
            return error(400, "No request body is taken");
        }
        let read = self.store.with(id, |conversation| Answer::json(200, conversation.render(&[])));
        read.unwrap_or_else(|| error(404, "No such conversation"))
    }

    fn refuse(&self, refused: &Refused, _: &str) -> Answer {
        error(refused.status, &refused.message)
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn flaw(&self, conversation: &Object) -> Option<String> {
        check::flaw(conversation, &[("id", Kind::String)])
    }

    fn sample(&self) -> Sample {
        Sample {
            parent: None,
            conversations: vec!["conv_1"],
            update_path: "/v1/conversations/{id}",
            update: r#"{"title":"Delivery","metadata":{"order_id":"A-1001"}}"#,
            effective: r#"{"title":"effective"}"#,
            update_headers: Vec::new(),
        }
    }
}

fn error(status: u16, message: &str) -> Answer {
    Answer::json(status, format!(r#"{{"error":{{"message":{}}}}}"#, quote(message)))
}
