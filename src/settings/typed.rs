//! From the tree of values to typed keys, strictly: text is no number and a number is no text. A faulty key is noted
//! and left out, then the reading begins again, so that every fault is found and not only the first.

use std::collections::{BTreeMap, BTreeSet};

use parlance_adapters::ALL;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::diagnose::{Faults, did_you_mean};
use super::raw::Raw;

/// Keys of upstreams that only some vendor knows, by upstream.
pub(crate) type Extras = BTreeMap<String, BTreeMap<String, Value>>;

/// Takes the keys out of the tree that only some vendor knows. Whether it is the right vendor is checked later.
pub(crate) fn take_settings(tree: &mut Value) -> Extras {
    let mut extras = Extras::new();
    let Some(upstreams) = tree.get_mut("upstreams").and_then(Value::as_object_mut) else { return extras };
    for (name, upstream) in upstreams {
        let Some(table) = upstream.as_object_mut() else { continue };
        let taken = extras.entry(name.clone()).or_default();
        for setting in ALL.iter().flat_map(|vendor| vendor.spec().settings) {
            if let Some(value) = table.remove(setting.key) {
                taken.insert(setting.key.to_owned(), value);
            }
        }
    }
    extras
}

/// After so many faulty keys the reading ends: such a file is no configuration of ours, and each fault costs a reading.
const ENOUGH: usize = 100;

/// Reads the tree. What is faulty is noted, and left out of what is returned; nothing where there is no end of faults.
pub(crate) fn read(mut tree: Value, faults: &mut Faults) -> Option<Raw> {
    let mut loosened = BTreeSet::new();
    loop {
        let error = match serde_path_to_error::deserialize::<_, Raw>(&tree) {
            Ok(raw) => return Some(raw),
            Err(error) => error,
        };
        let steps = steps(error.path());
        let key = shown(&steps);
        let words = error.inner().to_string();
        // Variables are always text: what the key wants to be a number or a truth value is read as one.
        if words.starts_with("invalid type: string")
            && faults.variables.contains_key(&key)
            && let Some(node) = find(&mut tree, &steps)
            && let Some(scalar) = node.as_str().and_then(scalar)
            && loosened.insert(key.clone())
        {
            *node = scalar;
            continue;
        }
        note(&key, message(&words, &tree, &steps, faults), &words, faults);
        if !remove(&mut tree, &steps) || faults.len() >= ENOUGH {
            return None;
        }
    }
}

/// Notes the fault; an unknown table of the environment once for each variable that belongs to it.
fn note(key: &str, message: String, words: &str, faults: &mut Faults) {
    let mut inside = if words.starts_with("unknown field") { faults.variables_in(key) } else { Vec::new() };
    inside.retain(|variable| variable != key);
    for variable in &inside {
        faults.add(variable, format!("'{key}' {message}"));
    }
    let all_said = !inside.is_empty() && !faults.is_in_file(key);
    faults.leave_out(key, (!all_said).then_some(message));
}

#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

fn steps(path: &Path) -> Vec<Step> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

fn shown(steps: &[Step]) -> String {
    let mut key = String::new();
    for step in steps {
        key = match step {
            Step::Key(name) => super::places::join(&key, name),
            Step::Index(index) => format!("{key}[{index}]"),
        };
    }
    key
}

fn look<'a>(tree: &'a Value, steps: &[Step]) -> Option<&'a Value> {
    steps.iter().try_fold(tree, |node, step| match step {
        Step::Key(name) => node.get(name.as_str()),
        Step::Index(index) => node.get(*index),
    })
}

fn find<'a>(tree: &'a mut Value, steps: &[Step]) -> Option<&'a mut Value> {
    steps.iter().try_fold(tree, |node, step| match step {
        Step::Key(name) => node.get_mut(name.as_str()),
        Step::Index(index) => node.get_mut(*index),
    })
}

/// Takes a faulty value out. In a list something harmless takes its place, so that the others keep their index.
fn remove(tree: &mut Value, steps: &[Step]) -> bool {
    let Some((last, around)) = steps.split_last() else { return false };
    let Some(parent) = find(tree, around) else { return false };
    match last {
        Step::Key(name) => parent.as_object_mut().is_some_and(|table| table.remove(name).is_some()),
        Step::Index(index) => {
            let Some(item) = parent.get_mut(*index) else { return false };
            let was_table = item.as_object().is_some_and(serde_json::Map::is_empty);
            let was_text = item.as_str() == Some("");
            match (was_table, was_text) {
                (false, false) => *item = Value::Object(serde_json::Map::new()),
                (true, _) => *item = Value::String(String::new()),
                (_, true) => return remove(tree, around),
            }
            true
        }
    }
}

/// A text of the environment as the number or truth value that it spells.
fn scalar(text: &str) -> Option<Value> {
    match text {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ => {
            let whole = text.parse::<i64>().map(Value::from);
            whole.or_else(|_| text.parse::<u64>().map(Value::from)).ok().or_else(|| {
                let fraction = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
                serde_json::Number::from_f64(fraction).map(Value::Number)
            })
        }
    }
}

/// The parser's words in ours. The parser shows the value that it did not expect; it may be a secret in the wrong
/// place, so that only its kind is repeated.
fn message(words: &str, tree: &Value, steps: &[Step], faults: &Faults) -> String {
    // The last one: a value that stands before it may hold these words too.
    let expected = words.rsplit_once(", expected ").map_or("", |(_, expected)| expected);
    if words.starts_with("unknown field") {
        let mut known = quoted(expected);
        known.retain(|name| *name != "$schema");
        known.extend(vendor_settings(tree, steps));
        let name = match steps.last() {
            Some(Step::Key(name)) => name.as_str(),
            _ => "",
        };
        return format!("is no known key; {}", did_you_mean(name, &known));
    }
    if words.starts_with("unknown variant") {
        return format!("must be one of: {}", quoted(expected).join(", "));
    }
    if words.starts_with("invalid value: integer") {
        return "must be a whole number, 0 or more".to_owned();
    }
    if !words.starts_with("invalid type") {
        return words.to_owned();
    }
    let found = match look(tree, steps) {
        Some(Value::String(_)) => "text",
        Some(Value::Number(number)) if number.is_f64() => "a fraction",
        Some(Value::Number(_)) => "a whole number",
        Some(Value::Bool(_)) => "a truth value",
        Some(Value::Array(_)) => "a list",
        Some(Value::Object(_)) => "a table",
        Some(Value::Null) | None => "nothing",
    };
    let expected = match expected {
        "a boolean" => "true or false without quotes",
        "a string" => "text in quotes",
        "a sequence" => "a list",
        "a map" => "a table",
        "u64" => "a whole number without quotes",
        "f64" => "a number without quotes",
        other => other,
    };
    let of_environment = !faults.variables_in(&shown(steps)).is_empty();
    let hint = match expected {
        "a list" if of_environment => " (lists can be set in files only, not in the environment)",
        _ => "",
    };
    format!("is {found}, but {expected} is expected{hint}")
}

/// The words between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The settings that the vendor of the upstream knows in which the unknown key stands.
fn vendor_settings(tree: &Value, steps: &[Step]) -> Vec<&'static str> {
    let [Step::Key(upstreams), Step::Key(name), Step::Key(_)] = steps else { return Vec::new() };
    let vendor = tree.get(upstreams).and_then(|all| all.get(name)?.get("vendor")?.as_str());
    let spec =
        vendor.filter(|_| upstreams == "upstreams").and_then(parlance_adapters::vendor).map(|v| v.spec());
    spec.map(|spec| spec.settings.iter().map(|setting| setting.key).collect()).unwrap_or_default()
}
