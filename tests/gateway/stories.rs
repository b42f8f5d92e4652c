//! Every story again, through the real program: `tests/stories/README.md` says how they are compared.

use std::collections::BTreeMap;

use parlance_adapters::ALL;
use serde_json::{Value, json};
use testkit::blocking::Gateway;
use testkit::stories::{self, MANDATORY, Story};
use testkit::{Reply, Request, Sent, Tree};

use crate::setup::with;

/// Stories of one vendor under one configuration: they are told one after the other.
struct Group {
    vendor: String,
    settings: String,
    stories: Vec<(String, Tree)>,
}

fn groups() -> Vec<Group> {
    let mut groups: BTreeMap<(String, String), Vec<(String, Tree)>> = BTreeMap::new();
    let vendors = ALL.iter().map(|adapter| adapter.spec().vendor);
    for (vendor, story) in vendors.flat_map(|vendor| Story::of(vendor).into_iter().map(move |s| (vendor, s)))
    {
        let name = format!("{vendor}/{}", story.name);
        let settings = match story.told.get("upstream") {
            None => String::new(),
            // A TOML value is written like a JSON one, as far as settings go.
            Some(Tree::Object(members)) => {
                members.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
            }
            Some(other) => panic!("{name}: upstream is {other}"),
        };
        groups.entry((vendor.to_owned(), settings)).or_default().push((name, story.told));
    }
    groups.into_iter().map(|((vendor, settings), stories)| Group { vendor, settings, stories }).collect()
}

#[test]
fn every_story_is_told_over_sockets() {
    let groups = groups();
    let told: usize = groups.iter().map(|group| group.stories.len()).sum();
    assert!(told >= ALL.len() * MANDATORY.len(), "only {told} stories were found");
    let faults: Vec<String> = std::thread::scope(|scope| {
        let tellers: Vec<_> = groups.iter().map(|group| scope.spawn(|| tell_all(group))).collect();
        tellers.into_iter().flat_map(|teller| teller.join().unwrap()).collect()
    });
    assert!(faults.is_empty(), "{} of {told} stories go otherwise:\n{}", faults.len(), faults.join("\n"));
}

fn tell_all(group: &Group) -> Vec<String> {
    let key = format!("test-credential-{}", group.vendor);
    let upstream = stories::upstream(&group.vendor);
    let settings =
        format!("[upstreams.{upstream}]\ncredential = {{ value = \"{key}\" }}\n{}", group.settings);
    let rig = with(&settings).keeping(&key);
    let mut faults = Vec::new();
    for (name, story) in &group.stories {
        if let Err(fault) = tell(&rig, &group.vendor, story) {
            faults.push(format!("{name}: {fault}"));
        }
    }
    rig.finish();
    faults
}

fn text<'a>(story: &'a Tree, name: &str) -> Option<&'a str> {
    story.get(name).and_then(Tree::text)
}

/// Tells one story; an error says where it goes otherwise.
fn tell(rig: &Gateway, vendor: &str, story: &Tree) -> Result<(), String> {
    rig.clear();
    if let Some(reply) = story.get("reply") {
        rig.fault(&rule(vendor, reply)?);
    }
    let id = text(story, "id").ok_or("has no id")?;
    let kind = text(story, "content_type").unwrap_or("application/json");
    let path = format!("/conversations/{id}");
    let mut request = match text(story, "method") {
        Some(method) => Request::new(method, &path),
        None => Request::new("PATCH", &path)
            .header("Content-Type", kind)
            .body(bytes(story.get("patch"), story.get("patch_text"))),
    };
    if let Some(prefer) = text(story, "prefer") {
        request = request.header("Prefer", prefer);
    }
    let answer = rig.send(&request);

    let sent = rig.sent(vendor);
    match story.get("sent").ok_or("does not say what is sent")? {
        Tree::Null if sent.is_empty() => {}
        Tree::Null => return Err(format!("nothing may be sent, but {sent:?} was")),
        _ if sent.is_empty() => {
            return Err(format!("nothing was sent; the answer is {} {}", answer.status, answer.text()));
        }
        expected => sent.iter().try_for_each(|sent| compare_sent(expected, sent))?,
    }
    compare_answer(story.get("answer").ok_or("has no answer")?, &answer)
}

/// The reply as a rule of the sandbox, for as often as it is asked.
fn rule(vendor: &str, reply: &Tree) -> Result<Value, String> {
    let body =
        String::from_utf8(bytes(reply.get("body"), reply.get("body_text"))).map_err(|e| e.to_string())?;
    let headers: Vec<Value> = match reply.get("headers") {
        Some(Tree::Object(headers)) => {
            headers.iter().map(|(name, value)| json!([name, value.text().unwrap_or_default()])).collect()
        }
        _ => Vec::new(),
    };
    let status = status(reply)?;
    Ok(
        json!({ "vendor": vendor, "mode": "status", "count": 0, "status": status, "headers": headers, "body": body }),
    )
}

fn compare_sent(expected: &Tree, sent: &Sent) -> Result<(), String> {
    let (method, path) = (text(expected, "method"), text(expected, "path"));
    if (method, path) != (Some(&sent.method), Some(&sent.target)) {
        return Err(format!("sends {method:?} {path:?}, not {} {}", sent.method, sent.target));
    }
    if sent.header("accept-encoding") != Some("identity") {
        return Err(format!("asks for a coding: {sent:?}"));
    }
    if let Some(Tree::Object(headers)) = expected.get("headers") {
        for (name, value) in headers {
            let value = value.text().ok_or("has a header that is no text")?;
            match sent.header(name) {
                Some(sent) if value == "*" || sent == value => {}
                other => return Err(format!("sends {name}: {value}, not {other:?}")),
            }
        }
    }
    let body = bytes(expected.get("body"), expected.get("body_text"));
    if body.is_empty() && sent.body.is_empty() {
        return Ok(());
    }
    let body = Tree::parse(&body).map_err(|e| format!("sends no JSON: {e}"))?;
    if body.sorted() != sent.tree().sorted() {
        return Err(format!("sends {body}, not {}", sent.body));
    }
    Ok(())
}

fn compare_answer(expected: &Tree, answer: &Reply) -> Result<(), String> {
    let told = || format!("{} {}", answer.status, answer.text());
    if status(expected)? != answer.status {
        return Err(format!("is answered {}, not {}", status(expected)?, told()));
    }
    if let Some(Tree::Object(headers)) = expected.get("headers") {
        for (name, value) in headers {
            if answer.header(name) != value.text() {
                return Err(format!("answers {name}: {value}, not {:?}", answer.header(name)));
            }
        }
    }
    let body = bytes(expected.get("body"), expected.get("body_text"));
    if body.is_empty() {
        let without = expected.get("body").is_none() && expected.get("body_text").is_none();
        return if without && answer.body.is_empty() {
            Ok(())
        } else {
            Err(format!("answers no body, not {}", told()))
        };
    }
    let expected = Tree::parse(&body).map_err(|e| format!("answers no JSON: {e}"))?;
    let actual = Tree::parse(&answer.body).map_err(|e| format!("is answered by no JSON: {e}: {}", told()))?;
    if answer.status < 300 {
        let (expected, actual) = (comparable(&expected), comparable(&actual));
        return if expected == actual {
            Ok(())
        } else {
            Err(format!("answers\n  {expected}, not\n  {actual}"))
        };
    }
    let Tree::Object(members) = comparable(&expected) else { return Err("answers no object".into()) };
    let problem = comparable(&actual);
    for (name, value) in members {
        // Sentences are free.
        if matches!(name.as_str(), "title" | "detail" | "instance" | "request_id") {
            continue;
        }
        if problem.get(&name) != Some(&value) {
            return Err(format!("has {name} {value}, not {:?} in {}", problem.get(&name), told()));
        }
    }
    Ok(())
}

/// The value without the sentences of errors and warnings, these in the order of their texts, and every object's
/// members by name.
fn comparable(answer: &Tree) -> Tree {
    let Tree::Object(members) = answer.sorted() else { return answer.clone() };
    let free = |entry: &Tree| match entry {
        Tree::Object(members) => {
            Tree::Object(members.iter().filter(|(name, _)| name != "detail").cloned().collect())
        }
        other => other.clone(),
    };
    let members = members.into_iter().map(|(name, value)| match (name.as_str(), &value) {
        ("warnings" | "errors", Tree::List(entries)) => {
            let mut entries: Vec<Tree> = entries.iter().map(free).collect();
            entries.sort_by_key(Tree::to_string);
            (name, Tree::List(entries))
        }
        _ => (name, value),
    });
    Tree::Object(members.collect())
}

fn status(told: &Tree) -> Result<u16, String> {
    match told.get("status") {
        Some(Tree::Number(status)) => status.parse().map_err(|_| format!("has the status {status}")),
        _ => Err("has no status".to_owned()),
    }
}

/// A body as bytes: the exact text, or the JSON.
fn bytes(body: Option<&Tree>, exact: Option<&Tree>) -> Vec<u8> {
    match (exact.and_then(Tree::text), body) {
        (Some(exact), _) => exact.as_bytes().to_vec(),
        (None, Some(body)) => body.to_string().into_bytes(),
        (None, None) => Vec::new(),
    }
}
