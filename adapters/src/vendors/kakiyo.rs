//! Kakiyo. <https://docs.kakiyo.com/api-reference/prospects/update-custom-data>
//!
//! Peculiarities: only one opaque text can be set. The answer to an update confirms it without the conversation. The
//! empty string clears, and then `customDataSaved` is false without being a failure. The documentation both limits the
//! text to 3000 characters and says that longer texts are cut, so the limit is enforced here. A 403 with
//! `subscription_inactive` asks for payment. A read has another shape, never has the text, and costs a credit.

use bytes::Bytes;
use http::Response;

use crate::adapter::Adapter;
use crate::body;
use crate::call::{DecodeContext, DecodeError};
use crate::canonical::{Conversation, Field, Message, Messages, Reported, Role, Time, Warning, WarningCode};
use crate::json::{JsonError, Reader};
use crate::reading::{self, Unmapped};

use crate::spec::{Conversion, Credential, Endpoint, Example, NullHandling, Row, Spec};

static SPEC: Spec = Spec {
    vendor: "kakiyo",
    title: "Kakiyo",
    docs: "https://docs.kakiyo.com/api-reference/prospects/update-custom-data",
    base_url: "https://api.kakiyo.com",
    credential: Credential::Bearer,
    settings: &[],
    update: &[Endpoint::patch(
        "/v1/prospects/{id}/custom-data",
        &[Row {
            field: Field::Context,
            wire: "customData",
            reported: "customData",
            conversion: Conversion::ContextAsText { max_utf16: 3000 },
            null: NullHandling::EmptyText,
        }],
    )],
    read: Some(Endpoint::get("/v1/prospects/{id}")),
    reported_members: &["context"],
    read_members: &["last_message_at", "messages"],
    idempotency_key: false,
    rate_limit: Some((60, 60)),
    example: Example {
        id: "chat_12345abcde",
        settings: &[],
        patch: r#"{"context":"John replied positively to the AI outbound post; reference that follow-up."}"#,
    },
    is_payment_required: |error| error.code.as_deref() == Some("subscription_inactive"),
};

pub(crate) struct Kakiyo;

impl Adapter for Kakiyo {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn decode<'a>(
        &self,
        cx: &DecodeContext<'a>,
        reply: &'a Response<Bytes>,
    ) -> Result<Conversation<'a>, DecodeError> {
        let mut unmapped = Unmapped::default();
        let (mut saved, mut length) = (None, None);
        let mut reader = Reader::lenient(reply.body())?;
        reader.object(|key, reader| {
            let value = reader.raw()?;
            match &*key.name() {
                "chatId" => unmapped.id(cx.vendor_id(), key, value),
                name => {
                    match name {
                        "customDataSaved" => saved = value.as_bool(),
                        "customDataLength" => length = value.text().parse::<usize>().ok(),
                        _ => {}
                    }
                    unmapped.keep(key, value);
                }
            }
            Ok(())
        })?;
        reader.end()?;

        let mut conversation = Conversation { subject: unmapped.subject, ..reading::confirm(cx) };
        conversation.vendor_data = unmapped.members;
        if let Some(sent) = sent_text(cx) {
            if sent.is_empty() {
                if saved == Some(false) {
                    conversation.context = Reported::Null;
                }
            } else if saved == Some(false) {
                conversation.context = Reported::Absent;
                conversation.warnings.push(warning(
                    WarningCode::NotSaved,
                    "Kakiyo took the text but says that it stored none.",
                ));
            } else if length.is_some_and(|length| length < sent.chars().count()) {
                // The unit is not documented; fewer than the characters sent is too few in every unit.
                conversation.warnings.push(warning(
                    WarningCode::Truncated,
                    "Kakiyo reports fewer characters stored than were sent.",
                ));
            }
        }
        Ok(conversation)
    }

    fn decode_read<'a>(
        &self,
        cx: &DecodeContext<'a>,
        reply: &'a Response<Bytes>,
    ) -> Result<Conversation<'a>, DecodeError> {
        let mut unmapped = Unmapped::default();
        let (mut last_message_at, mut messages) = (Reported::Absent, None);
        let mut reader = Reader::lenient(reply.body())?;
        reader.object(|key, reader| {
            if key.name() == "messages" {
                messages = reading::messages(key, reader, &mut unmapped, message)?;
                return Ok(());
            }
            let value = reader.raw()?;
            match &*key.name() {
                "id" => unmapped.id(cx.vendor_id(), key, value),
                "lastMessage" => unmapped.take(&mut last_message_at, key, value, Time::read),
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
            title: Reported::Absent,
            status: Reported::Absent,
            archived: Reported::Absent,
            important: Reported::Absent,
            tags: Reported::Absent,
            context: Reported::Absent,
            instructions: Reported::Absent,
            agent: Reported::Absent,
            contact: Reported::Absent,
            created_at: Reported::Absent,
            updated_at: Reported::Absent,
            last_message_at,
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
    _: &mut Messages<'a>,
) -> Result<Message<'a>, JsonError> {
    let start = unmapped.members.len();
    let (mut id, mut role, mut text, mut created_at) =
        (Reported::Absent, Reported::Absent, Reported::Absent, Reported::Absent);
    reader.object(|key, reader| {
        let value = reader.raw()?;
        match &*key.name() {
            "id" => unmapped.take(&mut id, key, value, reading::id),
            "role" => unmapped.role(&mut role, key, value, Role::named),
            "content" => unmapped.take(&mut text, key, value, reading::text),
            "date" => unmapped.take(&mut created_at, key, value, Time::read),
            _ => unmapped.keep(key, value),
        }
        Ok(())
    })?;
    Ok(Message { id, role, text, created_at, attachments: 0..0, unmapped: start..unmapped.members.len() })
}

/// Text that was sent, if the update set the context.
fn sent_text<'a>(cx: &DecodeContext<'a>) -> Option<std::borrow::Cow<'a, str>> {
    match cx.set(Field::Context) {
        Reported::Value(context) => Some(body::context_text(context)),
        Reported::Null => Some("".into()),
        Reported::Absent => None,
    }
}

fn warning(code: WarningCode, detail: &str) -> Warning {
    let pointer = Some(Field::Context.pointer().to_owned());
    Warning { code: code.as_str(), pointer, detail: detail.to_owned() }
}
