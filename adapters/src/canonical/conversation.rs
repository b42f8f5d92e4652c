//! The one answer: a conversation, whichever vendor keeps it.

use std::borrow::Cow;
use std::ops::Range;

use super::time::Time;
use crate::json::{Raw, quote};

/// A member's three states.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Slot<T> {
    /// The vendor does not report it.
    #[default]
    Absent,
    /// The vendor says that there is none.
    Null,
    /// The vendor says what it is.
    Value(T),
}

/// One member that a vendor sent and that has no canonical place: kept under its own name, byte for byte.
#[derive(Debug, Clone)]
pub struct Pair<'a> {
    /// The name as it was written, without its quotes.
    pub name: &'a str,
    /// The JSON value.
    pub value: Cow<'a, str>,
}

/// A conversation's state in canonical words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Going on.
    Active,
    /// Over.
    Ended,
    /// Failed at the vendor.
    Error,
    /// Deleted at the vendor.
    Deleted,
    /// A word that is not in this list; the vendor's own stands in `vendor_data`.
    Other,
}

impl Status {
    /// The word as callers see it.
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

/// Who wrote a message.
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
    /// A word that is not in this list; the vendor's own stands in `vendor_data`.
    Other,
}

impl Role {
    /// The word as callers see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::System => "system",
            Role::Tool => "tool",
            Role::Other => "other",
        }
    }

    /// The role of that canonical name.
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

/// The AI agent in charge. All values are JSON.
#[derive(Debug, Clone, Default)]
pub struct Agent<'a> {
    /// The vendor's id of the agent.
    pub id: Option<Raw<'a>>,
    /// Its name.
    pub name: Option<Raw<'a>>,
    /// The vendor's word for its state.
    pub status: Option<Raw<'a>>,
}

/// The person at the other end. All values are JSON.
#[derive(Debug, Clone, Default)]
pub struct Contact<'a> {
    /// The vendor's id of the contact.
    pub id: Option<Raw<'a>>,
    /// A phone number or e-mail address.
    pub address: Option<Raw<'a>>,
}

/// A file that hangs on a message. All values are JSON.
#[derive(Debug, Clone, Default)]
pub struct Attachment<'a> {
    /// The vendor's id of the file.
    pub id: Option<Raw<'a>>,
    /// Where it can be fetched.
    pub url: Option<Raw<'a>>,
    /// Its name.
    pub name: Option<Raw<'a>>,
    /// Its media type.
    pub content_type: Option<Raw<'a>>,
    /// Its size in bytes.
    pub size: Option<Raw<'a>>,
}

/// One message. `attachments` and `rest` point into the lists of [`Messages`].
#[derive(Debug, Clone)]
pub struct Message<'a> {
    /// The vendor's id.
    pub id: Slot<Raw<'a>>,
    /// Who wrote it.
    pub role: Slot<Role>,
    /// What it says, as a JSON string.
    pub text: Slot<Cow<'a, str>>,
    /// When it was written or received.
    pub created_at: Slot<Time<'a>>,
    /// Its attachments.
    pub attachments: Range<usize>,
    /// What has no canonical place.
    pub rest: Range<usize>,
}

/// The messages, oldest first, with the lists that they share: two allocations instead of two for each message.
#[derive(Debug, Clone, Default)]
pub struct Messages<'a> {
    /// The messages.
    pub items: Vec<Message<'a>>,
    /// All attachments, message after message.
    pub attachments: Vec<Attachment<'a>>,
    /// All leftovers, message after message.
    pub rest: Vec<Pair<'a>>,
}

/// Something that the caller should know about an update that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What sort.
    pub code: &'static str,
    /// The canonical member that it is about.
    pub pointer: Option<String>,
    /// A sentence.
    pub detail: String,
}

/// The answer. Adapters write every member out, so that a new one makes the compiler ask each of them.
#[derive(Debug, Clone)]
pub struct Conversation<'a> {
    /// Title, a JSON string.
    pub title: Slot<Raw<'a>>,
    /// State.
    pub status: Slot<Status>,
    /// Put away.
    pub archived: Slot<bool>,
    /// Marked as important.
    pub important: Slot<bool>,
    /// Free context, any JSON.
    pub context: Slot<Raw<'a>>,
    /// Instructions to the model, a JSON string.
    pub instructions: Slot<Raw<'a>>,
    /// The agent in charge.
    pub agent: Slot<Agent<'a>>,
    /// The person at the other end.
    pub contact: Slot<Contact<'a>>,
    /// When it began.
    pub created_at: Slot<Time<'a>>,
    /// When it was last changed.
    pub updated_at: Slot<Time<'a>>,
    /// When the last message came.
    pub last_message_at: Slot<Time<'a>>,
    /// How many messages there are (`messages` may be a window), a JSON number.
    pub message_count: Slot<Raw<'a>>,
    /// The messages, oldest first.
    pub messages: Option<Messages<'a>>,
    /// What has no canonical place, under the vendor's own names.
    pub vendor_data: Vec<Pair<'a>>,
    /// What the caller should know.
    pub warnings: Vec<Warning>,
}

impl Conversation<'_> {
    /// By how many bytes at most, as a rule, the JSON text is longer than the vendor's.
    pub fn added(&self) -> usize {
        512 + 64 * self.messages.as_ref().map_or(0, |messages| messages.items.len())
    }

    /// Appends the JSON text. `id` is the canonical one, with the upstream's name.
    pub fn write(&self, id: &str, vendor: &str, upstream: &str, more: &[Warning], out: &mut Vec<u8>) {
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
        member(out, b",\"context\":", &self.context, raw);
        member(out, b",\"instructions\":", &self.instructions, raw);
        member(out, b",\"agent\":", &self.agent, |agent, out| {
            object(out, &[("id", agent.id), ("name", agent.name), ("status", agent.status)]);
        });
        member(out, b",\"contact\":", &self.contact, |contact, out| {
            object(out, &[("id", contact.id), ("address", contact.address)]);
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
        warnings(&self.warnings, more, out);
        out.push(b'}');
    }
}

impl Messages<'_> {
    fn write(&self, message: &Message<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        member(out, b",\"id\":", &message.id, raw);
        member(out, b",\"role\":", &message.role, |role, out| word(role.as_str(), out));
        member(out, b",\"text\":", &message.text, |text, out| out.extend_from_slice(text.as_bytes()));
        member(out, b",\"created_at\":", &message.created_at, time);
        let attachments = self.attachments.get(message.attachments.clone()).unwrap_or_default();
        for (at, file) in attachments.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b",\"attachments\":[" } else { b"," });
            object(
                out,
                &[
                    ("id", file.id),
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
        vendor_data(self.rest.get(message.rest.clone()).unwrap_or_default(), out);
        // Every member was written with a comma before it; the first one opens the object instead.
        match out.get_mut(start) {
            Some(comma) => *comma = b'{',
            None => out.push(b'{'),
        }
        out.push(b'}');
    }
}

/// Appends `,"name":` and the value unless the slot is empty.
#[inline]
fn member<T>(out: &mut Vec<u8>, name: &[u8], slot: &Slot<T>, write: impl FnOnce(&T, &mut Vec<u8>)) {
    if matches!(slot, Slot::Absent) {
        return;
    }
    out.extend_from_slice(name);
    match slot {
        Slot::Value(value) => write(value, out),
        Slot::Null | Slot::Absent => out.extend_from_slice(b"null"),
    }
}

fn raw(value: &Raw<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(value.text().as_bytes());
}

/// One of our own words, in which nothing needs an escape.
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

fn object(out: &mut Vec<u8>, members: &[(&str, Option<Raw<'_>>)]) {
    let mut mark = b'{';
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

fn vendor_data(pairs: &[Pair<'_>], out: &mut Vec<u8>) {
    for (at, pair) in pairs.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b",\"vendor_data\":{\"" } else { b",\"" });
        out.extend_from_slice(pair.name.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(pair.value.as_bytes());
    }
    if !pairs.is_empty() {
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
