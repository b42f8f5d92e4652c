//! Faults on demand: rules that say which connection or request is treated badly, and how.

pub(crate) mod act;
mod early;
pub(crate) mod modes;
pub(crate) mod rule;
mod send;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::http::Head;
use crate::json::quote;

pub(crate) use early::{accepted, close_gently, headed};
use modes::Phase;
pub(crate) use rule::Spec;

const MAX_RULES: usize = 1_000;

#[derive(Debug)]
struct Rule {
    id: u64,
    spec: Arc<Spec>,
    skip_left: u64,
    /// `None`: until deleted.
    left: Option<u64>,
    hits: u64,
}

#[derive(Debug, Default)]
struct Rules {
    list: Vec<Rule>,
    last: u64,
}

/// The rules in the order they were made.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Mutex<Rules>,
    /// How many rules can still fire, so that a sandbox without faults does not look for them.
    live: AtomicUsize,
}

impl Faults {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds rules, all or none; their ids, or why not.
    pub(crate) fn add(&self, specs: Vec<Spec>) -> Result<Vec<u64>, String> {
        let mut rules = self.rules();
        if rules.list.len() + specs.len() > MAX_RULES {
            return Err(format!("more than {MAX_RULES} rules; DELETE /faults first"));
        }
        let mut ids = Vec::with_capacity(specs.len());
        for spec in specs {
            rules.last += 1;
            let (id, skip_left, left) = (rules.last, spec.skip, (spec.count > 0).then_some(spec.count));
            rules.list.push(Rule { id, spec: Arc::new(spec), skip_left, left, hits: 0 });
            ids.push(id);
        }
        self.live.fetch_add(ids.len(), Relaxed);
        Ok(ids)
    }

    /// Removes every rule; how many there were.
    pub(crate) fn clear(&self) -> usize {
        let mut rules = self.rules();
        self.live.store(0, Relaxed);
        std::mem::take(&mut rules.list).len()
    }

    /// The rule that applies now, if any. It is used up by one.
    pub(crate) fn take(&self, phases: &[Phase], vendor: &str, head: Option<&Head>) -> Option<Arc<Spec>> {
        if self.live.load(Relaxed) == 0 {
            return None;
        }
        let mut rules = self.rules();
        for rule in &mut rules.list {
            if rule.left == Some(0)
                || !phases.contains(&rule.spec.mode.phase())
                || !rule.spec.matches(vendor, head)
            {
                continue;
            }
            if rule.skip_left > 0 {
                rule.skip_left -= 1;
                continue;
            }
            rule.hits += 1;
            if let Some(left) = &mut rule.left {
                *left -= 1;
                if *left == 0 {
                    self.live.fetch_sub(1, Relaxed);
                }
            }
            return Some(Arc::clone(&rule.spec));
        }
        None
    }

    /// The rules as JSON, with how often each fired and how often it still will.
    pub(crate) fn show(&self) -> String {
        let rules = self.rules();
        let shown: Vec<String> = rules
            .list
            .iter()
            .map(|rule| {
                let left = rule.left.map_or_else(|| "null".into(), |left| left.to_string());
                let (id, hits, skip) = (rule.id, rule.hits, rule.skip_left);
                let mode = quote(rule.spec.mode.name());
                let spec = &rule.spec.source;
                format!(r#"{{"id":{id},"mode":{mode},"hits":{hits},"left":{left},"skip_left":{skip},"rule":{spec}}}"#)
            })
            .collect();
        format!("[{}]", shown.join(","))
    }
}
