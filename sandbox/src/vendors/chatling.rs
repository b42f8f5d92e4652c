//! Chatling: two ids in the path, two flags and a contact to write, the flags answered as 0 and 1.

use std::io;

use crate::credentials::{self, Keys};
use crate::http::{Answer, Refused, Request, target};
use crate::json::{self, Bad, Kind, Object, quote};
use crate::store::Store;

use super::check::{self, NoObject};
use super::{Sample, Vendor};

pub(super) const NAME: &str = "chatling";
const KEY: &str = "chatling-sandbox-key-Xh2mQ8vT4rZk";
/// A conversation comes with its most recent messages only.
const WINDOW: usize = 20;

pub(super) struct Chatling {
    store: Store,
    keys: Keys,
}

impl Chatling {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { store: Store::new(include_str!("seeds/chatling.json"))?, keys: Keys::new(&[KEY]) })
    }

    fn update(&self, key: &str, request: &Request<'_>) -> Answer {
        let body = match check::object(request) {
            Ok(body) => body,
            Err(NoObject::MediaType(why)) => return error(415, &why),
            Err(NoObject::Json(why @ Bad::Syntax(_))) => return error(400, &why.to_string()),
            Err(NoObject::Json(why)) => return error(422, &why.to_string()),
        };
        if let Some(name) = check::unknown(&body, &["archive", "important", "contact_id"]) {
            return error(422, &format!("The {name} field is not known."));
        }
        if body.is_empty() {
            return error(
                422,
                "At least one of the following properties is required: archive, important, contact_id.",
            );
        }
        let mut changes: Vec<(&str, String)> = Vec::with_capacity(3);
        for (name, raw) in body.iter() {
            changes.push(match (name, raw) {
                ("archive", "true") => ("archived", "1".into()),
                ("archive", "false") => ("archived", "0".into()),
                ("important", "true") => ("important", "1".into()),
                ("important", "false") => ("important", "0".into()),
                ("contact_id", _) => match check::string(raw) {
                    Some((_, length)) if (1..=255).contains(&length) => ("contact_id", raw.to_owned()),
                    _ => return error(422, "The contact_id field must be a string of 1 to 255 characters."),
                },
                _ => return error(422, &format!("The {name} field must be true or false.")),
            });
        }
        let stored = self.store.with(key, |conversation| {
            for (name, raw) in changes {
                conversation.set(name, raw);
            }
            success(conversation)
        });
        stored.map_or_else(not_found, |mut answer| {
            answer.effect = true;
            answer
        })
    }
}

impl Vendor for Chatling {
    fn name(&self) -> &'static str {
        NAME
    }

    fn handle(&self, request: &Request<'_>) -> Answer {
        let Some(target) = target::split(&request.head.target) else { return error(404, "Not found") };
        let segments: Vec<&str> = target.segments.iter().map(AsRef::as_ref).collect();
        let ["v2", "chatbots", chatbot, "conversations", conversation] = segments.as_slice() else {
            return error(404, "Not found");
        };
        let update = match request.head.method.as_str() {
            "PATCH" => true,
            "GET" => false,
            _ => return error(405, "Method not allowed").with("allow", "GET, PATCH"),
        };
        if !credentials::bearer(request.head).is_ok_and(|key| self.keys.has(key)) {
            return error(401, "Unauthorized");
        }
        if target.query.is_some() {
            return error(422, "This endpoint takes no query parameters.");
        }
        let key = format!("{chatbot}/{conversation}");
        if update {
            self.update(&key, request)
        } else if request.body.is_empty() {
            self.store.with(&key, |conversation| success(conversation)).unwrap_or_else(not_found)
        } else {
            error(422, "This endpoint takes no request body.")
        }
    }

    fn refuse(&self, refused: &Refused, _target: &str) -> Answer {
        error(refused.status, &refused.message)
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn ids(&self) -> usize {
        2
    }

    fn flaw(&self, conversation: &Object) -> Option<String> {
        check::flaw(
            conversation,
            &[("id", Kind::String), ("created_at", Kind::String), ("messages", Kind::Array)],
        )
    }

    fn sample(&self) -> Sample {
        Sample {
            parent: Some("9761342719"),
            conversations: vec!["8977617953"],
            update_path: "/v2/chatbots/{parent}/conversations/{id}",
            // The page prints no body; its sample answer is what this one leads to.
            update: r#"{"archive":false,"important":true,"contact_id":"qtr89df0-112d-d197-b541-3f8674663246"}"#,
            effective: r#"{"archive":true}"#,
            update_headers: Vec::new(),
        }
    }
}

/// The envelope around a conversation. Messages are kept newest first, as they are answered.
fn success(conversation: &Object) -> Answer {
    let messages = conversation.get("messages").map(json::elements).unwrap_or_default();
    let text = if messages.len() > WINDOW {
        let window = json::array(messages.into_iter().take(WINDOW));
        let mut part = conversation.clone();
        part.set("messages", window);
        part.render(&[])
    } else {
        conversation.render(&[])
    };
    Answer::json(200, format!(r#"{{"status":"success","data":{text}}}"#))
}

fn error(status: u16, message: &str) -> Answer {
    Answer::json(status, format!(r#"{{"status":"error","message":{}}}"#, quote(message)))
}

fn not_found() -> Answer {
    error(404, "Conversation not found")
}
