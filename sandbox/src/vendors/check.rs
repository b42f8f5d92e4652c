//! The checks that vendors share. What to say when one fails is each vendor's own.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::http::{Head, Request};
use crate::json::{self, Bad, Kind, Object};

/// Why a body is not the JSON object an update needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoObject {
    MediaType(String),
    Json(Bad),
}

/// The JSON object of an update.
pub(crate) fn object(request: &Request<'_>) -> Result<Object, NoObject> {
    media_type(request.head).map_err(NoObject::MediaType)?;
    let syntax = |_| NoObject::Json(Bad::Syntax("the text is not UTF-8".into()));
    let text = std::str::from_utf8(request.body).map_err(syntax)?;
    Object::parse(text).map_err(NoObject::Json)
}

fn media_type(head: &Head) -> Result<(), String> {
    let value = match head.one("content-type") {
        Ok(Some(value)) => value,
        Ok(None) => return Err("Content-Type is missing; it must be application/json".into()),
        Err(()) => return Err("Content-Type appears twice".into()),
    };
    let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
    let parameters = parameters.trim().to_ascii_lowercase();
    if !essence.trim().eq_ignore_ascii_case("application/json")
        || !matches!(parameters.as_str(), "" | "charset=utf-8")
    {
        return Err(format!("Content-Type must be application/json, not {value:?}"));
    }
    if head.all("content-encoding").any(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err("encoded request bodies are not taken".into());
    }
    Ok(())
}

/// A member that is not one of those the vendor documents.
pub(crate) fn unknown<'a>(object: &'a Object, known: &[&str]) -> Option<&'a str> {
    object.iter().map(|(name, _)| name).find(|name| !known.contains(name))
}

/// The text of a string and its length in code points, the unit of JSON Schema's `maxLength`.
pub(crate) fn string(raw: &str) -> Option<(String, usize)> {
    let text = json::string(raw)?;
    let length = text.chars().count();
    Some((text, length))
}

/// What a conversation put in from outside lacks, by name and kind.
pub(crate) fn flaw(object: &Object, required: &[(&str, Kind)]) -> Option<String> {
    required.iter().find_map(|(name, kind)| match object.get(name) {
        None => Some(format!("the member {name:?} is missing")),
        Some(raw) if json::kind(raw) != *kind => {
            Some(format!("the member {name:?} must be of kind {kind:?}"))
        }
        Some(_) => None,
    })
}

/// A setting with a few named values, the first being the default.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) name: &'static str,
    pub(crate) values: &'static [&'static str],
    now: AtomicUsize,
}

impl Choice {
    pub(crate) const fn new(name: &'static str, values: &'static [&'static str]) -> Self {
        Self { name, values, now: AtomicUsize::new(0) }
    }

    pub(crate) fn now(&self) -> &'static str {
        self.values.get(self.now.load(Relaxed)).copied().unwrap_or_default()
    }

    pub(crate) fn set(&self, value: &str) {
        if let Some(at) = self.values.iter().position(|have| *have == value) {
            self.now.store(at, Relaxed);
        }
    }

    pub(crate) fn reset(&self) {
        self.now.store(0, Relaxed);
    }

    pub(crate) fn show(&self) -> (&'static str, &'static [&'static str], &'static str) {
        (self.name, self.values, self.now())
    }
}
