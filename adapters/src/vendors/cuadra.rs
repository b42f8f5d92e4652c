//! Cuadra AI. <https://docs.cuadra.ai/api-reference/endpoints/chats/update-chat>
//!
//! Peculiar: the credential may be a client-credentials token of one hour. Every PATCH carries an `Idempotency-Key`
//! (the vendor's own UI kit does). An empty 2xx is a success. Deleted chats answer with `deletedAt` set; the state is
//! null while idle. A 403 may be about credits. Errors are RFC 7807 or FastAPI's list.

use bytes::Bytes;
use http::Response;

use crate::adapter::{Adapter, Convert, Credential, Done, Example, Null, Row, Spec, Unusable};
use crate::canonical::{Attachment, Conversation, Field, Message, Messages, Role, Slot, Status, Time};
use crate::explain::VendorError;
use crate::json::{Kind, Malformed, Raw, Reader};
use crate::reading::{self, Rest};

static SPEC: Spec = Spec {
    vendor: "cuadra",
    title: "Cuadra AI",
    docs: "https://docs.cuadra.ai/api-reference/endpoints/chats/update-chat",
    base_url: "https://api.cuadra.ai",
    path: "/v1/chats/{id}",
    credential: Credential::Bearer,
    settings: &[],
    rows: &[
        Row { field: Field::Context, wire: "metadata", convert: Convert::ObjectOrString, null: Null::Sent },
        Row {
            field: Field::Title,
            wire: "title",
            convert: Convert::Text { max: Some(500) },
            null: Null::Sent,
        },
        Row {
            field: Field::Instructions,
            wire: "systemPrompt",
            convert: Convert::Text { max: None },
            null: Null::Sent,
        },
    ],
    reports: &["title", "status", "context", "instructions", "created_at", "updated_at", "messages"],
    reads: true,
    idempotency_key: true,
    rate_limit: Some((60, 60)),
    example: Example {
        id: "a4f0c0a2-4b1d-4e57-8a2a-0c18f9d4b1e2",
        settings: &[],
        patch: r#"{"title":"Updated Support Chat","instructions":"You are a helpful assistant.","context":{"priority":"high"}}"#,
    },
    quota: out_of_credits,
};

/// The words by which the vendor's own client tells an empty account from a missing right.
fn out_of_credits(error: &VendorError) -> bool {
    let text = error.message.as_deref().unwrap_or_default().to_lowercase();
    let usage_limit =
        text.find("usage").is_some_and(|at| text.get(at..).is_some_and(|rest| rest.contains("limit")));
    usage_limit || ["credit", "quota", "balance", "overage"].iter().any(|word| text.contains(word))
}

pub(crate) struct Cuadra;

impl Adapter for Cuadra {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn decode<'a>(&self, done: &Done<'a>, reply: &'a Response<Bytes>) -> Result<Conversation<'a>, Unusable> {
        let mut rest = Rest::default();
        let (mut title, mut context, mut instructions) = (Slot::Absent, Slot::Absent, Slot::Absent);
        let (mut created_at, mut updated_at) = (Slot::Absent, Slot::Absent);
        let (mut messages, mut state, mut deleted) = (None, None, false);
        let mut reader = Reader::lenient(reply.body())?;
        reader.object(|key, reader| {
            if key.name() == "messages" {
                messages = reading::messages(key, reader, &mut rest, message)?;
                return Ok(());
            }
            let value = reader.raw()?;
            match &*key.name() {
                "id" => rest.id(done.target.vendor_id(), key, value),
                "title" => rest.take(&mut title, key, value, reading::string),
                "systemPrompt" => rest.take(&mut instructions, key, value, reading::string),
                "metadata" => rest.take(&mut context, key, value, reading::context),
                "createdAt" => rest.take(&mut created_at, key, value, Time::read),
                "updatedAt" => rest.take(&mut updated_at, key, value, Time::read),
                "status" => state = Some((key, value)),
                name => {
                    deleted |= name == "deletedAt" && value.kind() != Kind::Null;
                    rest.keep(key, value);
                }
            }
            Ok(())
        })?;
        reader.end()?;

        let word = state.and_then(|(_, value)| value.as_str());
        let status = match word.as_deref() {
            _ if deleted => Status::Deleted,
            Some("error") => Status::Error,
            _ => Status::Active,
        };
        // Only where the canonical word is the vendor's own is nothing lost.
        if let Some((key, value)) = state.filter(|_| word.as_deref() != Some(status.as_str())) {
            rest.keep(key, value);
        }
        Ok(Conversation {
            title,
            status: Slot::Value(status),
            archived: Slot::Absent,
            important: Slot::Absent,
            context,
            instructions,
            agent: Slot::Absent,
            contact: Slot::Absent,
            created_at,
            updated_at,
            last_message_at: Slot::Absent,
            message_count: Slot::Absent,
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
    reader.object(|key, reader| {
        let value = reader.raw()?;
        match &*key.name() {
            "id" => rest.take(&mut id, key, value, reading::string),
            "role" => rest.role(&mut role, key, value, Role::named),
            "content" => rest.take(&mut text, key, value, reading::text),
            "createdAt" => rest.take(&mut created_at, key, value, Time::read),
            "files" => {
                if !files(value, &mut all.attachments) {
                    rest.keep(key, value);
                }
            }
            _ => rest.keep(key, value),
        }
        Ok(())
    })?;
    Ok(Message {
        id,
        role,
        text,
        created_at,
        attachments: first_file..all.attachments.len(),
        rest: start..rest.0.len(),
    })
}

/// Reads a message's files; false if they hold something that an attachment cannot say.
fn files<'a>(value: Raw<'a>, attachments: &mut Vec<Attachment<'a>>) -> bool {
    let mut complete = value.kind() == Kind::Array;
    for file in value.items() {
        if file.kind() != Kind::Object {
            complete = false;
            continue;
        }
        let mut attachment = Attachment::default();
        for (key, value) in file.members() {
            let is_plain = matches!(value.kind(), Kind::String | Kind::Null);
            match &*key.name() {
                "id" if is_plain => attachment.id = Some(value),
                "url" if is_plain => attachment.url = Some(value),
                "filename" if is_plain => attachment.name = Some(value),
                "contentType" if is_plain => attachment.content_type = Some(value),
                "sizeBytes" if value == Raw::NULL || reading::count(value).is_some() => {
                    attachment.size = Some(value);
                }
                _ => complete = false,
            }
        }
        attachments.push(attachment);
    }
    complete
}
