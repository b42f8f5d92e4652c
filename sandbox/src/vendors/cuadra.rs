//! Cuadra: tokens with scopes, idempotency keys, three members that may be cleared with null.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Mutex, PoisonError};

use crate::clock;
use crate::credentials::{self, Client, Keys, Problem};
use crate::http::{Answer, Head, Refused, Request, answer, target};
use crate::json::{self, Kind, Object, quote};
use crate::store::Store;
use crate::tokens::{Denied, Tokens};

use super::check::{self, Choice};
use super::fastapi::Item;
use super::{Sample, Vendor};

pub(super) const NAME: &str = "cuadra";
const KEY: &str = "cuadra-sandbox-static-key-7Pq3";
const TOKEN_PATH: &str = "/v1/oauth2/token";
const MAX_TITLE: usize = 500;
const MAX_IDEMPOTENCY_KEY: usize = 255;
/// Answers kept for replay; the oldest go first.
const MAX_REPLAYS: usize = 10_000;
/// Kept in the stored conversation, shown only on request.
const HIDDEN: [&str; 1] = ["model"];

pub(super) struct Cuadra {
    store: Store,
    keys: Keys,
    tokens: Tokens,
    replays: Mutex<Replays>,
    token_errors: Choice,
}

#[derive(Default)]
struct Replays {
    answers: HashMap<String, Replay>,
    order: VecDeque<String>,
}

struct Replay {
    target: String,
    body: Vec<u8>,
    answer: Answer,
}

impl Cuadra {
    pub(super) fn new() -> io::Result<Self> {
        let client = |id: &str, secret: &str, scope: &str| Client {
            client_id: id.into(),
            client_secret: secret.into(),
            scope: scope.into(),
        };
        Ok(Self {
            store: Store::new(include_str!("seeds/cuadra.json"))?,
            keys: Keys::new(&[KEY]),
            tokens: Tokens::new(vec![
                client("m2m-client-sandbox", "secret-sandbox-Vd83kQmZ", "chat:read chat:write chat:invoke"),
                client("m2m-client-reader", "secret-reader-Hn27pLxC", "chat:read"),
            ]),
            replays: Mutex::default(),
            token_errors: Choice::new("token_errors", &["stytch", "rfc6749"]),
        })
    }

    fn authorize(&self, head: &Head, scope: &str) -> Result<(), Answer> {
        let token = match credentials::bearer(head) {
            Ok(token) => token,
            Err(Problem::Missing) => return Err(problem(401, "Missing authentication token.")),
            Err(_) => return Err(problem(401, "Invalid or expired token.")),
        };
        if self.keys.has(token) {
            return Ok(());
        }
        match self.tokens.scope_of(token) {
            Some(have) if have.split(' ').any(|one| one == scope) => Ok(()),
            Some(_) => Err(problem(403, &format!("Missing required scope: {scope}"))),
            None => Err(problem(401, "Invalid or expired token.")),
        }
    }

    /// Under one lock from looking a key up to keeping its answer, so that two requests with one key never both apply.
    fn update(&self, id: &str, request: &Request<'_>) -> Answer {
        let key = match request.head.one("idempotency-key") {
            Ok(Some(key)) if plain(key) => key,
            Ok(Some(_)) => return problem(400, "Idempotency-Key must be 1 to 255 visible characters."),
            Ok(None) => return problem(400, "Idempotency-Key is required for this request."),
            Err(()) => return problem(400, "Idempotency-Key is given twice."),
        };
        let mut replays = self.replays.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = replays.answers.get(key) {
            if first.target != request.head.target || first.body != request.body {
                return problem(409, "Idempotency-Key was used with another request.");
            }
            let mut again = first.answer.clone();
            again.effect = false;
            again.note = Some("replayed");
            return again;
        }
        let answer = self.apply(id, request);
        if answer.effect {
            if replays.order.len() >= MAX_REPLAYS
                && let Some(oldest) = replays.order.pop_front()
            {
                replays.answers.remove(&oldest);
            }
            let replay = Replay {
                target: request.head.target.clone(),
                body: request.body.to_vec(),
                answer: answer.clone(),
            };
            replays.answers.insert(key.to_owned(), replay);
            replays.order.push_back(key.to_owned());
        }
        answer
    }

    fn apply(&self, id: &str, request: &Request<'_>) -> Answer {
        let body = match check::object(request) {
            Ok(body) => body,
            Err(why) => return invalid(&Item::no_object(&why)),
        };
        if let Some(name) = check::unknown(&body, &["title", "systemPrompt", "metadata"]) {
            return invalid(&Item::body(name, "Extra inputs are not permitted", "extra_forbidden"));
        }
        if body.is_empty() {
            let message = "At least one of title, systemPrompt, metadata is required";
            return invalid(&Item {
                field: vec!["body".into()],
                message: message.into(),
                kind: "value_error",
            });
        }
        for (name, raw) in
            body.iter().filter(|(name, raw)| *name != "metadata" && json::kind(raw) != Kind::Null)
        {
            match check::string(raw) {
                None => return invalid(&Item::body(name, "Input should be a valid string", "string_type")),
                Some((_, length)) if name == "title" && length > MAX_TITLE => {
                    return invalid(&Item::body(
                        name,
                        "String should have at most 500 characters",
                        "string_too_long",
                    ));
                }
                Some(_) => {}
            }
        }
        let done = self.store.with(id, |chat| {
            if deleted(chat) {
                return None;
            }
            for (name, raw) in body.iter() {
                chat.set(name, raw);
            }
            chat.set("updatedAt", quote(&clock::now()));
            Some(chat.render(&HIDDEN))
        });
        match done.flatten() {
            None => problem(404, "Chat not found."),
            Some(text) => {
                let mut answer = Answer::json(200, text);
                answer.effect = true;
                answer
            }
        }
    }

    fn read(&self, id: &str, query: Option<&str>) -> Answer {
        let expand = match query.map(|query| target::pairs(query, &["expand[]"])) {
            None => false,
            Some(Some(pairs)) if pairs.iter().all(|(_, value)| value == "model") => true,
            Some(_) => return invalid(&Item::query("the only query parameter is expand[]=model")),
        };
        let hidden: &[&str] = if expand { &[] } else { &HIDDEN };
        let read = self.store.with(id, |chat| (!deleted(chat)).then(|| chat.render(hidden)));
        read.flatten().map_or_else(|| problem(404, "Chat not found."), |text| Answer::json(200, text))
    }

    fn token(&self, request: &Request<'_>) -> Answer {
        let answer = match self.tokens.issue(request) {
            Ok(body) => Answer::json(200, body),
            Err(denied) => self.denied(denied),
        };
        // RFC 6749, section 5.1.
        answer.with("cache-control", "no-store").with("pragma", "no-cache")
    }

    fn denied(&self, Denied { status, code, why, basic }: Denied) -> Answer {
        let body = if self.token_errors.now() == "rfc6749" {
            format!(r#"{{"error":{},"error_description":{}}}"#, quote(code), quote(why))
        } else {
            format!(
                r#"{{"status_code":{status},"request_id":{},"error_type":{},"error_message":{},"error_url":{}}}"#,
                quote(&format!("request-id-test-{}", uuid::Uuid::new_v4())),
                quote(code),
                quote(why),
                quote(&format!("https://stytch.com/docs/b2b/api/errors/{status}#{code}"))
            )
        };
        let answer = Answer::json(status, body);
        if basic { answer.with("www-authenticate", "Basic realm=\"oauth2\"") } else { answer }
    }
}

impl Vendor for Cuadra {
    fn name(&self) -> &'static str {
        NAME
    }

    fn handle(&self, request: &Request<'_>) -> Answer {
        let Some(target) = target::split(&request.head.target) else { return problem(404, "Not Found") };
        let segments: Vec<&str> = target.segments.iter().map(AsRef::as_ref).collect();
        match (request.head.method.as_str(), segments.as_slice()) {
            ("POST", ["v1", "oauth2", "token"]) if target.query.is_none() => self.token(request),
            ("POST", ["v1", "oauth2", "token"]) => problem(400, "This endpoint takes no query parameters."),
            (_, ["v1", "oauth2", "token"]) => problem(405, "Method Not Allowed").with("allow", "POST"),
            ("PATCH", ["v1", "chats", id]) => {
                if let Err(refusal) = self.authorize(request.head, "chat:write") {
                    return refusal;
                }
                match target.query {
                    None => self.update(id, request),
                    Some(_) => invalid(&Item::query("this endpoint takes no query parameters")),
                }
            }
            ("GET", ["v1", "chats", id]) => match self.authorize(request.head, "chat:read") {
                Err(refusal) => refusal,
                Ok(()) if !request.body.is_empty() => problem(400, "This endpoint takes no request body."),
                Ok(()) => self.read(id, target.query),
            },
            (_, ["v1", "chats", _]) => problem(405, "Method Not Allowed").with("allow", "GET, PATCH"),
            _ => problem(404, "Not Found"),
        }
    }

    fn refuse(&self, refused: &Refused, _target: &str) -> Answer {
        problem(refused.status, &refused.message)
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn flaw(&self, conversation: &Object) -> Option<String> {
        let required = ["id", "organizationId", "modelId", "createdBy", "createdAt", "updatedAt"];
        check::flaw(conversation, &required.map(|name| (name, Kind::String)))
    }

    fn tokens(&self) -> Option<(&'static str, &Tokens)> {
        Some((TOKEN_PATH, &self.tokens))
    }

    fn settings(&self) -> Vec<(&'static str, &'static [&'static str], &'static str)> {
        vec![self.token_errors.show()]
    }

    fn set(&self, _name: &str, value: &str) {
        self.token_errors.set(value);
    }

    fn reset_rest(&self) {
        *self.replays.lock().unwrap_or_else(PoisonError::into_inner) = Replays::default();
        self.token_errors.reset();
    }

    fn sample(&self) -> Sample {
        Sample {
            parent: None,
            conversations: vec!["a4f0c0a2-4b1d-4e57-8a2a-0c18f9d4b1e2"],
            update_path: "/v1/chats/{id}",
            update: r#"{"title":"Updated Support Chat","systemPrompt":"You are a helpful assistant.","metadata":"<unknown>"}"#,
            effective: r#"{"title":"effective"}"#,
            update_headers: vec![("Idempotency-Key", "0f9b2c3e-6a1d-4a58-9d0e-5b7a1c2d3e4f")],
        }
    }
}

fn plain(key: &str) -> bool {
    (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
}

fn deleted(chat: &Object) -> bool {
    chat.get("deletedAt").is_some_and(|raw| json::kind(raw) != Kind::Null)
}

/// RFC 7807, as cuadra.ai/docs/api-reference/errors shows it: with `type` for some, without for others.
fn problem(status: u16, detail: &str) -> Answer {
    let kind = if status == 401 { r#""type":"about:blank","# } else { "" };
    let title = quote(answer::reason(status));
    let body = format!(r#"{{{kind}"title":{title},"status":{status},"detail":{}}}"#, quote(detail));
    Answer::json(status, body).of_type("application/problem+json")
}

fn invalid(item: &Item) -> Answer {
    Answer::json(422, item.detail())
}
