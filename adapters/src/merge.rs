//! JSON merge patch (RFC 7396). Numbers keep their digits.

use std::collections::{HashMap, HashSet};

use crate::json::{Kind, Raw};

/// Appends `target` with `patch` merged into it.
pub fn merge(target: Raw<'_>, patch: Raw<'_>, out: &mut String) {
    if patch.kind() != Kind::Object {
        out.push_str(patch.text());
        return;
    }
    let kept = target.members();
    let changes = patch.members();
    let by_name: HashMap<_, _> = changes.iter().map(|(key, change)| (key.name(), *change)).collect();
    let names: HashSet<_> = kept.iter().map(|(key, _)| key.name()).collect();
    let mut mark = '{';
    let mut open = |out: &mut String, name: &str| {
        out.push(mark);
        mark = ',';
        out.push('"');
        out.push_str(name);
        out.push_str("\":");
    };
    for (key, value) in &kept {
        match by_name.get(&key.name()) {
            Some(change) if change.kind() == Kind::Null => {}
            Some(change) => {
                open(out, key.written());
                merge(*value, *change, out);
            }
            None => {
                open(out, key.written());
                out.push_str(value.text());
            }
        }
    }
    for (key, change) in &changes {
        if !names.contains(&key.name()) && change.kind() != Kind::Null {
            open(out, key.written());
            merge(Raw::NULL, *change, out);
        }
    }
    if mark == '{' {
        out.push('{');
    }
    out.push('}');
}
