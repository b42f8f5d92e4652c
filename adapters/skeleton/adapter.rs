//! Acme AI. <https://docs.acme.example/update-conversation>
//!
//! Peculiar: say here what differs from other vendors, each fact with its source.

use bytes::Bytes;
use http::Response;

use crate::adapter::Adapter;
use crate::call::{DecodeContext, DecodeError};
use crate::canonical::{Conversation, Field, Message, Messages, Reported, Role, Time};
use crate::json::{JsonError, Reader};
use crate::reading::{self, Unmapped};
use crate::spec::{Conversion, Credential, Endpoint, Example, NullHandling, Row, Spec};

const REPORTED: &[&str] = &["title", "context", "created_at", "messages"];

static SPEC: Spec = Spec {
    vendor: "acme",
    title: "Acme AI",
    docs: "https://docs.acme.example/update-conversation",
    base_url: "https://api.acme.example",
    credential: Credential::Bearer,
    settings: &[],
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
                wire: "title",
                reported: "title",
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
        id: "conv_1",
        settings: &[],
        patch: r#"{"title":"Delivery","context":{"order_id":"A-1001"}}"#,
    },
    is_payment_required: |_| false,
};

pub(crate) struct Acme;

impl Adapter for Acme {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn decode<'a>(
        &self,
        cx: &DecodeContext<'a>,
        reply: &'a Response<Bytes>,
    ) -> Result<Conversation<'a>, DecodeError> {
        let mut unmapped = Unmapped::default();
        let (mut title, mut context, mut created_at) = (Reported::Absent, Reported::Absent, Reported::Absent);
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
                "title" => unmapped.take(&mut title, key, value, reading::string),
                "metadata" => unmapped.take(&mut context, key, value, reading::context),
                "createdAt" => unmapped.take(&mut created_at, key, value, Time::read),
                _ => unmapped.keep(key, value),
            }
            Ok(())
        })?;
        reader.end()?;
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
            agent: Reported::Absent,
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
            "text" => unmapped.take(&mut text, key, value, reading::text),
            "createdAt" => unmapped.take(&mut created_at, key, value, Time::read),
            _ => unmapped.keep(key, value),
        }
        Ok(())
    })?;
    Ok(Message { id, role, text, created_at, attachments: 0..0, unmapped: start..unmapped.members.len() })
}
