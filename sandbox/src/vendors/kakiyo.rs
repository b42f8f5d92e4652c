//! Kakiyo: one opaque text per conversation, and a bare confirmation as the answer.

use std::io;

use crate::credentials::{self, Keys, Problem};
use crate::http::{Answer, Refused, Request, target};
use crate::json::{Kind, Object, quote};
use crate::store::Store;

use super::check::{self, Choice};
use super::{Sample, Vendor};

pub(super) const NAME: &str = "kakiyo";
/// Keys are 40 characters long (docs.kakiyo.com/authentication).
const KEY: &str = "kky_sandbox_0123456789abcdefghijklmnopqr";
const KEY_LENGTH: usize = 40;
const MAX: usize = 3000;
/// A campaign whose id starts so belongs to another team; its chats are refused with 403.
const FOREIGN: &str = "foreign_";

pub(super) struct Kakiyo {
    store: Store,
    keys: Keys,
    over_limit: Choice,
}

impl Kakiyo {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            store: Store::new(include_str!("seeds/kakiyo.json"))?,
            keys: Keys::new(&[KEY]),
            over_limit: Choice::new("over_limit", &["refuse", "truncate"]),
        })
    }

    fn update(&self, id: &str, request: &Request<'_>) -> Answer {
        let body = match check::object(request) {
            Ok(body) => body,
            Err(check::NoObject::MediaType(why)) => return invalid(&why),
            Err(check::NoObject::Json(why)) => return invalid(&why.to_string()),
        };
        if let Some(name) = check::unknown(&body, &["customData"]) {
            return invalid(&format!("Unknown field: {name}"));
        }
        let Some(raw) = body.get("customData") else { return invalid("customData is required") };
        let Some((mut text, mut length)) = check::string(raw) else {
            return invalid("customData must be a string");
        };
        if length > MAX {
            // The page says both "maximum string length 3000" and "truncated to 3000".
            if self.over_limit.now() == "refuse" {
                return invalid("customData must be at most 3000 characters");
            }
            text = text.chars().take(MAX).collect();
            length = MAX;
        }
        let stored = self.store.with(id, |chat| {
            if foreign(chat) {
                return false;
            }
            chat.set("customData", quote(&text));
            true
        });
        match stored {
            None => not_found(),
            Some(false) => {
                error(403, "forbidden", "The chat does not belong to a campaign owned by your team")
            }
            Some(true) => {
                let saved = length > 0;
                let mut answer = Answer::json(
                    200,
                    format!(
                        r#"{{"message":"Conversation customData updated successfully","chatId":{},"customDataSaved":{saved},"customDataLength":{length}}}"#,
                        quote(id)
                    ),
                );
                answer.effect = true;
                answer
            }
        }
    }

    fn read(&self, id: &str) -> Answer {
        match self.store.with(id, |chat| (foreign(chat), chat.render(&["customData"]))) {
            None => not_found(),
            Some((true, _)) => {
                error(403, "forbidden", "The chat does not belong to a campaign owned by your team")
            }
            Some((false, text)) => Answer::json(200, text),
        }
    }
}

impl Vendor for Kakiyo {
    fn name(&self) -> &'static str {
        NAME
    }

    fn handle(&self, request: &Request<'_>) -> Answer {
        let Some(target) = target::split(&request.head.target) else { return not_found() };
        let segments: Vec<&str> = target.segments.iter().map(AsRef::as_ref).collect();
        let route = match (request.head.method.as_str(), segments.as_slice()) {
            ("PATCH", ["v1", "prospects", id, "custom-data"]) => Route::Update(id),
            ("GET", ["v1", "prospects", id]) => Route::Read(id),
            ("GET", ["v1", "verify"]) => Route::Verify,
            _ => return error(404, "not_found", "Route not found"),
        };
        match credentials::bearer(request.head) {
            Err(Problem::Missing) => return error(401, "missing_api_key", "API key is missing"),
            Ok(key) if key.len() == KEY_LENGTH && self.keys.has(key) => {}
            Ok(key) if key.len() == KEY_LENGTH => return error(401, "invalid_api_key", "API key is invalid"),
            Ok(_) | Err(_) => return error(401, "invalid_api_key_format", "API key format is invalid"),
        }
        if target.query.is_some() {
            return invalid("This endpoint takes no query parameters");
        }
        if !matches!(route, Route::Update(_)) && !request.body.is_empty() {
            return invalid("This endpoint takes no request body");
        }
        match route {
            Route::Update(id) => self.update(id, request),
            Route::Read(id) => self.read(id),
            Route::Verify => Answer::json(200, r#"{"status":"success","message":"API key is valid"}"#),
        }
    }

    fn refuse(&self, refused: &Refused, _target: &str) -> Answer {
        error(refused.status, "validation_error", &refused.message)
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn flaw(&self, conversation: &Object) -> Option<String> {
        check::flaw(conversation, &[("id", Kind::String), ("messages", Kind::Array)])
    }

    fn settings(&self) -> Vec<(&'static str, &'static [&'static str], &'static str)> {
        vec![self.over_limit.show()]
    }

    fn set(&self, _name: &str, value: &str) {
        self.over_limit.set(value);
    }

    fn reset_rest(&self) {
        self.over_limit.reset();
    }

    fn sample(&self) -> Sample {
        Sample {
            parent: None,
            conversations: vec!["chat_12345abcde"],
            update_path: "/v1/prospects/{id}/custom-data",
            update: r#"{"customData":"John replied positively to the AI outbound post; reference that follow-up."}"#,
            effective: r#"{"customData":"effective"}"#,
            update_headers: Vec::new(),
        }
    }
}

enum Route<'a> {
    Update(&'a str),
    Read(&'a str),
    Verify,
}

fn foreign(chat: &Object) -> bool {
    let campaign = chat.get("campaign").and_then(|raw| Object::parse(raw).ok());
    campaign.and_then(|campaign| campaign.text("id")).is_some_and(|id| id.starts_with(FOREIGN))
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::json(status, format!(r#"{{"error":{},"message":{}}}"#, quote(code), quote(message)))
}

fn invalid(message: &str) -> Answer {
    error(400, "validation_error", message)
}

fn not_found() -> Answer {
    error(404, "not_found", "Conversation not found")
}
