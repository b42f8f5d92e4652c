//! The conversations of one vendor.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::json::{self, Object};

/// More conversations than this are not taken from the control side.
const MAX_CONVERSATIONS: usize = 10_000;

/// Conversations by key, with the seeds to go back to.
#[derive(Debug)]
pub(crate) struct Store {
    seeds: BTreeMap<String, Object>,
    now: Mutex<BTreeMap<String, Object>>,
}

impl Store {
    /// A store whose seeds are the members of a JSON object, by key.
    pub(crate) fn new(seeds: &str) -> io::Result<Self> {
        let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let all = Object::parse(&json::compact(seeds)).map_err(|why| bad(why.to_string()))?;
        let seeds = all
            .iter()
            .map(|(key, raw)| Object::parse(raw).map(|object| (key.to_owned(), object)))
            .collect::<Result<BTreeMap<_, _>, _>>()
            .map_err(|why| bad(why.to_string()))?;
        Ok(Self { now: Mutex::new(seeds.clone()), seeds })
    }

    fn now(&self) -> MutexGuard<'_, BTreeMap<String, Object>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Back to the seeds.
    pub(crate) fn reset(&self) {
        *self.now() = self.seeds.clone();
    }

    /// Works on one conversation, alone.
    pub(crate) fn with<T>(&self, key: &str, work: impl FnOnce(&mut Object) -> T) -> Option<T> {
        self.now().get_mut(key).map(work)
    }

    /// Works on all conversations in the order of their keys.
    pub(crate) fn all<T>(&self, work: impl FnMut(&Object) -> T) -> Vec<T> {
        self.now().values().map(work).collect()
    }

    /// Stores a conversation as it is; `false` when there is no room.
    pub(crate) fn put(&self, key: &str, object: Object) -> bool {
        let mut now = self.now();
        let room = now.len() < MAX_CONVERSATIONS || now.contains_key(key);
        if room {
            now.insert(key.to_owned(), object);
        }
        room
    }
}
