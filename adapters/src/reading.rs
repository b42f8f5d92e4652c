//! Building blocks for decoding: each member of a reply becomes a canonical value, or is kept as it was written.

use std::borrow::Cow;

use crate::call::DecodeContext;
use crate::canonical::{
    Agent, Contact, Conversation, Field, Message, Messages, RawMember, Reported, Role, Status, Subject, Time,
};
use crate::json::{JsonError, Key, Kind, Raw, Reader};

/// Length of a short message in bytes; most are longer.
const MESSAGE: usize = 512;

/// Members without a canonical place, or whose canonical value has lost something, and the conversation's own id.
#[derive(Debug, Default)]
pub struct Unmapped<'a> {
    /// Members, in the order of the answer.
    pub members: Vec<RawMember<'a>>,
    /// Conversation that the id names.
    pub subject: Subject,
}

impl<'a> Unmapped<'a> {
    /// Keeps a member under the vendor's own name.
    pub fn keep(&mut self, key: Key<'a>, value: Raw<'a>) {
        self.members.push(RawMember { name: key.written(), value: Cow::Borrowed(value.text()) });
    }

    /// Fills `slot` with null, or with the value that `read` returns; a value that it does not understand is kept.
    pub fn take<T>(
        &mut self,
        slot: &mut Reported<T>,
        key: Key<'a>,
        value: Raw<'a>,
        read: impl FnOnce(Raw<'a>) -> Option<T>,
    ) {
        match value.kind() {
            Kind::Null => *slot = Reported::Null,
            _ => match read(value) {
                Some(taken) => *slot = Reported::Value(taken),
                None => self.keep(key, value),
            },
        }
    }

    /// Reads the conversation's own id, a string or a number; keeps it unless it is the one that was asked for.
    pub fn id(&mut self, asked: &str, key: Key<'a>, value: Raw<'a>) {
        self.subject = match value.kind() {
            Kind::String if value.as_str().is_some_and(|id| id == asked) => Subject::Asked,
            Kind::Number if value.text() == asked => Subject::Asked,
            Kind::String | Kind::Number => Subject::Other,
            _ => Subject::Unnamed,
        };
        if self.subject != Subject::Asked {
            self.keep(key, value);
        }
    }

    /// Fills `slot` with the role of a vendor's word; a word for [`Role::Other`] is kept as well.
    pub fn role(&mut self, slot: &mut Reported<Role>, key: Key<'a>, value: Raw<'a>, read: fn(&str) -> Role) {
        self.take(slot, key, value, |value| value.as_str().map(|word| read(&word)));
        if matches!(slot, Reported::Value(Role::Other)) {
            self.keep(key, value);
        }
    }

    /// Fills `slot` with the status of a vendor's word; a word for [`Status::Other`] is kept as well.
    pub fn status(
        &mut self,
        slot: &mut Reported<Status>,
        key: Key<'a>,
        value: Raw<'a>,
        read: fn(&str) -> Status,
    ) {
        self.take(slot, key, value, |value| value.as_str().map(|word| read(&word)));
        if matches!(slot, Reported::Value(Status::Other)) {
            self.keep(key, value);
        }
    }
}

/// Reads an id: a string, or a number whose digits the answer has as a string.
pub fn id(value: Raw<'_>) -> Option<Raw<'_>> {
    if value.kind() == Kind::String { Some(value) } else { rare_id(value) }
}

#[cold]
fn rare_id(value: Raw<'_>) -> Option<Raw<'_>> {
    count(value)
}

/// Reads a list of strings.
pub fn strings(value: Raw<'_>) -> Option<Raw<'_>> {
    let all = value.kind() == Kind::Array && value.items().iter().all(|item| item.kind() == Kind::String);
    all.then_some(value)
}

/// JSON object of members.
pub fn object(members: &[RawMember<'_>]) -> String {
    let mut text = String::new();
    for RawMember { name, value } in members {
        text.push(if text.is_empty() { '{' } else { ',' });
        text.push('"');
        text.push_str(name);
        text.push_str("\":");
        text.push_str(value);
    }
    if text.is_empty() {
        text.push('{');
    }
    text.push('}');
    text
}

/// Reads a string.
pub fn string(value: Raw<'_>) -> Option<Raw<'_>> {
    (value.kind() == Kind::String).then_some(value)
}

/// Reads a number without sign, fraction and exponent.
pub fn count(value: Raw<'_>) -> Option<Raw<'_>> {
    (value.kind() == Kind::Number && value.is_count()).then_some(value)
}

/// Reads a string as its JSON text, for a message.
pub fn text(value: Raw<'_>) -> Option<Cow<'_, str>> {
    string(value).map(|value| Cow::Borrowed(value.text()))
}

/// Reads a boolean, or 0 and 1.
pub fn flag(value: Raw<'_>) -> Option<bool> {
    match value.text() {
        "1" => Some(true),
        "0" => Some(false),
        _ => value.as_bool(),
    }
}

/// Returns true for a value that stands for none: null, false, zero, or an empty text, list or object.
pub fn is_empty(value: Raw<'_>) -> bool {
    match value.kind() {
        Kind::Null => true,
        Kind::Boolean => value.as_bool() == Some(false),
        Kind::Number => {
            value.text().bytes().take_while(|b| !matches!(b, b'e' | b'E')).all(|b| !matches!(b, b'1'..=b'9'))
        }
        Kind::String => value.as_str().is_some_and(|text| text.trim().is_empty()),
        Kind::Object | Kind::Array => {
            let text = value.text();
            text.get(1..text.len() - 1).is_some_and(|inner| inner.trim().is_empty())
        }
    }
}

/// Returns true for an empty value, or for the zero of a clock: the years 0 and 1, and the first second of 1970.
pub fn is_no_time(value: Raw<'_>) -> bool {
    let is_zero = |text: &str| {
        ["0000-", "0001-01-01", "1970-01-01T00:00:00", "1970-01-01 00:00:00"]
            .iter()
            .any(|zero| text.starts_with(zero))
    };
    is_empty(value) || value.as_str().is_some_and(|text| text == "0" || is_zero(text.trim()))
}

/// Reads a context: an object or a string.
pub fn context(value: Raw<'_>) -> Option<Raw<'_>> {
    matches!(value.kind(), Kind::Object | Kind::String).then_some(value)
}

/// Reads a list of messages, each with `read`. A value that is not a list of objects is kept.
///
/// # Errors
///
/// Fails if the value is not JSON, or `read` fails.
pub fn messages<'a>(
    key: Key<'a>,
    reader: &mut Reader<'a>,
    unmapped: &mut Unmapped<'a>,
    mut read: impl FnMut(&mut Reader<'a>, &mut Unmapped<'a>, &mut Messages<'a>) -> Result<Message<'a>, JsonError>,
) -> Result<Option<Messages<'a>>, JsonError> {
    if reader.peek()? != Kind::Array {
        let value = reader.raw()?;
        unmapped.keep(key, value);
        return Ok(None);
    }
    let mark = reader.mark();
    // A long list grows once or twice, a short one not at all.
    let likely = 1 + reader.left() / MESSAGE;
    let mut messages = Messages { items: Vec::with_capacity(likely), ..Messages::default() };
    let mut leftovers = Unmapped { members: Vec::with_capacity(2 * likely), ..Unmapped::default() };
    let mut all_objects = true;
    reader.array(|reader| {
        if reader.peek()? != Kind::Object {
            all_objects = false;
            return reader.raw().map(|_| ());
        }
        let message = read(reader, &mut leftovers, &mut messages)?;
        messages.items.push(message);
        Ok(())
    })?;
    if !all_objects {
        unmapped.keep(key, reader.since(mark));
        return Ok(None);
    }
    messages.unmapped = leftovers.members;
    Ok(Some(messages))
}

/// Sorts messages by time, oldest first. A message without a time stays behind its predecessor.
pub fn oldest_first(messages: &mut Messages<'_>) {
    let times = |a: &Message<'_>, b: &Message<'_>| match (&a.created_at, &b.created_at) {
        (Reported::Value(a), Reported::Value(b)) => a.compare(b),
        _ => std::cmp::Ordering::Equal,
    };
    let every_time_known =
        messages.items.iter().all(|message| matches!(message.created_at, Reported::Value(_)));
    if every_time_known {
        if !messages.items.is_sorted_by(|a, b| times(a, b).is_le()) {
            messages.items.sort_by(times);
        }
        return;
    }
    let mut last: Option<Time<'_>> = None;
    let mut keyed: Vec<(Option<Time<'_>>, Message<'_>)> = Vec::with_capacity(messages.items.len());
    for message in messages.items.drain(..) {
        if let Reported::Value(time) = &message.created_at {
            last = Some(time.clone());
        }
        keyed.push((last.clone(), message));
    }
    keyed.sort_by(|(a, _), (b, _)| match (a, b) {
        (Some(a), Some(b)) => a.compare(b),
        (None, Some(_)) => std::cmp::Ordering::Less,
        (Some(_), None) => std::cmp::Ordering::Greater,
        (None, None) => std::cmp::Ordering::Equal,
    });
    messages.items.extend(keyed.into_iter().map(|(_, message)| message));
}

/// The conversation that a vendor confirms without returning it: the members that were set.
pub fn confirm<'a>(cx: &DecodeContext<'a>) -> Conversation<'a> {
    let text = |field| cx.set(field);
    let flag = |field| match cx.set(field) {
        Reported::Value(value) => value.as_bool().map_or(Reported::Absent, Reported::Value),
        Reported::Null => Reported::Null,
        Reported::Absent => Reported::Absent,
    };
    Conversation {
        subject: Subject::Unnamed,
        is_confirmation: true,
        title: text(Field::Title),
        status: match cx.set(Field::Status) {
            Reported::Value(word) => {
                let status = word.as_str().and_then(|word| Status::named(&word));
                status.map_or(Reported::Absent, Reported::Value)
            }
            Reported::Null => Reported::Null,
            Reported::Absent => Reported::Absent,
        },
        archived: flag(Field::Archived),
        important: flag(Field::Important),
        tags: cx.set(Field::Tags),
        context: cx.set(Field::Context),
        instructions: text(Field::Instructions),
        agent: cx.set(Field::Agent).map(|id| Agent { id: Some(*id), ..Agent::default() }),
        contact: cx.set(Field::Contact).map(|id| Contact { id: Some(*id), ..Contact::default() }),
        created_at: Reported::Absent,
        updated_at: Reported::Absent,
        last_message_at: Reported::Absent,
        message_count: Reported::Absent,
        messages: None,
        vendor_data: Vec::new(),
        warnings: Vec::new(),
    }
}
