//! What the vendors' readers share: a member goes into its slot, or it is kept as it was written.

use std::borrow::Cow;

use crate::canonical::{Message, Messages, Pair, Role, Slot, Time};
use crate::json::{Key, Kind, Malformed, Raw, Reader};

/// Bytes of a message that is rather short.
const MESSAGE: usize = 512;

/// Members that found no canonical place, or that would lose something in it.
#[derive(Debug, Default)]
pub(crate) struct Rest<'a>(pub(crate) Vec<Pair<'a>>);

impl<'a> Rest<'a> {
    /// Keeps a member under the vendor's own name.
    pub(crate) fn keep(&mut self, key: Key<'a>, value: Raw<'a>) {
        self.0.push(Pair { name: key.written(), value: Cow::Borrowed(value.text()) });
    }

    /// Puts a value into its slot if `read` understands it; null says that there is none; anything else is kept.
    pub(crate) fn take<T>(
        &mut self,
        slot: &mut Slot<T>,
        key: Key<'a>,
        value: Raw<'a>,
        read: impl FnOnce(Raw<'a>) -> Option<T>,
    ) {
        match value.kind() {
            Kind::Null => *slot = Slot::Null,
            _ => match read(value) {
                Some(taken) => *slot = Slot::Value(taken),
                None => self.keep(key, value),
            },
        }
    }

    /// A conversation's id: kept only if it is not the one that was asked for.
    pub(crate) fn id(&mut self, asked: &str, key: Key<'a>, value: Raw<'a>) {
        let same = match value.kind() {
            Kind::String => value.as_str().is_some_and(|id| id == asked),
            _ => value.text() == asked,
        };
        if !same {
            self.keep(key, value);
        }
    }

    /// A role, by the vendor's words; one that is not known is `other` and stays.
    pub(crate) fn role(
        &mut self,
        slot: &mut Slot<Role>,
        key: Key<'a>,
        value: Raw<'a>,
        read: fn(&str) -> Role,
    ) {
        self.take(slot, key, value, |value| value.as_str().map(|word| read(&word)));
        if matches!(slot, Slot::Value(Role::Other)) {
            self.keep(key, value);
        }
    }
}

/// Members as one object.
pub(crate) fn object(members: &[Pair<'_>]) -> String {
    let mut text = String::new();
    for Pair { name, value } in members {
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

/// A string, as it was written.
pub(crate) fn string(value: Raw<'_>) -> Option<Raw<'_>> {
    (value.kind() == Kind::String).then_some(value)
}

/// A number that counts something, as it was written.
pub(crate) fn count(value: Raw<'_>) -> Option<Raw<'_>> {
    (value.kind() == Kind::Number && value.is_count()).then_some(value)
}

/// A string's JSON text, for a message.
pub(crate) fn text(value: Raw<'_>) -> Option<Cow<'_, str>> {
    string(value).map(|value| Cow::Borrowed(value.text()))
}

/// A boolean, or 0 and 1.
pub(crate) fn flag(value: Raw<'_>) -> Option<bool> {
    match value.text() {
        "1" => Some(true),
        "0" => Some(false),
        _ => value.as_bool(),
    }
}

/// A context: an object or a string, as it was written.
pub(crate) fn context(value: Raw<'_>) -> Option<Raw<'_>> {
    matches!(value.kind(), Kind::Object | Kind::String).then_some(value)
}

/// Walks the messages that stand next and reads each with `read`. What is no list of objects is kept as it is.
pub(crate) fn messages<'a>(
    key: Key<'a>,
    reader: &mut Reader<'a>,
    rest: &mut Rest<'a>,
    mut read: impl FnMut(&mut Reader<'a>, &mut Rest<'a>, &mut Messages<'a>) -> Result<Message<'a>, Malformed>,
) -> Result<Option<Messages<'a>>, Malformed> {
    if reader.peek()? != Kind::Array {
        let value = reader.raw()?;
        rest.keep(key, value);
        return Ok(None);
    }
    let mark = reader.mark();
    // Few messages are shorter: a list of many grows once or twice, one of few not at all.
    let likely = 1 + reader.left() / MESSAGE;
    let mut messages = Messages { items: Vec::with_capacity(likely), ..Messages::default() };
    let mut leftovers = Rest(Vec::with_capacity(2 * likely));
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
        rest.keep(key, reader.since(mark));
        return Ok(None);
    }
    messages.rest = leftovers.0;
    Ok(Some(messages))
}

/// Sorts messages by their time, oldest first; one without a time stays behind the one before it.
pub(crate) fn oldest_first(messages: &mut Messages<'_>) {
    let times = |a: &Message<'_>, b: &Message<'_>| match (&a.created_at, &b.created_at) {
        (Slot::Value(a), Slot::Value(b)) => a.compare(b),
        _ => std::cmp::Ordering::Equal,
    };
    let every_time_known = messages.items.iter().all(|message| matches!(message.created_at, Slot::Value(_)));
    if every_time_known {
        if !messages.items.is_sorted_by(|a, b| times(a, b).is_le()) {
            messages.items.sort_by(times);
        }
        return;
    }
    let mut last: Option<Time<'_>> = None;
    let mut keyed: Vec<(Option<Time<'_>>, Message<'_>)> = Vec::with_capacity(messages.items.len());
    for message in messages.items.drain(..) {
        if let Slot::Value(time) = &message.created_at {
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
