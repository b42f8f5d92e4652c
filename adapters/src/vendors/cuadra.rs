//! Cuadra AI. <https://docs.cuadra.ai/api-reference/endpoints/chats/update-chat>
//!
//! Peculiarities: the credential may be a client-credentials token that is valid for one hour. Every update carries an
//! `Idempotency-Key`, as the vendor's UI kit sends it. An empty 2xx is a success. Deleted chats have `deletedAt`; the
//! status is null while idle. A 403 may ask for credits. Errors are RFC 7807 or FastAPI's list.

use bytes::Bytes;
use http::Response;

use crate::adapter::Adapter;
use crate::call::{DecodeContext, DecodeError};
use crate::canonical::{
    Attachment, Conversation, Field, Message, Messages, Reported, Role, Status, Subject, Time,
};
use crate::failure::VendorError;
use crate::json::{JsonError, Kind, Raw, Reader};
use crate::reading::{self, Unmapped};
use crate::spec::{Conversion, Credential, Endpoint, Example, NullHandling, Row, Spec};

const REPORTED: &[&str] =
    &["title", "status", "context", "instructions", "created_at", "updated_at", "messages"];

static SPEC: Spec = Spec {
    vendor: "cuadra",
    title: "Cuadra AI",
    docs: "https://docs.cuadra.ai/api-reference/endpoints/chats/update-chat",
    base_url: "https://api.cuadra.ai",
    credential: Credential::Bearer,
    settings: &[],
    update: &[Endpoint::patch(
        "/v1/chats/{id}",
        &[
            Row {
                field: Field::Context,
                wire: "metadata",
                reported: "metadata",
                conversion: Conversion::ObjectOrString,
                null: NullHandling::Sent,
            },
            Row {
                field: Field::Title,
                wire: "title",
                reported: "title",
                conversion: Conversion::Text { max: Some(500) },
                null: NullHandling::Sent,
            },
            Row {
                field: Field::Instructions,
                wire: "systemPrompt",
                reported: "systemPrompt",
                conversion: Conversion::Text { max: None },
                null: NullHandling::Sent,
            },
        ],
    )],
    read: Some(Endpoint::get("/v1/chats/{id}")),
    reported_members: REPORTED,
    read_members: REPORTED,
    idempotency_key: true,
    rate_limit: Some((60, 60)),
    example: Example {
        id: "a4f0c0a2-4b1d-4e57-8a2a-0c18f9d4b1e2",
        settings: &[],
        patch: r#"{"title":"Updated Support Chat","instructions":"You are a helpful assistant.","context":{"priority":"high"}}"#,
    },
    is_payment_required: out_of_credits,
};

/// Recognizes an exhausted account by the words that the vendor's client looks for.
fn out_of_credits(error: &VendorError) -> bool {
    let text = error.message.as_deref().unwrap_or_default().to_lowercase();
    let usage_limit = text
        .find("usage")
        .is_some_and(|at| text.get(at..).is_some_and(|unmapped| unmapped.contains("limit")));
    usage_limit || ["credit", "quota", "balance", "overage"].iter().any(|word| text.contains(word))
}

pub(crate) struct Cuadra;

impl Adapter for Cuadra {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn decode<'a>(
        &self,
        cx: &DecodeContext<'a>,
        reply: &'a Response<Bytes>,
    ) -> Result<Conversation<'a>, DecodeError> {
        let mut unmapped = Unmapped::default();
        let (mut title, mut context, mut instructions) =
            (Reported::Absent, Reported::Absent, Reported::Absent);
        let (mut created_at, mut updated_at) = (Reported::Absent, Reported::Absent);
        let (mut messages, mut state, mut deleted) = (None, None, false);
        let mut reader = Reader::lenient(reply.body())?;
        reader.object(|key, reader| {
            if key.name() == "messages" {
                messages = reading::messages(key, reader, &mut unmapped, message)?;
                return Ok(());
            }
            let value = reader.raw()?;
            match &*key.name() {
                "id" => unmapped.id(cx.vendor_id(), key, value),
                "title" => unmapped.take(&mut title, key, value, reading::string),
                "systemPrompt" => unmapped.take(&mut instructions, key, value, reading::string),
                "metadata" => unmapped.take(&mut context, key, value, reading::context),
                "createdAt" => unmapped.take(&mut created_at, key, value, Time::read),
                "updatedAt" => unmapped.take(&mut updated_at, key, value, Time::read),
                "status" => state = Some((key, value)),
                name => {
                    deleted |= name == "deletedAt" && !reading::is_no_time(value);
                    unmapped.keep(key, value);
                }
            }
            Ok(())
        })?;
        reader.end()?;

        let word = state.and_then(|(_, value)| value.as_str());
        let status = match word.as_deref() {
            // An answer without the id is no chat that could have a status.
            _ if unmapped.subject == Subject::Unnamed => Reported::Absent,
            _ if deleted => Reported::Value(Status::Deleted),
            Some("error") => Reported::Value(Status::Error),
            _ => Reported::Value(Status::Active),
        };
        // The vendor's word is kept unless it is the canonical word.
        let is_said = |word: &str| matches!(status, Reported::Value(status) if status.as_str() == word);
        if let Some((key, value)) = state.filter(|_| !word.as_deref().is_some_and(is_said)) {
            unmapped.keep(key, value);
        }
        Ok(Conversation {
            subject: unmapped.subject,
            is_confirmation: false,
            title,
            status,
            archived: Reported::Absent,
            important: Reported::Absent,
            tags: Reported::Absent,
            context,
            instructions,
            agent: Reported::Absent,
            contact: Reported::Absent,
            created_at,
            updated_at,
            last_message_at: Reported::Absent,
            message_count: Reported::Absent,
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
    reader.object(|key, reader| {
        let value = reader.raw()?;
        match &*key.name() {
            "id" => unmapped.take(&mut id, key, value, reading::id),
            "role" => unmapped.role(&mut role, key, value, Role::named),
            "content" => unmapped.take(&mut text, key, value, reading::text),
            "createdAt" => unmapped.take(&mut created_at, key, value, Time::read),
            "files" => {
                if !files(value, &mut all.attachments) {
                    unmapped.keep(key, value);
                }
            }
            _ => unmapped.keep(key, value),
        }
        Ok(())
    })?;
    Ok(Message {
        id,
        role,
        text,
        created_at,
        attachments: first_file..all.attachments.len(),
        unmapped: start..unmapped.members.len(),
    })
}

/// Reads the files of a message; returns false if a part of them has no canonical place.
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
                "id" if is_plain || reading::count(value).is_some() => attachment.id = Some(value),
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
