//! Comparison of the members that were set with those that the vendor reports.

use std::collections::HashMap;

use crate::call::{self, DecodeContext};
use crate::canonical::{Conversation, Field, RawMember, Reported, Warning, WarningCode};
use crate::json::{Kind, Raw, unescape};
use crate::spec::{Conversion, NullHandling, Row, Spec};

/// Number of members up to which an object is searched; the names of a larger one are hashed.
const FEW: usize = 8;

/// Warnings about the members that come back otherwise than they were set. A member that is absent is not reported.
pub(crate) fn differences(
    spec: &Spec,
    cx: &DecodeContext<'_>,
    conversation: &Conversation<'_>,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for row in spec.rows() {
        let set = cx.set(row.field);
        if matches!(set, Reported::Absent) {
            continue;
        }
        if let Some(difference) = difference(row, set, reported(row, set, conversation)) {
            let member = row.field.name();
            warnings.push(Warning {
                code: WarningCode::NotConfirmed.as_str(),
                pointer: Some(format!("/{member}")),
                detail: format!("{} reports {difference} for '{member}'.", spec.title),
            });
        }
    }
    warnings
}

/// Value that the vendor reports for a row, canonical or not.
fn reported<'c>(row: &Row, set: Reported<Raw<'c>>, conversation: &'c Conversation<'_>) -> Reported<Raw<'c>> {
    let flag = |flag: &bool| Raw::trusted(if *flag { "true" } else { "false" });
    let canonical = match row.field {
        Field::Context => conversation.context,
        Field::Title => conversation.title,
        Field::Instructions => conversation.instructions,
        Field::Tags => conversation.tags,
        Field::Archived => conversation.archived.map(flag),
        Field::Important => conversation.important.map(flag),
        Field::Status => conversation.status.map(|status| match set {
            Reported::Value(word) if word.as_str().is_some_and(|word| word == status.as_str()) => word,
            // Any other word will do: the canonical one has no JSON text of its own.
            _ => Raw::trusted("\"\""),
        }),
        Field::Agent => id(&conversation.agent, |agent| agent.id),
        Field::Contact => id(&conversation.contact, |contact| contact.id),
    };
    match canonical {
        Reported::Absent => {
            kept(row.reported, &conversation.vendor_data).map_or(Reported::Absent, Reported::Value)
        }
        canonical => canonical,
    }
}

fn id<'c, T>(slot: &Reported<T>, id: impl FnOnce(&T) -> Option<Raw<'c>>) -> Reported<Raw<'c>> {
    match slot.map(id) {
        Reported::Value(Some(Raw::NULL)) | Reported::Null => Reported::Null,
        Reported::Value(Some(id)) => Reported::Value(id),
        Reported::Value(None) | Reported::Absent => Reported::Absent,
    }
}

/// Value that was kept because it is not of the member's type.
fn kept<'c>(path: &str, members: &'c [RawMember<'_>]) -> Option<Raw<'c>> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let top = |name: &str| {
        let found = members.iter().find(|member| unescape(member.name) == name)?;
        Some(Raw::trusted(&found.value))
    };
    let inner = |object: Raw<'c>, name: &str| {
        object.members().into_iter().find(|(key, _)| key.name() == name).map(|(_, value)| value)
    };
    let found = top(first).or_else(|| inner(top("data")?, first))?;
    rest.filter(|_| found.kind() == Kind::Object).map_or(Some(found), |rest| inner(found, rest))
}

/// Difference between what was set and what is reported, in words.
fn difference(row: &Row, set: Reported<Raw<'_>>, reported: Reported<Raw<'_>>) -> Option<&'static str> {
    let is_empty_text = |value: Raw<'_>| row.null == NullHandling::EmptyText && value.text() == "\"\"";
    match (set, reported) {
        (Reported::Absent, _) | (_, Reported::Absent) | (Reported::Null, Reported::Null) => None,
        (Reported::Null, Reported::Value(value)) => {
            (!is_empty_text(value)).then_some("a value instead of null")
        }
        (Reported::Value(set), Reported::Null) => {
            (!is_empty_text(set)).then_some("null instead of what was set")
        }
        (Reported::Value(set), Reported::Value(value)) => {
            (!is_same(row.conversion, set, value)).then_some("another value than was set")
        }
    }
}

fn is_same(conversion: Conversion, set: Raw<'_>, reported: Raw<'_>) -> bool {
    match conversion {
        Conversion::Id { prefix, .. } => is_same_id(prefix, set, reported),
        Conversion::ContextAsText { .. } if set.kind() == Kind::Object && reported.kind() == Kind::String => {
            let text = reported.as_str().unwrap_or_default();
            call::object(&text).is_some_and(|reported| covers(set, reported))
        }
        _ => covers(set, reported),
    }
}

/// Compares ids, with or without the prefix; a number is its digits.
fn is_same_id(prefix: &str, set: Raw<'_>, reported: Raw<'_>) -> bool {
    let set = set.as_str().unwrap_or_default();
    let reported = match reported.kind() {
        Kind::Number => reported.text().into(),
        Kind::String => reported.as_str().unwrap_or_default(),
        _ => return false,
    };
    let has_prefix = |long: &str, short: &str| long.strip_prefix(prefix) == Some(short);
    set == reported || has_prefix(&set, &reported) || has_prefix(&reported, &set)
}

/// Returns true if a reported value holds all that was set: numbers by value, texts unescaped, lists item by item, and
/// objects by the members that were set, since further ones are the vendor's. A null that was set within an object may
/// be absent, because several vendors store no member for it.
pub fn covers(set: Raw<'_>, reported: Raw<'_>) -> bool {
    if set.text() == reported.text() {
        return true;
    }
    match (set.kind(), reported.kind()) {
        (Kind::String, Kind::String) => set.as_str() == reported.as_str(),
        (Kind::Number, Kind::Number) => Decimal::read(set.text()) == Decimal::read(reported.text()),
        (Kind::Array, Kind::Array) => {
            let (set, reported) = (set.items(), reported.items());
            set.len() == reported.len()
                && set.iter().zip(reported).all(|(set, reported)| covers(*set, reported))
        }
        (Kind::Object, Kind::Object) => {
            let (set, reported) = (set.members(), reported.members());
            let few = set.len().min(reported.len()) <= FEW;
            let names: HashMap<_, _> = match few {
                true => HashMap::new(),
                false => reported.iter().map(|(key, value)| (key.name(), *value)).collect(),
            };
            set.iter().all(|(key, set)| {
                let name = key.name();
                let found = match few {
                    true => reported.iter().find(|(key, _)| key.name() == name).map(|(_, value)| *value),
                    false => names.get(&name).copied(),
                };
                found.map_or(set.kind() == Kind::Null, |reported| covers(*set, reported))
            })
        }
        _ => false,
    }
}

/// Exact value of a JSON number: its digits as an integer without zeros at either end, and a power of ten.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    is_negative: bool,
    digits: String,
    exponent: i128,
}

impl Decimal {
    /// Reads a number; `None` for one whose exponent has too many digits to be anything but an attempt.
    fn read(text: &str) -> Option<Decimal> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits = [whole.trim_start_matches('-'), fraction].concat();
        let exponent = exponent.parse::<i128>().ok()?.checked_sub(i128::try_from(fraction.len()).ok()?)?;
        let significant = digits.trim_end_matches('0').len();
        let zeros = i128::try_from(digits.len() - significant).ok()?;
        digits.truncate(significant);
        let digits = digits.trim_start_matches('0').to_owned();
        // Zero has neither sign nor power.
        let is_zero = digits.is_empty();
        Some(Decimal {
            is_negative: !is_zero && text.starts_with('-'),
            exponent: if is_zero { 0 } else { exponent.checked_add(zeros)? },
            digits,
        })
    }
}
