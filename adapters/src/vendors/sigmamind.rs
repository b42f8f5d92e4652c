//! SigmaMind AI. <https://docs.sigmamind.ai/api-reference/chats/update-chat>
//!
//! Peculiar: the key travels in `X-API-Key`. A message's content is a list of texts and has no time. The state is spelt
//! with a hyphen or an underscore. No page describes errors, so the tolerant reading is all there is.

use std::borrow::Cow;

use bytes::Bytes;
use http::Response;

use crate::adapter::{Adapter, Convert, Credential, Done, Example, Null, Row, Spec, Unusable};
use crate::canonical::{Agent, Conversation, Field, Message, Messages, Pair, Role, Slot, Status, Time};
use crate::json::{Key, Kind, Malformed, Raw, Reader};
use crate::reading::{self, Rest, object};

static SPEC: Spec = Spec {
    vendor: "sigmamind",
    title: "SigmaMind",
    docs: "https://docs.sigmamind.ai/api-reference/chats/update-chat",
    base_url: "https://api.sigmamind.ai",
    path: "/v1/chats/{id}",
    credential: Credential::Header("x-api-key"),
    settings: &[],
    rows: &[
        Row {
            field: Field::Context,
            wire: "dynamicVariables",
            convert: Convert::Object,
            null: Null::Refused,
        },
        Row {
            field: Field::Agent,
            wire: "agentId",
            convert: Convert::Id { min: 1, max: Some(64) },
            null: Null::Refused,
        },
    ],
    reports: &["status", "context", "agent", "created_at", "messages"],
    reads: true,
    idempotency_key: false,
    rate_limit: None,
    example: Example {
        id: "chat-d17T6uReChpyfFeP",
        settings: &[],
        patch: r#"{"agent":{"id":"D5D0p7TUs66TTAEAx"},"context":{"customer_name":"Michael"}}"#,
    },
    quota: |_| false,
};

pub(crate) struct SigmaMind;

impl Adapter for SigmaMind {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn decode<'a>(&self, done: &Done<'a>, reply: &'a Response<Bytes>) -> Result<Conversation<'a>, Unusable> {
        let mut rest = Rest::default();
        let (mut status, mut context) = (Slot::Absent, Slot::Absent);
        let (mut agent, mut created_at) = (Slot::Absent, Slot::Absent);
        let mut messages = None;
        let mut reader = Reader::lenient(reply.body())?;
        reader.object(|key, reader| {
            if key.name() == "messages" {
                messages = reading::messages(key, reader, &mut rest, message)?;
                return Ok(());
            }
            let value = reader.raw()?;
            match &*key.name() {
                "chatId" => rest.id(done.target.vendor_id(), key, value),
                "status" => {
                    rest.take(&mut status, key, value, |value| value.as_str().map(|word| read_status(&word)));
                    if status == Slot::Value(Status::Other) {
                        rest.keep(key, value);
                    }
                }
                "dynamicVariables" => rest.take(&mut context, key, value, reading::context),
                "agent" if value.kind() == Kind::Object => {
                    agent = Slot::Value(read_agent(key, value, &mut rest));
                }
                "agent" => rest.take(&mut agent, key, value, |_| None),
                "createdAt" => rest.take(&mut created_at, key, value, Time::read),
                _ => rest.keep(key, value),
            }
            Ok(())
        })?;
        reader.end()?;
        Ok(Conversation {
            title: Slot::Absent,
            status,
            archived: Slot::Absent,
            important: Slot::Absent,
            context,
            instructions: Slot::Absent,
            agent,
            contact: Slot::Absent,
            created_at,
            updated_at: Slot::Absent,
            last_message_at: Slot::Absent,
            message_count: Slot::Absent,
            messages,
            vendor_data: rest.0,
            warnings: Vec::new(),
        })
    }
}

fn read_status(word: &str) -> Status {
    match word {
        "in_progress" | "in-progress" => Status::Active,
        "ended" => Status::Ended,
        "error" => Status::Error,
        _ => Status::Other,
    }
}

/// The agent; members that the canonical one lacks stay in an object of the vendor's name.
fn read_agent<'a>(key: Key<'a>, value: Raw<'a>, rest: &mut Rest<'a>) -> Agent<'a> {
    let mut agent = Agent::default();
    let mut more = Rest::default();
    for (name, value) in value.members() {
        let is_plain = matches!(value.kind(), Kind::String | Kind::Null);
        match &*name.name() {
            "agentId" if is_plain => agent.id = Some(value),
            "name" if is_plain => agent.name = Some(value),
            "status" if is_plain => agent.status = Some(value),
            _ => more.keep(name, value),
        }
    }
    if !more.0.is_empty() {
        rest.0.push(Pair { name: key.written(), value: Cow::Owned(object(&more.0)) });
    }
    agent
}

fn message<'a>(
    reader: &mut Reader<'a>,
    rest: &mut Rest<'a>,
    _: &mut Messages<'a>,
) -> Result<Message<'a>, Malformed> {
    let start = rest.0.len();
    let (mut id, mut role, mut text) = (Slot::Absent, Slot::Absent, Slot::Absent);
    reader.object(|key, reader| {
        let value = reader.raw()?;
        match &*key.name() {
            "id" => rest.take(&mut id, key, value, reading::string),
            "role" => rest.role(&mut role, key, value, Role::named),
            "content" if value.kind() == Kind::Array => {
                let parts = value.items();
                text = joined(&parts).map_or(Slot::Absent, Slot::Value);
                if parts.len() > 1 || matches!(text, Slot::Absent) {
                    rest.keep(key, value);
                }
            }
            "content" => rest.take(&mut text, key, value, reading::text),
            _ => rest.keep(key, value),
        }
        Ok(())
    })?;
    Ok(Message { id, role, text, created_at: Slot::Absent, attachments: 0..0, rest: start..rest.0.len() })
}

/// The texts with a line break between them, as one JSON string; `None` if one is no text.
fn joined<'a>(parts: &[Raw<'a>]) -> Option<Cow<'a, str>> {
    if let [only] = parts {
        return reading::text(*only);
    }
    let texts: Vec<&str> = parts.iter().map(|part| part.inner()).collect::<Option<_>>()?;
    Some(Cow::Owned(format!("\"{}\"", texts.join("\\n"))))
}
