//! AgentPhone. <https://docs.agentphone.ai/api-reference/conversations/update-conversation>
//!
//! Peculiarities: requests say `group_name`, answers `groupName`. `metadata` replaces the stored object. The order of
//! the messages is not documented, so they are sorted by time. Three shapes of errors are documented. A header selects
//! a sub-account.

use std::collections::HashSet;

use bytes::Bytes;
use http::Response;

use crate::adapter::Adapter;
use crate::call::{DecodeContext, DecodeError};
use crate::canonical::{
    Agent, Attachment, Contact, Conversation, Field, Message, Messages, Reported, Role, Time,
};
use crate::json::{JsonError, Kind, Raw, Reader};
use crate::reading::{self, Unmapped};
use crate::spec::{
    Conversion, Credential, Endpoint, Example, NullHandling, Row, SettingPlacement, Spec, VendorSetting,
};

const REPORTED: &[&str] =
    &["title", "context", "agent", "contact", "created_at", "last_message_at", "message_count", "messages"];

static SPEC: Spec = Spec {
    vendor: "agentphone",
    title: "AgentPhone",
    docs: "https://docs.agentphone.ai/api-reference/conversations/update-conversation",
    base_url: "https://api.agentphone.ai",
    credential: Credential::Bearer,
    settings: &[VendorSetting {
        key: "sub_account_id",
        place: SettingPlacement::Header("x-sub-account-id"),
        about: "The sub-account that a master key acts for.",
    }],
    update: &[Endpoint::patch(
        "/v1/conversations/{id}",
        &[
            Row {
                field: Field::Context,
                wire: "metadata",
                reported: "metadata",
                conversion: Conversion::Object,
                null: NullHandling::Sent,
            },
            Row {
                field: Field::Title,
                wire: "group_name",
                reported: "groupName",
                conversion: Conversion::Text { max: None },
                null: NullHandling::Sent,
            },
        ],
    )],
    read: Some(Endpoint::get("/v1/conversations/{id}")),
    reported_members: REPORTED,
    read_members: REPORTED,
    idempotency_key: false,
    rate_limit: None,
    example: Example {
        id: "conv_def456",
        settings: &[],
        patch: r#"{"context":{"order_id":"A-1001","topic":"delivery"}}"#,
    },
    is_payment_required: |_| false,
};

pub(crate) struct AgentPhone;

impl Adapter for AgentPhone {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn decode<'a>(
        &self,
        cx: &DecodeContext<'a>,
        reply: &'a Response<Bytes>,
    ) -> Result<Conversation<'a>, DecodeError> {
        let mut unmapped = Unmapped::default();
        let (mut title, mut context, mut agent, mut contact) =
            (Reported::Absent, Reported::Absent, Reported::Absent, Reported::Absent);
        let (mut created_at, mut last_message_at, mut message_count) =
            (Reported::Absent, Reported::Absent, Reported::Absent);
        let mut messages = None;
        let mut reader = Reader::lenient(reply.body())?;
        reader.object(|key, reader| {
            if key.name() == "messages" {
                messages = reading::messages(key, reader, &mut unmapped, message)?;
                return Ok(());
            }
            let value = reader.raw()?;
            match &*key.name() {
                "id" => unmapped.id(cx.vendor_id(), key, value),
                "groupName" => unmapped.take(&mut title, key, value, reading::string),
                "metadata" => unmapped.take(&mut context, key, value, reading::context),
                "agentId" => unmapped.take(&mut agent, key, value, |value| {
                    reading::id(value).map(|id| Agent { id: Some(id), name: None, status: None })
                }),
                "participant" => unmapped.take(&mut contact, key, value, |value| {
                    reading::string(value).map(|address| Contact { id: None, address: Some(address) })
                }),
                "createdAt" => unmapped.take(&mut created_at, key, value, Time::read),
                "lastMessageAt" => unmapped.take(&mut last_message_at, key, value, Time::read),
                "messageCount" => unmapped.take(&mut message_count, key, value, reading::count),
                _ => unmapped.keep(key, value),
            }
            Ok(())
        })?;
        reader.end()?;
        if let Some(messages) = &mut messages {
            reading::oldest_first(messages);
        }
        Ok(Conversation {
            subject: unmapped.subject,
            is_confirmation: false,
            title,
            status: Reported::Absent,
            archived: Reported::Absent,
            important: Reported::Absent,
            tags: Reported::Absent,
            context,
            instructions: Reported::Absent,
            agent,
            contact,
            created_at,
            updated_at: Reported::Absent,
            last_message_at,
            message_count,
            messages,
            vendor_data: unmapped.members,
            warnings: Vec::new(),
        })
    }
}

fn message<'a>(
    reader: &mut Reader<'a>,
    unmapped: &mut Unmapped<'a>,
    all: &mut Messages<'a>,
) -> Result<Message<'a>, JsonError> {
    let (start, first_file) = (unmapped.members.len(), all.attachments.len());
    let (mut id, mut role, mut text, mut created_at) =
        (Reported::Absent, Reported::Absent, Reported::Absent, Reported::Absent);
    let (mut single, mut urls) = (None, Vec::new());
    reader.object(|key, reader| {
        let value = reader.raw()?;
        match &*key.name() {
            "id" => unmapped.take(&mut id, key, value, reading::id),
            "body" => unmapped.take(&mut text, key, value, reading::text),
            "direction" => unmapped.role(&mut role, key, value, |word| match word {
                "inbound" => Role::User,
                "outbound" => Role::Assistant,
                _ => Role::Other,
            }),
            "receivedAt" => unmapped.take(&mut created_at, key, value, Time::read),
            "mediaUrl" if value.kind() == Kind::String => single = Some(value),
            "mediaUrls" if value.kind() == Kind::Array => {
                urls = value.items();
                if urls.iter().any(|url| url.kind() != Kind::String) {
                    urls.clear();
                    unmapped.keep(key, value);
                }
            }
            _ => unmapped.keep(key, value),
        }
        Ok(())
    })?;
    // A URL occurs once. A few URLs are compared with each other, many are looked up in a set.
    let mut seen = (urls.len() > 16).then(HashSet::new);
    for url in urls.into_iter().chain(single) {
        let is_new = match &mut seen {
            Some(seen) => seen.insert(url.as_str()),
            None => {
                let files = all.attachments.get(first_file..).unwrap_or_default();
                let same = |other: Raw<'a>| other == url || other.as_str() == url.as_str();
                !files.iter().filter_map(|file| file.url).any(same)
            }
        };
        if is_new {
            all.attachments.push(Attachment { url: Some(url), ..Attachment::default() });
        }
    }
    Ok(Message {
        id,
        role,
        text,
        created_at,
        attachments: first_file..all.attachments.len(),
        unmapped: start..unmapped.members.len(),
    })
}
