//! The canonical answer: a conversation of any vendor.

use std::borrow::Cow;
use std::ops::Range;

use super::time::Time;
use super::warning::WarningCode;
use crate::json::{Kind, Raw, quote};

/// State of a member in a vendor's answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reported<T> {
    /// The vendor does not report it.
    #[default]
    Absent,
    /// The vendor reports null: there is none.
    Null,
    /// The reported value.
    Value(T),
}

impl<T> Reported<T> {
    /// The same state of a value that is derived from this one.
    pub fn map<U>(&self, derive: impl FnOnce(&T) -> U) -> Reported<U> {
        match self {
            Reported::Value(value) => Reported::Value(derive(value)),
            Reported::Null => Reported::Null,
            Reported::Absent => Reported::Absent,
        }
    }
}

/// A vendor's member without a canonical place, kept byte for byte under its own name.
#[derive(Debug, Clone)]
pub struct RawMember<'a> {
    /// Name as written, without its quotes.
    pub name: &'a str,
    /// JSON text of the value.
    pub value: Cow<'a, str>,
}

/// State of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// In progress.
    Active,
    /// Ended.
    Ended,
    /// Failed at the vendor.
    Error,
    /// Deleted at the vendor.
    Deleted,
    /// Any other word; the vendor's is kept in `vendor_data`.
    Other,
}

impl Status {
    /// All states, in the order of the documentation.
    pub const ALL: &[Status] =
        &[Status::Active, Status::Ended, Status::Error, Status::Deleted, Status::Other];

    /// State of a word; `None` for a word that is not canonical.
    pub fn named(word: &str) -> Option<Status> {
        Status::ALL.iter().copied().find(|status| status.as_str() == word)
    }

    /// Word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Active => "active",
            Status::Ended => "ended",
            Status::Error => "error",
            Status::Deleted => "deleted",
            Status::Other => "other",
        }
    }
}

/// Conversation that an answer is about, by the id that it holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Subject {
    /// The answer holds no id.
    #[default]
    Unnamed,
    /// The one that was asked for.
    Asked,
    /// Another one.
    Other,
}

/// Author of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The person.
    User,
    /// The AI agent.
    Assistant,
    /// The platform.
    System,
    /// A tool that the agent called.
    Tool,
    /// Any other word; the vendor's is kept in `vendor_data`.
    Other,
}

impl Role {
    /// All roles, in the order of the documentation.
    pub const ALL: &[Role] = &[Role::User, Role::Assistant, Role::System, Role::Tool, Role::Other];

    /// Word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::System => "system",
            Role::Tool => "tool",
            Role::Other => "other",
        }
    }

    /// Role of a canonical word; [`Role::Other`] for any other word.
    pub fn named(word: &str) -> Role {
        match word {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            "tool" => Role::Tool,
            _ => Role::Other,
        }
    }
}

/// AI agent in charge. All values are JSON; an id is a string, or a number that is written as a string.
#[derive(Debug, Clone, Default)]
pub struct Agent<'a> {
    /// Id at the vendor.
    pub id: Option<Raw<'a>>,
    /// Name.
    pub name: Option<Raw<'a>>,
    /// Vendor's word for its state.
    pub status: Option<Raw<'a>>,
}

/// Person at the other end. All values are JSON; an id is as in [`Agent`].
#[derive(Debug, Clone, Default)]
pub struct Contact<'a> {
    /// Id at the vendor.
    pub id: Option<Raw<'a>>,
    /// Phone number or e-mail address.
    pub address: Option<Raw<'a>>,
}

/// File attached to a message. All values are JSON; an id is as in [`Agent`].
#[derive(Debug, Clone, Default)]
pub struct Attachment<'a> {
    /// Id at the vendor.
    pub id: Option<Raw<'a>>,
    /// URL of the content.
    pub url: Option<Raw<'a>>,
    /// Name.
    pub name: Option<Raw<'a>>,
    /// Media type.
    pub content_type: Option<Raw<'a>>,
    /// Size in bytes.
    pub size: Option<Raw<'a>>,
}

/// One message. `attachments` and `unmapped` are ranges of the lists of [`Messages`].
#[derive(Debug, Clone)]
pub struct Message<'a> {
    /// Id at the vendor, as in [`Agent`].
    pub id: Reported<Raw<'a>>,
    /// Author.
    pub role: Reported<Role>,
    /// Text, as a JSON string.
    pub text: Reported<Cow<'a, str>>,
    /// Time of writing or receipt.
    pub created_at: Reported<Time<'a>>,
    /// Attachments.
    pub attachments: Range<usize>,
    /// Members without a canonical place.
    pub unmapped: Range<usize>,
}

/// Messages, oldest first, with the lists that they share, so that a message needs no allocations of its own.
#[derive(Debug, Clone, Default)]
pub struct Messages<'a> {
    /// Messages.
    pub items: Vec<Message<'a>>,
    /// Attachments of all messages.
    pub attachments: Vec<Attachment<'a>>,
    /// Members without a canonical place, of all messages.
    pub unmapped: Vec<RawMember<'a>>,
}

/// Notice about an update that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Kind of warning: a [`WarningCode`], or the [`FaultCode`](super::FaultCode) of a member that was left out.
    pub code: &'static str,
    /// Canonical member concerned.
    pub pointer: Option<String>,
    /// One sentence.
    pub detail: String,
}

/// A conversation. Adapters name every member, so that the compiler finds each adapter that lacks a new one.
#[derive(Debug, Clone)]
pub struct Conversation<'a> {
    /// Conversation that the answer is about.
    pub subject: Subject,
    /// True if the members are those that were set, because the answer confirms them without the conversation.
    pub is_confirmation: bool,
    /// Title, as a JSON string.
    pub title: Reported<Raw<'a>>,
    /// State.
    pub status: Reported<Status>,
    /// True if archived.
    pub archived: Reported<bool>,
    /// True if marked as important.
    pub important: Reported<bool>,
    /// Tags, as a JSON list of strings.
    pub tags: Reported<Raw<'a>>,
    /// Context, as any JSON.
    pub context: Reported<Raw<'a>>,
    /// Instructions to the model, as a JSON string.
    pub instructions: Reported<Raw<'a>>,
    /// AI agent in charge.
    pub agent: Reported<Agent<'a>>,
    /// Person at the other end.
    pub contact: Reported<Contact<'a>>,
    /// Time of creation.
    pub created_at: Reported<Time<'a>>,
    /// Time of the last change.
    pub updated_at: Reported<Time<'a>>,
    /// Time of the last message.
    pub last_message_at: Reported<Time<'a>>,
    /// Number of all messages, as a JSON number; `messages` may be a part of them.
    pub message_count: Reported<Raw<'a>>,
    /// Messages, oldest first.
    pub messages: Option<Messages<'a>>,
    /// Members without a canonical place, under the vendor's names.
    pub vendor_data: Vec<RawMember<'a>>,
    /// Notices for the caller.
    pub warnings: Vec<Warning>,
}

impl Conversation<'_> {
    /// True for the whole conversation that was asked for, as the vendor reports it after the call.
    pub fn is_whole(&self) -> bool {
        let is_pending = || self.warnings.iter().any(|it| it.code == WarningCode::Accepted.as_str());
        self.subject == Subject::Asked && !self.is_confirmation && !is_pending()
    }

    /// Estimated growth of the JSON text over the vendor's, in bytes; a capacity hint.
    pub fn added(&self) -> usize {
        512 + 64 * self.messages.as_ref().map_or(0, |messages| messages.items.len())
    }

    /// Appends the JSON text. `id` is the canonical id; `more` are warnings from elsewhere. Returns the length of `out`
    /// before the warnings.
    pub fn write(
        &self,
        id: &str,
        vendor: &str,
        upstream: &str,
        more: &[Warning],
        out: &mut Vec<u8>,
    ) -> usize {
        out.extend_from_slice(b"{\"id\":");
        quote(id, out);
        out.extend_from_slice(b",\"vendor\":");
        quote(vendor, out);
        out.extend_from_slice(b",\"upstream\":");
        quote(upstream, out);
        member(out, b",\"title\":", &self.title, raw);
        member(out, b",\"status\":", &self.status, |status, out| word(status.as_str(), out));
        member(out, b",\"archived\":", &self.archived, boolean);
        member(out, b",\"important\":", &self.important, boolean);
        member(out, b",\"tags\":", &self.tags, raw);
        member(out, b",\"context\":", &self.context, raw);
        member(out, b",\"instructions\":", &self.instructions, raw);
        member(out, b",\"agent\":", &self.agent, |agent, out| {
            object(out, agent.id, &[("name", agent.name), ("status", agent.status)]);
        });
        member(out, b",\"contact\":", &self.contact, |contact, out| {
            object(out, contact.id, &[("address", contact.address)]);
        });
        member(out, b",\"created_at\":", &self.created_at, time);
        member(out, b",\"updated_at\":", &self.updated_at, time);
        member(out, b",\"last_message_at\":", &self.last_message_at, time);
        member(out, b",\"message_count\":", &self.message_count, raw);
        if let Some(messages) = &self.messages {
            out.extend_from_slice(b",\"messages\":[");
            for (at, message) in messages.items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                messages.write(message, out);
            }
            out.push(b']');
        }
        vendor_data(&self.vendor_data, out);
        let without_warnings = out.len();
        warnings(&self.warnings, more, out);
        out.push(b'}');
        without_warnings
    }

    /// The id and the warnings alone, as JSON text; `None` without a warning.
    pub fn notices(&self, id: &str, more: &[Warning]) -> Option<Vec<u8>> {
        if self.warnings.is_empty() && more.is_empty() {
            return None;
        }
        let mut out = b"{\"id\":".to_vec();
        quote(id, &mut out);
        warnings(&self.warnings, more, &mut out);
        out.push(b'}');
        Some(out)
    }
}

impl Messages<'_> {
    fn write(&self, message: &Message<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        member(out, b",\"id\":", &message.id, id);
        member(out, b",\"role\":", &message.role, |role, out| word(role.as_str(), out));
        member(out, b",\"text\":", &message.text, |text, out| out.extend_from_slice(text.as_bytes()));
        member(out, b",\"created_at\":", &message.created_at, time);
        let attachments = self.attachments.get(message.attachments.clone()).unwrap_or_default();
        for (at, file) in attachments.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b",\"attachments\":[" } else { b"," });
            object(
                out,
                file.id,
                &[
                    ("url", file.url),
                    ("name", file.name),
                    ("content_type", file.content_type),
                    ("size", file.size),
                ],
            );
        }
        if !attachments.is_empty() {
            out.push(b']');
        }
        vendor_data(self.unmapped.get(message.unmapped.clone()).unwrap_or_default(), out);
        // Every member was written with a comma before it; the first one opens the object instead.
        match out.get_mut(start) {
            Some(comma) => *comma = b'{',
            None => out.push(b'{'),
        }
        out.push(b'}');
    }
}

/// Appends `,"name":` and the value, unless the member is absent.
#[inline]
fn member<T>(out: &mut Vec<u8>, name: &[u8], slot: &Reported<T>, write: impl FnOnce(&T, &mut Vec<u8>)) {
    if matches!(slot, Reported::Absent) {
        return;
    }
    out.extend_from_slice(name);
    match slot {
        Reported::Value(value) => write(value, out),
        Reported::Null | Reported::Absent => out.extend_from_slice(b"null"),
    }
}

fn raw(value: &Raw<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(value.text().as_bytes());
}

/// Appends a canonical word, which needs no escapes.
fn word(word: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(word.as_bytes());
    out.push(b'"');
}

fn boolean(value: &bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if *value { b"true" } else { b"false" });
}

fn time(value: &Time<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(value.local().as_bytes());
    out.extend_from_slice(b"Z\"");
}

/// Appends an id as a string, with the digits of a number.
#[inline]
fn id(value: &Raw<'_>, out: &mut Vec<u8>) {
    if value.kind() == Kind::Number { word(value.text(), out) } else { raw(value, out) }
}

fn object(out: &mut Vec<u8>, own_id: Option<Raw<'_>>, members: &[(&str, Option<Raw<'_>>)]) {
    let mut mark = b'{';
    if let Some(own_id) = own_id {
        out.extend_from_slice(b"{\"id\":");
        id(&own_id, out);
        mark = b',';
    }
    for (name, value) in members.iter().filter_map(|(name, value)| Some((name, (*value)?))) {
        out.push(mark);
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        raw(&value, out);
        mark = b',';
    }
    if mark == b'{' {
        out.push(b'{');
    }
    out.push(b'}');
}

fn vendor_data(members: &[RawMember<'_>], out: &mut Vec<u8>) {
    for (at, member) in members.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b",\"vendor_data\":{\"" } else { b",\"" });
        out.extend_from_slice(member.name.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(member.value.as_bytes());
    }
    if !members.is_empty() {
        out.push(b'}');
    }
}

fn warnings(own: &[Warning], more: &[Warning], out: &mut Vec<u8>) {
    for (at, warning) in more.iter().chain(own).enumerate() {
        out.extend_from_slice(if at == 0 { b",\"warnings\":[" } else { b"," });
        warning.write(out);
    }
    if !(own.is_empty() && more.is_empty()) {
        out.push(b']');
    }
}

impl Warning {
    /// Appends the JSON text.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"code\":");
        quote(self.code, out);
        if let Some(pointer) = &self.pointer {
            out.extend_from_slice(b",\"pointer\":");
            quote(pointer, out);
        }
        out.extend_from_slice(b",\"detail\":");
        quote(&self.detail, out);
        out.push(b'}');
    }
}
