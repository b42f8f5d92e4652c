//! Kakiyo. <https://docs.kakiyo.com/api-reference/prospects/update-custom-data>
//!
//! Peculiar: one opaque text is all that can be set. The answer confirms and does not hold the conversation. The empty
//! string clears, and then `customDataSaved` is false without being a failure. The page both limits the text to 3000
//! characters and says that longer ones are cut, so the limit is kept here. 403 `subscription_inactive` is about money.

use bytes::Bytes;
use http::Response;

use crate::adapter::{Adapter, Convert, Credential, Done, Example, Null, Row, Spec, Unusable};
use crate::canonical::{Conversation, Field, Slot, Warning};
use crate::json::Reader;
use crate::reading::Rest;
use crate::table;

static SPEC: Spec = Spec {
    vendor: "kakiyo",
    title: "Kakiyo",
    docs: "https://docs.kakiyo.com/api-reference/prospects/update-custom-data",
    base_url: "https://api.kakiyo.com",
    path: "/v1/prospects/{id}/custom-data",
    credential: Credential::Bearer,
    settings: &[],
    rows: &[Row {
        field: Field::Context,
        wire: "customData",
        convert: Convert::ContextAsText { max_utf16: 3000 },
        null: Null::EmptyText,
    }],
    reports: &["context"],
    reads: false,
    idempotency_key: false,
    rate_limit: Some((60, 60)),
    example: Example {
        id: "chat_12345abcde",
        settings: &[],
        patch: r#"{"context":"John replied positively to the AI outbound post; reference that follow-up."}"#,
    },
    quota: |error| error.code.as_deref() == Some("subscription_inactive"),
};

pub(crate) struct Kakiyo;

impl Adapter for Kakiyo {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn decode<'a>(&self, done: &Done<'a>, reply: &'a Response<Bytes>) -> Result<Conversation<'a>, Unusable> {
        let mut rest = Rest::default();
        let (mut saved, mut length) = (None, None);
        let mut reader = Reader::lenient(reply.body())?;
        reader.object(|key, reader| {
            let value = reader.raw()?;
            match &*key.name() {
                "chatId" => rest.id(done.target.vendor_id(), key, value),
                name => {
                    match name {
                        "customDataSaved" => saved = value.as_bool(),
                        "customDataLength" => length = value.text().parse::<usize>().ok(),
                        _ => {}
                    }
                    rest.keep(key, value);
                }
            }
            Ok(())
        })?;
        reader.end()?;

        let mut conversation = table::confirm(done);
        conversation.vendor_data = rest.0;
        if let Some(sent) = sent_text(done) {
            if sent.is_empty() {
                if saved == Some(false) {
                    conversation.context = Slot::Null;
                }
            } else if saved == Some(false) {
                conversation.context = Slot::Absent;
                conversation
                    .warnings
                    .push(warning("not-saved", "Kakiyo took the text but says that it stored none."));
            } else if length.is_some_and(|length| length < sent.chars().count()) {
                // Its unit is not documented: fewer than the characters sent is less in every unit.
                conversation
                    .warnings
                    .push(warning("truncated", "Kakiyo reports fewer characters stored than were sent."));
            }
        }
        Ok(conversation)
    }
}

/// The text that was sent, if the patch set the context.
fn sent_text<'a>(done: &Done<'a>) -> Option<std::borrow::Cow<'a, str>> {
    match done.set(Field::Context) {
        Slot::Value(context) => Some(table::context_text(context)),
        Slot::Null => Some("".into()),
        Slot::Absent => None,
    }
}

fn warning(code: &'static str, detail: &str) -> Warning {
    Warning { code, pointer: Some(Field::Context.pointer().to_owned()), detail: detail.to_owned() }
}
