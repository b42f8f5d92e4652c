//! AgentPhone. <https://docs.agentphone.ai/api-reference/conversations/update-conversation>
//!
//! Peculiar: requests say `group_name`, answers `groupName`. `metadata` replaces the stored object. The order of the
//! messages is not documented, so their times decide. Three shapes of error stand in official material. A sub-account
//! is chosen by a header.

use std::collections::HashSet;

use bytes::Bytes;
use http::Response;

use crate::adapter::{
    Adapter, Convert, Credential, Done, Example, Null, Place, Row, Setting, Spec, Unusable,
};
use crate::canonical::{
    Agent, Attachment, Contact, Conversation, Field, Message, Messages, Role, Slot, Time,
};
use crate::json::{Kind, Malformed, Raw, Reader};
use crate::reading::{self, Rest};

static SPEC: Spec = Spec {
    vendor: "agentphone",
    title: "AgentPhone",
    docs: "https://docs.agentphone.ai/api-reference/conversations/update-conversation",
    base_url: "https://api.agentphone.ai",
    path: "/v1/conversations/{id}",
    credential: Credential::Bearer,
    settings: &[Setting {
        key: "sub_account_id",
        place: Place::Header("x-sub-account-id"),
        about: "The sub-account that a master key acts for.",
    }],
    rows: &[
        Row { field: Field::Context, wire: "metadata", convert: Convert::Object, null: Null::Sent },
        Row {
            field: Field::Title,
            wire: "group_name",
            convert: Convert::Text { max: None },
            null: Null::Sent,
        },
    ],
    reports: &[
        "title",
        "context",
        "agent",
        "contact",
        "created_at",
        "last_message_at",
        "message_count",
        "messages",
    ],
    reads: true,
    idempotency_key: false,
    rate_limit: None,
    example: Example {
        id: "conv_def456",
        settings: &[],
        patch: r#"{"context":{"order_id":"A-1001","topic":"delivery"}}"#,
    },
    quota: |_| false,
};

pub(crate) struct AgentPhone;

impl Adapter for AgentPhone {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn decode<'a>(&self, done: &Done<'a>, reply: &'a Response<Bytes>) -> Result<Conversation<'a>, Unusable> {
        let mut rest = Rest::default();
        let (mut title, mut context, mut agent, mut contact) =
            (Slot::Absent, Slot::Absent, Slot::Absent, Slot::Absent);
        let (mut created_at, mut last_message_at, mut message_count) =
            (Slot::Absent, Slot::Absent, Slot::Absent);
        let mut messages = None;
        let mut reader = Reader::lenient(reply.body())?;
        reader.object(|key, reader| {
            if key.name() == "messages" {
                messages = reading::messages(key, reader, &mut rest, message)?;
                return Ok(());
            }
            let value = reader.raw()?;
            match &*key.name() {
                "id" => rest.id(done.target.vendor_id(), key, value),
                "groupName" => rest.take(&mut title, key, value, reading::string),
                "metadata" => rest.take(&mut context, key, value, reading::context),
                "agentId" => rest.take(&mut agent, key, value, |value| {
                    reading::string(value).map(|id| Agent { id: Some(id), name: None, status: None })
                }),
                "participant" => rest.take(&mut contact, key, value, |value| {
                    reading::string(value).map(|address| Contact { id: None, address: Some(address) })
                }),
                "createdAt" => rest.take(&mut created_at, key, value, Time::read),
                "lastMessageAt" => rest.take(&mut last_message_at, key, value, Time::read),
                "messageCount" => rest.take(&mut message_count, key, value, reading::count),
                _ => rest.keep(key, value),
            }
            Ok(())
        })?;
        reader.end()?;
        if let Some(messages) = &mut messages {
            reading::oldest_first(messages);
        }
        Ok(Conversation {
            title,
            status: Slot::Absent,
            archived: Slot::Absent,
            important: Slot::Absent,
            context,
            instructions: Slot::Absent,
            agent,
            contact,
            created_at,
            updated_at: Slot::Absent,
            last_message_at,
            message_count,
            messages,
            vendor_data: rest.0,
            warnings: Vec::new(),
        })
    }
}

fn message<'a>(
    reader: &mut Reader<'a>,
    rest: &mut Rest<'a>,
    all: &mut Messages<'a>,
) -> Result<Message<'a>, Malformed> {
    let (start, first_file) = (rest.0.len(), all.attachments.len());
    let (mut id, mut role, mut text, mut created_at) =
        (Slot::Absent, Slot::Absent, Slot::Absent, Slot::Absent);
    let (mut single, mut urls) = (None, Vec::new());
    reader.object(|key, reader| {
        let value = reader.raw()?;
        match &*key.name() {
            "id" => rest.take(&mut id, key, value, reading::string),
            "body" => rest.take(&mut text, key, value, reading::text),
            "direction" => rest.role(&mut role, key, value, |word| match word {
                "inbound" => Role::User,
                "outbound" => Role::Assistant,
                _ => Role::Other,
            }),
            "receivedAt" => rest.take(&mut created_at, key, value, Time::read),
            "mediaUrl" if value.kind() == Kind::String => single = Some(value),
            "mediaUrls" if value.kind() == Kind::Array => {
                urls = value.items();
                if urls.iter().any(|url| url.kind() != Kind::String) {
                    urls.clear();
                    rest.keep(key, value);
                }
            }
            _ => rest.keep(key, value),
        }
        Ok(())
    })?;
    // No URL twice. Few are compared with one another, many are looked up.
    let many = urls.len() > 16;
    let mut seen = HashSet::new();
    for url in urls.into_iter().chain(single) {
        let text = url.as_str();
        let files = all.attachments.get(first_file..).unwrap_or_default();
        let known = !many && files.iter().any(|file| file.url.and_then(Raw::as_str) == text);
        if !known && (!many || seen.insert(text)) {
            all.attachments.push(Attachment { url: Some(url), ..Attachment::default() });
        }
    }
    Ok(Message {
        id,
        role,
        text,
        created_at,
        attachments: first_file..all.attachments.len(),
        rest: start..rest.0.len(),
    })
}
