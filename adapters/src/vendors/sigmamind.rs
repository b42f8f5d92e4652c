//! SigmaMind AI. <https://docs.sigmamind.ai/api-reference/chats/update-chat>
//!
//! Peculiarities: the key is sent in `X-API-Key`. A message has a list of texts and no time. The status is spelt with a
//! hyphen or an underscore. Errors are not documented.

use std::borrow::Cow;

use bytes::Bytes;
use http::Response;

use crate::adapter::Adapter;
use crate::call::{DecodeContext, DecodeError};
use crate::canonical::{
    Agent, Conversation, Field, Message, Messages, RawMember, Reported, Role, Status, Time,
};
use crate::json::{JsonError, Key, Kind, Raw, Reader};
use crate::reading::{self, Unmapped, object};
use crate::spec::{Conversion, Credential, Endpoint, Example, NullHandling, Row, Spec};

const REPORTED: &[&str] = &["status", "context", "agent", "created_at", "messages"];

static SPEC: Spec = Spec {
    vendor: "sigmamind",
    title: "SigmaMind",
    docs: "https://docs.sigmamind.ai/api-reference/chats/update-chat",
    base_url: "https://api.sigmamind.ai",
    credential: Credential::Header("x-api-key"),
    settings: &[],
    update: &[Endpoint::patch(
        "/v1/chats/{id}",
        &[
            Row {
                field: Field::Context,
                wire: "dynamicVariables",
                reported: "dynamicVariables",
                conversion: Conversion::Object,
                null: NullHandling::Refused,
            },
            Row {
                field: Field::Agent,
                wire: "agentId",
                reported: "agent.agentId",
                conversion: Conversion::Id { min: 1, max: Some(64), prefix: "agent_" },
                null: NullHandling::Refused,
            },
        ],
    )],
    read: Some(Endpoint::get("/v1/chats/{id}")),
    reported_members: REPORTED,
    read_members: REPORTED,
    idempotency_key: false,
    rate_limit: None,
    example: Example {
        id: "chat-d17T6uReChpyfFeP",
        settings: &[],
        patch: r#"{"agent":{"id":"D5D0p7TUs66TTAEAx"},"context":{"customer_name":"Michael"}}"#,
    },
    is_payment_required: |_| false,
};

pub(crate) struct SigmaMind;

impl Adapter for SigmaMind {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn decode<'a>(
        &self,
        cx: &DecodeContext<'a>,
        reply: &'a Response<Bytes>,
    ) -> Result<Conversation<'a>, DecodeError> {
        let mut unmapped = Unmapped::default();
        let (mut status, mut context) = (Reported::Absent, Reported::Absent);
        let (mut agent, mut created_at) = (Reported::Absent, Reported::Absent);
        let mut messages = None;
        let mut reader = Reader::lenient(reply.body())?;
        reader.object(|key, reader| {
            if key.name() == "messages" {
                messages = reading::messages(key, reader, &mut unmapped, message)?;
                return Ok(());
            }
            let value = reader.raw()?;
            match &*key.name() {
                "chatId" => unmapped.id(cx.vendor_id(), key, value),
                "status" => {
                    unmapped.status(&mut status, key, value, read_status);
                }
                "dynamicVariables" => unmapped.take(&mut context, key, value, reading::context),
                "agent" if value.kind() == Kind::Object => {
                    agent = Reported::Value(read_agent(key, value, &mut unmapped));
                }
                "agent" => unmapped.take(&mut agent, key, value, |_| None),
                "createdAt" => unmapped.take(&mut created_at, key, value, Time::read),
                _ => unmapped.keep(key, value),
            }
            Ok(())
        })?;
        reader.end()?;
        Ok(Conversation {
            subject: unmapped.subject,
            is_confirmation: false,
            title: Reported::Absent,
            status,
            archived: Reported::Absent,
            important: Reported::Absent,
            tags: Reported::Absent,
            context,
            instructions: Reported::Absent,
            agent,
            contact: Reported::Absent,
            created_at,
            updated_at: Reported::Absent,
            last_message_at: Reported::Absent,
            message_count: Reported::Absent,
            messages,
            vendor_data: unmapped.members,
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

/// Reads the agent; members without a canonical place are kept in an object of the vendor's name.
fn read_agent<'a>(key: Key<'a>, value: Raw<'a>, unmapped: &mut Unmapped<'a>) -> Agent<'a> {
    let mut agent = Agent::default();
    let mut more = Unmapped::default();
    for (name, value) in value.members() {
        let is_plain = matches!(value.kind(), Kind::String | Kind::Null);
        match &*name.name() {
            "agentId" if is_plain || reading::count(value).is_some() => agent.id = Some(value),
            "name" if is_plain => agent.name = Some(value),
            "status" if is_plain => agent.status = Some(value),
            _ => more.keep(name, value),
        }
    }
    if !more.members.is_empty() {
        let value = Cow::Owned(object(&more.members));
        unmapped.members.push(RawMember { name: key.written(), value });
    }
    agent
}

fn message<'a>(
    reader: &mut Reader<'a>,
    unmapped: &mut Unmapped<'a>,
    _: &mut Messages<'a>,
) -> Result<Message<'a>, JsonError> {
    let start = unmapped.members.len();
    let (mut id, mut role, mut text) = (Reported::Absent, Reported::Absent, Reported::Absent);
    reader.object(|key, reader| {
        if key.name() == "content" && reader.peek()? == Kind::Array {
            let (mark, mut parts) = (reader.mark(), Vec::new());
            reader.array(|reader| {
                parts.push(reader.raw()?);
                Ok(())
            })?;
            text = joined(&parts).map_or(Reported::Absent, Reported::Value);
            if parts.len() > 1 || matches!(text, Reported::Absent) {
                unmapped.keep(key, reader.since(mark));
            }
            return Ok(());
        }
        let value = reader.raw()?;
        match &*key.name() {
            "id" => unmapped.take(&mut id, key, value, reading::id),
            "role" => unmapped.role(&mut role, key, value, Role::named),
            "content" => unmapped.take(&mut text, key, value, reading::text),
            _ => unmapped.keep(key, value),
        }
        Ok(())
    })?;
    Ok(Message {
        id,
        role,
        text,
        created_at: Reported::Absent,
        attachments: 0..0,
        unmapped: start..unmapped.members.len(),
    })
}

/// Joins texts by line breaks into one JSON string; `None` if a part is not a string.
fn joined<'a>(parts: &[Raw<'a>]) -> Option<Cow<'a, str>> {
    if let [only] = parts {
        return reading::text(*only);
    }
    let texts: Vec<&str> = parts.iter().map(|part| part.inner()).collect::<Option<_>>()?;
    Some(Cow::Owned(format!("\"{}\"", texts.join("\\n"))))
}
