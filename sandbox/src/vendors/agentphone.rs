//! AgentPhone: metadata and the group's name, absent and null told apart, errors in three official shapes.

use std::cmp::Reverse;
use std::io;

use jiff::Timestamp;

use crate::credentials::{self, Keys};
use crate::http::{Answer, Refused, Request, target};
use crate::json::{self, Kind, Object, quote};
use crate::store::Store;

use super::check::{self, Choice, NoObject};
use super::fastapi::Item;
use super::{Sample, Vendor};

pub(super) const NAME: &str = "agentphone";
const KEY: &str = "ap_sandbox_live_5tGb7YhN";
const DEFAULT_MESSAGES: usize = 50;

pub(super) struct AgentPhone {
    store: Store,
    keys: Keys,
    errors: Choice,
}

enum Route<'a> {
    Update(&'a str),
    Read(&'a str),
    List,
    Messages(&'a str),
}

impl AgentPhone {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            store: Store::new(include_str!("seeds/agentphone.json"))?,
            keys: Keys::new(&[KEY]),
            errors: Choice::new("error_shape", &["by_class", "docs", "openapi", "detail"]),
        })
    }

    /// Official pages show three shapes. By class: a plain `detail` for credentials (the vendor's adapter), an array for
    /// what is invalid (its OpenAPI document), the nested object for the rest (its error page).
    fn error(&self, status: u16, code: &str, item: &Item) -> Answer {
        let shape = match (self.errors.now(), status) {
            ("by_class", 401) => "detail",
            ("by_class", 422) => "openapi",
            ("by_class", _) => "docs",
            (chosen, _) => chosen,
        };
        let message = quote(&item.message);
        let body = match shape {
            "detail" => format!(r#"{{"detail":{message}}}"#),
            "openapi" => item.detail(),
            _ => {
                let details = match item.field.last() {
                    Some(field) if status == 422 => {
                        format!(
                            r#"{{"field":{},"message":{message},"type":{}}}"#,
                            quote(field),
                            quote(item.kind)
                        )
                    }
                    _ => String::new(),
                };
                let kind = quote(item.kind);
                format!(
                    r#"{{"error":{{"message":{message},"code":{},"type":{kind},"details":[{details}]}}}}"#,
                    quote(code)
                )
            }
        };
        Answer::json(status, body)
    }

    fn plain(&self, status: u16, code: &str, kind: &'static str, message: &str) -> Answer {
        self.error(status, code, &Item { field: Vec::new(), message: message.into(), kind })
    }

    fn invalid(&self, item: &Item) -> Answer {
        self.error(422, "VALIDATION_ERROR", item)
    }

    fn not_found(&self) -> Answer {
        let message = "Conversation doesn't exist or you don't have access";
        self.plain(404, "CONVERSATION_NOT_FOUND", "not_found_error", message)
    }

    fn update(&self, id: &str, request: &Request<'_>) -> Answer {
        let body = match check::object(request) {
            Ok(body) => body,
            Err(NoObject::MediaType(why)) => {
                return self.plain(415, "VALIDATION_ERROR", "invalid_request_error", &why);
            }
            Err(why) => return self.invalid(&Item::no_object(&why)),
        };
        if let Some(name) = check::unknown(&body, &["metadata", "group_name"]) {
            return self.invalid(&Item::body(name, "Extra inputs are not permitted", "extra_forbidden"));
        }
        if body.get("metadata").is_some_and(|raw| !matches!(json::kind(raw), Kind::Object | Kind::Null)) {
            return self.invalid(&Item::body("metadata", "Input should be a valid dictionary", "dict_type"));
        }
        if body.get("group_name").is_some_and(|raw| !matches!(json::kind(raw), Kind::String | Kind::Null)) {
            return self.invalid(&Item::body("group_name", "Input should be a valid string", "string_type"));
        }
        let done = self.store.with(id, |conversation| {
            let mut effect = false;
            if let Some(raw) = body.get("metadata") {
                conversation.set("metadata", raw);
                effect = true;
            }
            // A name is ignored where there is no group to rename.
            if let Some(raw) = body.get("group_name").filter(|_| conversation.get("isGroup") == Some("true"))
            {
                conversation.set("groupName", raw);
                effect = true;
            }
            let mut answer = detail(conversation, DEFAULT_MESSAGES);
            answer.effect = effect;
            answer
        });
        done.unwrap_or_else(|| self.not_found())
    }

    fn read(&self, id: &str, query: Option<&str>) -> Answer {
        let limit = match numbers(query, [("message_limit", DEFAULT_MESSAGES, 1, 100)]) {
            Ok([limit]) => limit,
            Err(why) => return self.invalid(&Item::query(why)),
        };
        self.store.with(id, |conversation| detail(conversation, limit)).unwrap_or_else(|| self.not_found())
    }

    fn list(&self, query: Option<&str>) -> Answer {
        let (limit, offset) = match numbers(query, [("limit", 20, 1, 100), ("offset", 0, 0, usize::MAX)]) {
            Ok([limit, offset]) => (limit, offset),
            Err(why) => return self.invalid(&Item::query(why)),
        };
        let mut all = self.store.all(|conversation| {
            let last = conversation.text("lastMessageAt").and_then(|text| text.parse::<Timestamp>().ok());
            (Reverse(last), summary(conversation))
        });
        all.sort_by_key(|(last, _)| *last);
        let total = all.len();
        let more = total > offset.saturating_add(limit);
        let page = json::array(all.iter().skip(offset).take(limit).map(|(_, text)| text.as_str()));
        Answer::json(200, format!(r#"{{"data":{page},"hasMore":{more},"total":{total}}}"#))
    }

    fn messages(&self, id: &str, query: Option<&str>) -> Answer {
        let pairs =
            query.map_or(Some(Vec::new()), |query| target::pairs(query, &["limit", "before", "after"]));
        let Some(pairs) = pairs else {
            return self.invalid(&Item::query("unknown or repeated query parameter"));
        };
        let (mut limit, mut before, mut after) = (DEFAULT_MESSAGES, None, None);
        for (name, value) in &pairs {
            let good = match name.as_ref() {
                "limit" => target::number(value, 1, 200).map(|n| limit = n),
                "before" => value.parse().ok().map(|time: Timestamp| before = Some(time)),
                _ => value.parse().ok().map(|time: Timestamp| after = Some(time)),
            };
            if good.is_none() {
                return self.invalid(&Item::query(format!("{name} is not valid")));
            }
        }
        let done = self.store.with(id, |conversation| {
            let all = conversation.get("messages").map(json::elements).unwrap_or_default();
            let fits = |raw: &&str| {
                let at = Object::parse(raw)
                    .ok()
                    .and_then(|m| m.text("receivedAt"))
                    .and_then(|t| t.parse::<Timestamp>().ok());
                before.is_none_or(|end| at.is_some_and(|at| at < end))
                    && after.is_none_or(|start| at.is_some_and(|at| at > start))
            };
            let fitting: Vec<&str> = all.into_iter().filter(fits).collect();
            let first = fitting.len().saturating_sub(limit);
            let page = json::array(fitting.iter().skip(first).copied());
            Answer::json(200, format!(r#"{{"data":{page},"hasMore":{}}}"#, first > 0))
        });
        done.unwrap_or_else(|| self.not_found())
    }
}

impl Vendor for AgentPhone {
    fn name(&self) -> &'static str {
        NAME
    }

    fn handle(&self, request: &Request<'_>) -> Answer {
        let nowhere = || self.plain(404, "NOT_FOUND", "not_found_error", "Not Found");
        let Some(target) = target::split(&request.head.target) else { return nowhere() };
        let segments: Vec<&str> = target.segments.iter().map(AsRef::as_ref).collect();
        let route = match (request.head.method.as_str(), segments.as_slice()) {
            ("PATCH", ["v1", "conversations", id]) => Route::Update(id),
            ("GET", ["v1", "conversations", id]) => Route::Read(id),
            ("GET", ["v1", "conversations"]) => Route::List,
            ("GET", ["v1", "conversations", id, "messages"]) => Route::Messages(id),
            (_, ["v1", "conversations", ..]) if segments.len() <= 3 => {
                return self.plain(405, "METHOD_NOT_ALLOWED", "invalid_request_error", "Method Not Allowed");
            }
            _ => return nowhere(),
        };
        if !credentials::bearer(request.head).is_ok_and(|key| self.keys.has(key)) {
            return self.plain(401, "UNAUTHORIZED", "authentication_error", "Invalid API key");
        }
        // The master key may act for a sub-account; which one is in the ledger.
        if !matches!(request.head.one("x-sub-account-id"), Ok(None)) {
            let sub = request.head.one("x-sub-account-id").ok().flatten().unwrap_or_default();
            if sub.is_empty() {
                let message = "X-Sub-Account-Id must be given once and not be empty";
                return self.plain(400, "VALIDATION_ERROR", "invalid_request_error", message);
            }
        }
        if !matches!(route, Route::Update(_)) && !request.body.is_empty() {
            return self.plain(
                400,
                "VALIDATION_ERROR",
                "invalid_request_error",
                "This endpoint takes no request body",
            );
        }
        match route {
            Route::Update(_) if target.query.is_some() => {
                self.invalid(&Item::query("this endpoint takes no query parameters"))
            }
            Route::Update(id) => self.update(id, request),
            Route::Read(id) => self.read(id, target.query),
            Route::List => self.list(target.query),
            Route::Messages(id) => self.messages(id, target.query),
        }
    }

    fn refuse(&self, refused: &Refused, _target: &str) -> Answer {
        self.plain(refused.status, "VALIDATION_ERROR", "invalid_request_error", &refused.message)
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn flaw(&self, conversation: &Object) -> Option<String> {
        let strings = ["id", "phoneNumberId", "phoneNumber", "participant", "createdAt"]
            .map(|name| (name, Kind::String));
        check::flaw(conversation, &strings).or_else(|| {
            check::flaw(conversation, &[("messageCount", Kind::Number), ("messages", Kind::Array)])
        })
    }

    fn settings(&self) -> Vec<(&'static str, &'static [&'static str], &'static str)> {
        vec![self.errors.show()]
    }

    fn set(&self, _name: &str, value: &str) {
        self.errors.set(value);
    }

    fn reset_rest(&self) {
        self.errors.reset();
    }

    fn sample(&self) -> Sample {
        Sample {
            parent: None,
            conversations: vec!["conv_def456", "conv_abc123"],
            update_path: "/v1/conversations/{id}",
            update: "{}",
            effective: r#"{"metadata":{"effective":true}}"#,
            update_headers: Vec::new(),
        }
    }
}

/// A conversation with its last messages, oldest first.
fn detail(conversation: &Object, limit: usize) -> Answer {
    let all = conversation.get("messages").map(json::elements).unwrap_or_default();
    if all.len() <= limit {
        return Answer::json(200, conversation.render(&[]));
    }
    let window = json::array(all.iter().skip(all.len() - limit).copied());
    let mut part = conversation.clone();
    part.set("messages", window);
    Answer::json(200, part.render(&[]))
}

/// A conversation of the list: no messages, but a line of the last one.
fn summary(conversation: &Object) -> String {
    let messages = conversation.get("messages").map(json::elements).unwrap_or_default();
    let last =
        messages.last().and_then(|raw| Object::parse(raw).ok()).and_then(|message| message.text("body"));
    let mut out = conversation.clone();
    let preview =
        last.map_or_else(|| "null".into(), |text| quote(&text.chars().take(100).collect::<String>()));
    out.set("lastMessagePreview", preview);
    out.render(&["messages"])
}

/// Whole-number query parameters: name, default, least, most.
fn numbers<const N: usize>(
    query: Option<&str>,
    known: [(&str, usize, usize, usize); N],
) -> Result<[usize; N], String> {
    let names = known.map(|(name, ..)| name);
    let pairs = query.map_or(Some(Vec::new()), |query| target::pairs(query, &names));
    let pairs = pairs.ok_or("unknown or repeated query parameter")?;
    let mut out = known.map(|(_, default, ..)| default);
    for (slot, (name, _, low, high)) in out.iter_mut().zip(known) {
        if let Some((_, value)) = pairs.iter().find(|(have, _)| have == name) {
            *slot = target::number(value, low, high).ok_or_else(|| format!("{name} is not valid"))?;
        }
    }
    Ok(out)
}
