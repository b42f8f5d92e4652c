//! Rules and callers.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

use super::checker::Checker;
use crate::settings::checked::{Caller, Route};
use crate::settings::glob::Glob;
use crate::settings::raw;
use crate::settings::raw::credential::Hashes;

/// The longest id of a conversation, in bytes, and so the longest pattern that can match one.
const MAX_ID: usize = 512;

/// The SHA-256 of nothing: what `printf %s "$KEY" | sha256sum` gives while KEY is not set.
const HASH_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub(crate) fn routes(checker: &mut Checker<'_>, raw: Vec<raw::Route>, names: &[String]) -> Vec<Route> {
    let mut routes = Vec::with_capacity(raw.len());
    for (index, rule) in raw.into_iter().enumerate() {
        let key = format!("routes[{index}]");
        let lost = checker.faults.lost_part_of(&format!("{key}.id"))
            || checker.faults.lost_part_of(&format!("{key}.headers"));
        if rule.id.is_none() && rule.headers.is_empty() && !lost {
            let message = "names neither id nor headers and would match every conversation; \
                           for those that no rule matches there is default_upstream";
            checker.faults.add(&key, message);
        }
        let id = rule.id.map(|pattern| glob(checker, &format!("{key}.id"), &pattern, names));
        let mut headers = Vec::new();
        for (name, value) in rule.headers {
            headers.extend(header(checker, &format!("{key}.headers.{name}"), &name, &value));
        }
        let upstream = rule.upstream.unwrap_or_default();
        let upstream_key = format!("{key}.upstream");
        if upstream.is_empty() {
            checker.faults.add(&upstream_key, "is missing: where conversations go that match this rule");
        } else {
            checker.known_upstream(&upstream_key, &upstream, names);
        }
        routes.push(Route { id, headers, upstream });
    }
    routes
}

fn glob(checker: &mut Checker<'_>, key: &str, pattern: &str, names: &[String]) -> Glob {
    let glob = Glob::new(pattern);
    if pattern.is_empty() || pattern.len() > MAX_ID {
        checker.faults.add(key, format!("must have 1 to {MAX_ID} bytes"));
    }
    let named = glob.literal_prefix().split_once(':').map(|(name, _)| name);
    if let Some(name) = named.filter(|name| names.iter().any(|known| known == name)) {
        let message =
            format!("never matches: ids that begin with '{name}:' go to that upstream without any rule");
        checker.faults.add(key, message);
    }
    glob
}

fn header(
    checker: &mut Checker<'_>,
    key: &str,
    name: &str,
    value: &str,
) -> Option<(HeaderName, HeaderValue)> {
    let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
        checker.faults.add(key, format!("'{name}' is no name of a header"));
        return None;
    };
    if header == http::header::AUTHORIZATION {
        let message =
            "authorization holds the caller's key and cannot be matched; use another header or [[callers]]";
        checker.faults.add(key, message);
        return None;
    }
    match HeaderValue::from_str(value) {
        Ok(value) if !value.is_empty() => Some((header, value)),
        _ => {
            checker.faults.add(key, "must be the exact text of the header: visible characters and blanks");
            None
        }
    }
}

/// Owners of names, hashes and certificates: no two callers may share one.
#[derive(Default)]
struct Taken(BTreeMap<String, String>);

impl Taken {
    /// Notes a fault if the thing belongs to someone already.
    fn take(&mut self, checker: &mut Checker<'_>, key: &str, thing: &str, what: &str) {
        if let Some(owner) = self.0.insert(thing.to_owned(), key.to_owned()) {
            checker.faults.add(key, format!("{what} as {owner}: callers could not be told apart"));
        }
    }
}

pub(crate) fn callers(checker: &mut Checker<'_>, raw: Vec<raw::Caller>, names: &[String]) -> Vec<Caller> {
    let (mut by_name, mut by_hash, mut by_certificate) =
        (Taken::default(), Taken::default(), Taken::default());
    let mut callers = Vec::with_capacity(raw.len());
    for (index, caller) in raw.into_iter().enumerate() {
        let outer = format!("callers[{index}]");
        let name_key = format!("{outer}.name");
        let name = caller.name.unwrap_or_default();
        if name.is_empty() {
            checker.faults.add(&name_key, "is missing: how the caller is called in logs and metrics");
        } else if name.len() > 64 || !name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
            checker.faults.add(&name_key, "must be 1 to 64 letters, digits, dots, underscores and hyphens");
        } else {
            by_name.take(checker, &name_key, &name, "is the same");
        }
        if caller.key_sha256.is_none()
            && caller.certificate_names.is_none()
            && !checker.faults.lost_part_of(&outer)
        {
            let message = "needs key_sha256 (printf %s \"$KEY\" | sha256sum) or certificate_names";
            checker.faults.add(&outer, message);
        }
        let key_sha256 = hashes(checker, &format!("{outer}.key_sha256"), caller.key_sha256, &mut by_hash);
        let certificates_key = format!("{outer}.certificate_names");
        if caller.certificate_names.as_ref().is_some_and(Vec::is_empty) {
            checker.faults.add(&certificates_key, "is empty: name a certificate or leave it out");
        }
        let certificate_names = caller.certificate_names.unwrap_or_default();
        for (index, name) in certificate_names.iter().enumerate() {
            let key = format!("{certificates_key}[{index}]");
            if name.is_empty() || name.len() > MAX_ID || name.chars().any(char::is_control) {
                checker.faults.add(&key, "must be a name in a certificate, such as spiffe://example.org/crm");
            } else {
                by_certificate.take(checker, &key, name, "is the same");
            }
        }
        let upstreams_key = format!("{outer}.upstreams");
        if caller.upstreams.as_ref().is_some_and(Vec::is_empty) {
            checker
                .faults
                .add(&upstreams_key, "is empty, so the caller could use nothing; leave it out to allow all");
        }
        for (index, name) in caller.upstreams.iter().flatten().enumerate() {
            checker.known_upstream(&format!("{upstreams_key}[{index}]"), name, names);
        }
        callers.push(Caller {
            name,
            key_sha256,
            certificate_names,
            upstreams: caller.upstreams,
            rate_limit: caller.rate_limit.and_then(|limit| limit.0),
        });
    }
    callers
}

fn hashes(checker: &mut Checker<'_>, outer: &str, raw: Option<Hashes>, taken: &mut Taken) -> Vec<[u8; 32]> {
    let texts: Vec<(String, String)> = match raw {
        None => return Vec::new(),
        Some(Hashes::One(text)) => vec![(outer.to_owned(), text)],
        Some(Hashes::Many(texts)) => {
            if texts.is_empty() || texts.len() > 2 {
                checker.faults.add(outer, "must be one hash, or two while a key is being changed");
            }
            texts.into_iter().enumerate().map(|(index, text)| (format!("{outer}[{index}]"), text)).collect()
        }
    };
    let mut hashes = Vec::new();
    for (key, text) in texts {
        match hash(&text) {
            None => {
                // What stands there may be the key itself, so it is not repeated.
                let message = "must be 64 hexadecimal digits: printf %s \"$KEY\" | sha256sum";
                checker.faults.add(&key, message);
            }
            Some(_) if text.eq_ignore_ascii_case(HASH_OF_NOTHING) => {
                checker
                    .faults
                    .add(&key, "is the hash of an empty key: the variable was not set when it was made");
            }
            Some(hash) => {
                taken.take(checker, &key, &text.to_ascii_lowercase(), "is the same key");
                hashes.push(hash);
            }
        }
    }
    hashes
}

fn hash(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits =
            std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}
