//! SigmaMind: the key in its own field, variables for the agent, only chats in progress can be updated.

use std::io;

use crate::clock;
use crate::credentials::{self, Keys};
use crate::http::{Answer, Refused, Request, answer, target};
use crate::json::{self, Kind, Object, quote};
use crate::store::Store;

use super::check::{self, Choice, NoObject};
use super::{Sample, Vendor};

pub(super) const NAME: &str = "sigmamind";
const KEY: &str = "sgm-sandbox-8fJq2Lw9RtYx";
const MAX_AGENT_ID: usize = 64;
/// Ids are sent without this and answered with it.
const AGENT_PREFIX: &str = "agent_";

pub(super) struct SigmaMind {
    store: Store,
    keys: Keys,
    variables: Choice,
}

impl SigmaMind {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            store: Store::new(include_str!("seeds/sigmamind.json"))?,
            keys: Keys::new(&[KEY]),
            variables: Choice::new("dynamic_variables", &["replace", "merge"]),
        })
    }

    fn update(&self, id: &str, request: &Request<'_>) -> Answer {
        let path = &request.head.target;
        let body = match check::object(request) {
            Ok(body) => body,
            Err(NoObject::MediaType(why)) => return error(415, &why, path),
            Err(NoObject::Json(why)) => return error(400, &why.to_string(), path),
        };
        if let Some(name) = check::unknown(&body, &["agentId", "dynamicVariables"]) {
            return error(400, &format!("Unrecognized field \"{name}\""), path);
        }
        if body.is_empty() {
            return error(400, "At least one of agentId, dynamicVariables must be given", path);
        }
        let agent = match body.get("agentId").map(check::string) {
            None => None,
            Some(Some((text, length))) if (1..=MAX_AGENT_ID).contains(&length) => Some(text),
            Some(_) => return error(400, "agentId must be a string of 1 to 64 characters", path),
        };
        let variables = match body.get("dynamicVariables") {
            Some(raw) if json::kind(raw) != Kind::Object => {
                return error(400, "dynamicVariables must be an object", path);
            }
            other => other,
        };
        let merge = self.variables.now() == "merge";
        let done = self.store.with(id, |chat| {
            if !matches!(chat.text("status").as_deref(), Some("in_progress" | "in-progress")) {
                return None;
            }
            if let Some(agent) = agent {
                let agent = assigned(chat, &agent);
                chat.set("agent", agent);
            }
            if let Some(raw) = variables {
                let raw = if merge { merged(chat.get("dynamicVariables"), raw) } else { raw.to_owned() };
                chat.set("dynamicVariables", raw);
            }
            Some(chat.render(&[]))
        });
        match done {
            None => error(404, "Chat not found", path),
            Some(None) => error(409, "Only a chat that is in_progress can be updated", path),
            Some(Some(text)) => {
                let mut answer = Answer::json(200, text);
                answer.effect = true;
                answer
            }
        }
    }
}

impl Vendor for SigmaMind {
    fn name(&self) -> &'static str {
        NAME
    }

    fn handle(&self, request: &Request<'_>) -> Answer {
        let path = &request.head.target;
        let Some(target) = target::split(path) else { return error(404, "No static resource", path) };
        let segments: Vec<&str> = target.segments.iter().map(AsRef::as_ref).collect();
        let ["v1", "chats", id] = segments.as_slice() else { return error(404, "No static resource", path) };
        let update = match request.head.method.as_str() {
            "PATCH" => true,
            "GET" => false,
            other => {
                return error(405, &format!("Method '{other}' is not supported."), path)
                    .with("allow", "GET,PATCH");
            }
        };
        if !credentials::api_key(request.head).is_ok_and(|key| self.keys.has(key)) {
            return error(401, "Invalid or missing API key", path);
        }
        if target.query.is_some() {
            return error(400, "This endpoint takes no query parameters", path);
        }
        if update {
            self.update(id, request)
        } else if request.body.is_empty() {
            let read = self.store.with(id, |chat| Answer::json(200, chat.render(&[])));
            read.unwrap_or_else(|| error(404, "Chat not found", path))
        } else {
            error(400, "This endpoint takes no request body", path)
        }
    }

    fn refuse(&self, refused: &Refused, target: &str) -> Answer {
        error(refused.status, &refused.message, target)
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn flaw(&self, conversation: &Object) -> Option<String> {
        check::flaw(conversation, &[("chatId", Kind::String), ("status", Kind::String)])
    }

    fn settings(&self) -> Vec<(&'static str, &'static [&'static str], &'static str)> {
        vec![self.variables.show()]
    }

    fn set(&self, _name: &str, value: &str) {
        self.variables.set(value);
    }

    fn reset_rest(&self) {
        self.variables.reset();
    }

    fn sample(&self) -> Sample {
        Sample {
            parent: None,
            conversations: vec!["chat-d17T6uReChpyfFeP"],
            update_path: "/v1/chats/{id}",
            update: r#"{"agentId":"D5D0p7TUs66TTAEAx","dynamicVariables":{"customer_name":"Michael"}}"#,
            effective: r#"{"dynamicVariables":{"effective":true}}"#,
            update_headers: Vec::new(),
        }
    }
}

/// The agent of a chat after another was assigned; the same one keeps its name and status.
fn assigned(chat: &Object, id: &str) -> String {
    let full = if id.starts_with(AGENT_PREFIX) { id.to_owned() } else { format!("{AGENT_PREFIX}{id}") };
    let mut agent = chat.get("agent").and_then(|raw| Object::parse(raw).ok()).unwrap_or_default();
    if agent.text("agentId").as_deref() != Some(full.as_str()) {
        agent.set("name", quote("New AI Agent"));
        agent.set("agentId", quote(&full));
        agent.set("status", quote("Live"));
    }
    agent.render(&[])
}

fn merged(old: Option<&str>, new: &str) -> String {
    let mut all = old.and_then(|raw| Object::parse(raw).ok()).unwrap_or_default();
    for (name, raw) in Object::parse(new).unwrap_or_default().iter() {
        all.set(name, raw);
    }
    all.render(&[])
}

/// No page of the vendor shows an error; this is the default body of the framework its schemas point to.
fn error(status: u16, message: &str, path: &str) -> Answer {
    let path = path.split('?').next().unwrap_or_default();
    Answer::json(
        status,
        format!(
            r#"{{"timestamp":{},"status":{status},"error":{},"message":{},"path":{}}}"#,
            quote(&clock::now()),
            quote(answer::reason(status)),
            quote(message),
            quote(path)
        ),
    )
}
