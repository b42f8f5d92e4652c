//! Chatling. <https://docs.chatling.ai/api-reference/v2/conversations/update-conversation>
//!
//! Peculiar: two ids in the path. `archive` is written, `archived` is read; flags come as 0/1 or booleans. Everything
//! stands in an envelope whose `status` may say `error` under a 200. Messages are newest first.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;
use http::Response;

use crate::adapter::{
    Adapter, Convert, Credential, Done, Example, FailureKind, Null, Place, Row, Setting, Spec, Unusable,
};
use crate::canonical::{Contact, Conversation, Field, Message, Messages, Pair, Role, Slot, Time};
use crate::explain::VendorError;
use crate::json::{Kind, Malformed, Reader, unescape};
use crate::reading::{self, Rest, object};

static SPEC: Spec = Spec {
    vendor: "chatling",
    title: "Chatling",
    docs: "https://docs.chatling.ai/api-reference/v2/conversations/update-conversation",
    base_url: "https://api.chatling.ai",
    path: "/v2/chatbots/{chatbot_id}/conversations/{id}",
    credential: Credential::Bearer,
    settings: &[Setting {
        key: "chatbot_id",
        place: Place::Path,
        about: "The chatbot that the conversations belong to, unless an id names another.",
    }],
    rows: &[
        Row {
            field: Field::Contact,
            wire: "contact_id",
            convert: Convert::Id { min: 0, max: None },
            null: Null::Refused,
        },
        Row { field: Field::Archived, wire: "archive", convert: Convert::Flag, null: Null::Refused },
        Row { field: Field::Important, wire: "important", convert: Convert::Flag, null: Null::Refused },
    ],
    reports: &["archived", "important", "contact", "created_at", "messages"],
    reads: false,
    idempotency_key: false,
    rate_limit: Some((300, 60)),
    example: Example {
        id: "8977617953",
        settings: &[("chatbot_id", "9761342719")],
        patch: r#"{"contact":{"id":"qtr89df0-112d-d197-b541-3f8674663246"},"archived":false,"important":true}"#,
    },
    quota: |_| false,
};

pub(crate) struct Chatling;

impl Adapter for Chatling {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn decode<'a>(&self, done: &Done<'a>, reply: &'a Response<Bytes>) -> Result<Conversation<'a>, Unusable> {
        let mut envelope = Rest::default();
        let mut failed = false;
        let mut conversation = None;
        let mut reader = Reader::lenient(reply.body())?;
        reader.object(|key, reader| {
            match &*key.name() {
                "data" if reader.peek()? == Kind::Object => conversation = Some(read(done, reader)?),
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
            return Err(Unusable::Failed(
                VendorError::read(reply.body()).into_failure(&SPEC, FailureKind::Rejected),
            ));
        }
        let mut conversation =
            conversation.ok_or_else(|| Unusable::Invalid("'data' holds no conversation".to_owned()))?;
        // No name may stand twice: where both have one, the conversation's own go below `data`, where they were.
        let name = |pair: &Pair<'a>| unescape(pair.name);
        let own: HashSet<_> = conversation.vendor_data.iter().map(name).collect();
        if envelope.0.iter().any(|pair| own.contains(&name(pair))) {
            let value = Cow::Owned(object(&conversation.vendor_data));
            conversation.vendor_data = vec![Pair { name: "data", value }];
        }
        conversation.vendor_data.append(&mut envelope.0);
        Ok(conversation)
    }
}

fn read<'a>(done: &Done<'a>, reader: &mut Reader<'a>) -> Result<Conversation<'a>, Malformed> {
    let mut rest = Rest::default();
    let (mut archived, mut important) = (Slot::Absent, Slot::Absent);
    let (mut contact, mut created_at) = (Slot::Absent, Slot::Absent);
    let mut messages = None;
    reader.object(|key, reader| {
        if key.name() == "messages" {
            messages = reading::messages(key, reader, &mut rest, message)?;
            return Ok(());
        }
        let value = reader.raw()?;
        match &*key.name() {
            "id" => rest.id(done.target.vendor_id(), key, value),
            "archived" => rest.take(&mut archived, key, value, reading::flag),
            "important" => rest.take(&mut important, key, value, reading::flag),
            "contact_id" => rest.take(&mut contact, key, value, |value| {
                reading::string(value).map(|id| Contact { id: Some(id), address: None })
            }),
            "created_at" => rest.take(&mut created_at, key, value, Time::read),
            _ => rest.keep(key, value),
        }
        Ok(())
    })?;
    if let Some(messages) = &mut messages {
        messages.items.reverse();
    }
    Ok(Conversation {
        title: Slot::Absent,
        status: Slot::Absent,
        archived,
        important,
        context: Slot::Absent,
        instructions: Slot::Absent,
        agent: Slot::Absent,
        contact,
        created_at,
        updated_at: Slot::Absent,
        last_message_at: Slot::Absent,
        message_count: Slot::Absent,
        messages,
        vendor_data: rest.0,
        warnings: Vec::new(),
    })
}

fn message<'a>(
    reader: &mut Reader<'a>,
    rest: &mut Rest<'a>,
    _: &mut Messages<'a>,
) -> Result<Message<'a>, Malformed> {
    let start = rest.0.len();
    let (mut id, mut role, mut text, mut created_at) =
        (Slot::Absent, Slot::Absent, Slot::Absent, Slot::Absent);
    reader.object(|key, reader| {
        let value = reader.raw()?;
        match &*key.name() {
            "id" => rest.take(&mut id, key, value, reading::string),
            "text" => rest.take(&mut text, key, value, reading::text),
            "role" => rest.role(&mut role, key, value, |word| match word {
                "bot" => Role::Assistant,
                word => Role::named(word),
            }),
            "created_at" => rest.take(&mut created_at, key, value, Time::read),
            _ => rest.keep(key, value),
        }
        Ok(())
    })?;
    Ok(Message { id, role, text, created_at, attachments: 0..0, rest: start..rest.0.len() })
}
