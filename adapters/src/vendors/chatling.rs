//! Chatling. <https://docs.chatling.ai/api-reference/v2/conversations/update-conversation>
//!
//! Peculiarities: the path has two ids. Requests say `archive`, answers `archived`; flags are booleans or 0 and 1.
//! Answers are enveloped, and `status` may be `error` in a 200. Messages are newest first.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;
use http::Response;

use crate::adapter::Adapter;
use crate::call::{DecodeContext, DecodeError};
use crate::canonical::{Contact, Conversation, Field, Message, Messages, RawMember, Reported, Role, Time};
use crate::classify::into_failure;
use crate::failure::{FailureKind, VendorError};
use crate::json::{JsonError, Kind, Reader, unescape};
use crate::reading::{self, Unmapped, object};
use crate::spec::{
    Conversion, Credential, Endpoint, Example, NullHandling, Row, SettingPlacement, Spec, VendorSetting,
};

const REPORTED: &[&str] = &["archived", "important", "contact", "created_at", "messages"];

static SPEC: Spec = Spec {
    vendor: "chatling",
    title: "Chatling",
    docs: "https://docs.chatling.ai/api-reference/v2/conversations/update-conversation",
    base_url: "https://api.chatling.ai",
    credential: Credential::Bearer,
    settings: &[VendorSetting {
        key: "chatbot_id",
        place: SettingPlacement::Path,
        about: "The chatbot that the conversations belong to, unless an id names another.",
    }],
    update: &[Endpoint::patch(
        "/v2/chatbots/{chatbot_id}/conversations/{id}",
        &[
            Row {
                field: Field::Contact,
                wire: "contact_id",
                conversion: Conversion::Id { min: 0, max: None },
                null: NullHandling::Refused,
            },
            Row {
                field: Field::Archived,
                wire: "archive",
                conversion: Conversion::Flag,
                null: NullHandling::Refused,
            },
            Row {
                field: Field::Important,
                wire: "important",
                conversion: Conversion::Flag,
                null: NullHandling::Refused,
            },
        ],
    )],
    read: Some(Endpoint::get("/v2/chatbots/{chatbot_id}/conversations/{id}")),
    reported_members: REPORTED,
    read_members: REPORTED,
    idempotency_key: false,
    rate_limit: Some((300, 60)),
    example: Example {
        id: "8977617953",
        settings: &[("chatbot_id", "9761342719")],
        patch: r#"{"contact":{"id":"qtr89df0-112d-d197-b541-3f8674663246"},"archived":false,"important":true}"#,
    },
    is_payment_required: |_| false,
};

pub(crate) struct Chatling;

impl Adapter for Chatling {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn decode<'a>(
        &self,
        cx: &DecodeContext<'a>,
        reply: &'a Response<Bytes>,
    ) -> Result<Conversation<'a>, DecodeError> {
        let mut envelope = Unmapped::default();
        let mut failed = false;
        let mut conversation = None;
        let mut reader = Reader::lenient(reply.body())?;
        reader.object(|key, reader| {
            match &*key.name() {
                "data" if reader.peek()? == Kind::Object => conversation = Some(read(cx, reader)?),
                "status" => {
                    let value = reader.raw()?;
                    match value.as_str().as_deref() {
                        Some("success") => {}
                        Some("error") => failed = true,
                        _ => envelope.keep(key, value),
                    }
                }
                _ => {
                    let value = reader.raw()?;
                    envelope.keep(key, value);
                }
            }
            Ok(())
        })?;
        reader.end()?;

        if failed {
            return Err(DecodeError::Failed(into_failure(
                VendorError::of(reply),
                &SPEC,
                FailureKind::Rejected,
            )));
        }
        let mut conversation =
            conversation.ok_or_else(|| DecodeError::Invalid("'data' holds no conversation".to_owned()))?;
        // A name that both the envelope and the conversation have would be repeated: keep the conversation's in `data`.
        let name = |member: &RawMember<'a>| unescape(member.name);
        let own: HashSet<_> = conversation.vendor_data.iter().map(name).collect();
        if envelope.0.iter().any(|member| own.contains(&name(member))) {
            let value = Cow::Owned(object(&conversation.vendor_data));
            conversation.vendor_data = vec![RawMember { name: "data", value }];
        }
        conversation.vendor_data.append(&mut envelope.0);
        Ok(conversation)
    }
}

fn read<'a>(cx: &DecodeContext<'a>, reader: &mut Reader<'a>) -> Result<Conversation<'a>, JsonError> {
    let mut unmapped = Unmapped::default();
    let (mut archived, mut important) = (Reported::Absent, Reported::Absent);
    let (mut contact, mut created_at) = (Reported::Absent, Reported::Absent);
    let mut messages = None;
    reader.object(|key, reader| {
        if key.name() == "messages" {
            messages = reading::messages(key, reader, &mut unmapped, message)?;
            return Ok(());
        }
        let value = reader.raw()?;
        match &*key.name() {
            "id" => unmapped.id(cx.vendor_id(), key, value),
            "archived" => unmapped.take(&mut archived, key, value, reading::flag),
            "important" => unmapped.take(&mut important, key, value, reading::flag),
            "contact_id" => unmapped.take(&mut contact, key, value, |value| {
                reading::id(value).map(|id| Contact { id: Some(id), address: None })
            }),
            "created_at" => unmapped.take(&mut created_at, key, value, Time::read),
            _ => unmapped.keep(key, value),
        }
        Ok(())
    })?;
    if let Some(messages) = &mut messages {
        messages.items.reverse();
    }
    Ok(Conversation {
        title: Reported::Absent,
        status: Reported::Absent,
        archived,
        important,
        tags: Reported::Absent,
        context: Reported::Absent,
        instructions: Reported::Absent,
        agent: Reported::Absent,
        contact,
        created_at,
        updated_at: Reported::Absent,
        last_message_at: Reported::Absent,
        message_count: Reported::Absent,
        messages,
        vendor_data: unmapped.0,
        warnings: Vec::new(),
    })
}

fn message<'a>(
    reader: &mut Reader<'a>,
    unmapped: &mut Unmapped<'a>,
    _: &mut Messages<'a>,
) -> Result<Message<'a>, JsonError> {
    let start = unmapped.0.len();
    let (mut id, mut role, mut text, mut created_at) =
        (Reported::Absent, Reported::Absent, Reported::Absent, Reported::Absent);
    reader.object(|key, reader| {
        let value = reader.raw()?;
        match &*key.name() {
            "id" => unmapped.take(&mut id, key, value, reading::id),
            "text" => unmapped.take(&mut text, key, value, reading::text),
            "role" => unmapped.role(&mut role, key, value, |word| match word {
                "bot" => Role::Assistant,
                word => Role::named(word),
            }),
            "created_at" => unmapped.take(&mut created_at, key, value, Time::read),
            _ => unmapped.keep(key, value),
        }
        Ok(())
    })?;
    Ok(Message { id, role, text, created_at, attachments: 0..0, unmapped: start..unmapped.0.len() })
}
