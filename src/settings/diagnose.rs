//! Faults, each with its place, and the words that help to mend them.

use std::collections::BTreeMap;
use std::fmt;

/// Advice at the end of a fault; empty if the program is built without the demo.
pub(super) const TRY_DEMO: &str =
    if cfg!(feature = "demo") { ", or try 'parlance demo', which needs none" } else { "" };

/// A place in a file: line and column, both counted from 1.
pub(crate) type Position = (usize, usize);

/// One fault of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file that holds it, or the environment variable; none where something is missing altogether.
    pub file: Option<String>,
    /// The key, as in `upstreams.sales.credential` or `routes[0].id`; empty where the fault is no key's.
    pub key: String,
    /// Line and column in the file, both counted from 1.
    pub line: Option<(usize, usize)>,
    /// Sentence that says what is wrong and what is accepted. Never a secret.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            f.write_str(file)?;
            if let Some((line, column)) = self.line {
                write!(f, ":{line}:{column}")?;
            }
            f.write_str(": ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// One file that was read: where each of its keys stands.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) file: String,
    pub(crate) places: BTreeMap<String, Position>,
}

/// Collects faults and finds out where each stands.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// The files, in their order: a later one wins.
    pub(crate) sources: Vec<Source>,
    /// The environment's variables, by key.
    pub(crate) variables: BTreeMap<String, String>,
    /// Keys that were left out because they are faulty: what follows from their absence is no second fault.
    left_out: Vec<String>,
    found: Vec<Diagnostic>,
}

impl Faults {
    /// Notes a fault, unless it only follows from one at the same key.
    pub(crate) fn add(&mut self, key: &str, message: impl Into<String>) {
        if !self.is_left_out(key) {
            self.note(key, message.into());
        }
    }

    /// Notes a fault of a key that is then left out.
    pub(crate) fn leave_out(&mut self, key: &str, message: Option<String>) {
        if let Some(message) = message {
            self.add(key, message);
        }
        self.left_out.push(key.to_owned());
    }

    /// The keys of the environment that are this one or stand inside it.
    pub(crate) fn variables_in(&self, key: &str) -> Vec<String> {
        self.variables.keys().filter(|name| within(name, key)).cloned().collect()
    }

    /// True if a file holds this key.
    pub(crate) fn is_in_file(&self, key: &str) -> bool {
        self.sources.iter().any(|source| source.places.contains_key(key))
    }

    /// Notes a fault that has its place already.
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    /// True if this key, or a table around it, was left out.
    pub(crate) fn is_left_out(&self, key: &str) -> bool {
        self.left_out.iter().any(|out| within(key, out))
    }

    /// True if anything inside this key was left out.
    pub(crate) fn lost_part_of(&self, key: &str) -> bool {
        self.left_out.iter().any(|out| within(out, key))
    }

    /// The names directly below a key that were left out.
    pub(crate) fn left_out_below<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.left_out.iter().filter_map(move |out| out.strip_prefix(key)?.strip_prefix('.'))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }

    /// All faults: by file in their order, each from top to bottom; then the environment's.
    pub(crate) fn into_sorted(mut self) -> Vec<Diagnostic> {
        let order: Vec<String> = self.sources.into_iter().map(|source| source.file).collect();
        self.found.sort_by_cached_key(|fault| {
            let rank = order.iter().position(|file| Some(file) == fault.file.as_ref()).unwrap_or(order.len());
            (rank, fault.line, fault.file.clone(), fault.key.clone())
        });
        self.found.dedup();
        self.found
    }

    fn note(&mut self, key: &str, message: String) {
        let (file, line) = self.place(key);
        self.found.push(Diagnostic { file, key: key.to_owned(), line, message });
    }

    /// Place of a key; for a key without one, that of the nearest table around it.
    fn place(&self, key: &str) -> (Option<String>, Option<Position>) {
        if let Some(variable) = self.variables.get(key) {
            return (Some(variable.clone()), None);
        }
        let mut around = Some(key);
        while let Some(key) = around {
            for source in self.sources.iter().rev() {
                if let Some(position) = source.places.get(key) {
                    return (Some(source.file.clone()), Some(*position));
                }
            }
            if self.variables.keys().any(|name| within(name, key)) {
                return (Some("environment".to_owned()), None);
            }
            around = parent(key);
        }
        match self.sources.as_slice() {
            [only] => (Some(only.file.clone()), None),
            _ => (None, None),
        }
    }
}

/// True if `key` is `outer` or inside it.
fn within(key: &str, outer: &str) -> bool {
    key.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn parent(key: &str) -> Option<&str> {
    key.rfind(['.', '[']).and_then(|at| key.get(..at))
}

/// The known word that was most likely meant.
pub(crate) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = 1 + word.chars().count() / 4;
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `did you mean 'x'?`, or else the list of what is known.
pub(crate) fn did_you_mean(word: &str, known: &[&str]) -> String {
    match closest(word, known.iter().copied()) {
        Some(meant) => format!("did you mean '{meant}'?"),
        None if known.is_empty() => "there is none".to_owned(),
        None => format!("known: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints() {
        assert_eq!(did_you_mean("timeuot", &["timeout", "connect_timeout"]), "did you mean 'timeout'?");
        assert_eq!(did_you_mean("zzz", &["a", "b"]), "known: a, b");
        assert_eq!(did_you_mean("zzz", &[]), "there is none");
    }

    #[test]
    fn keys_stand_inside_one_another() {
        assert!(within("a.b", "a") && within("a[0].b", "a") && within("a", "a"));
        assert!(!within("ab", "a") && !within("a", "a.b"));
        assert_eq!(parent("a.b[0].c"), Some("a.b[0]"));
        assert_eq!(parent("a[0]"), Some("a"));
        assert_eq!(parent("a"), None);
    }
}
