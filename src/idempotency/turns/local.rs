//! Queues of this process: one for each conversation that is in use, first come, first served.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::kind::TurnKind;

/// Parts of the table, each with a lock of its own: requests about different conversations seldom meet at one.
const SHARDS: usize = 64;

/// Queues of all conversations that are in use. A holder leaves an `L` to the next one.
#[derive(Debug)]
pub(super) struct Queues<L> {
    seed: RandomState,
    /// Keyed by a hash of the conversation. Two conversations with the same hash wait for each other without need.
    shards: [Mutex<Table<L>>; SHARDS],
}

/// Queues by the hash of their conversation, which is not hashed again.
type Table<L> = HashMap<u64, Queue<L>, BuildHasherDefault<Hashed>>;

/// Hasher of what is a hash.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Turns at work for one conversation, and those that wait.
#[derive(Debug)]
struct Queue<L> {
    plain: usize,
    context: bool,
    condition: bool,
    waiting: VecDeque<Waiter<L>>,
    /// Number of the last waiter.
    last: u64,
}

#[derive(Debug)]
struct Waiter<L> {
    number: u64,
    kind: TurnKind,
    admit: oneshot::Sender<Option<L>>,
}

/// Turn at work in this process. Dropping it admits the next ones.
#[derive(Debug)]
pub(super) struct Place<L> {
    queues: Arc<Queues<L>>,
    key: u64,
    kind: TurnKind,
    /// Left to the next one; dropped if nobody is admitted.
    pub(super) left: Option<L>,
}

/// Turn that has not come. Dropping it leaves the queue.
#[derive(Debug)]
pub(super) struct Waiting<L> {
    /// Taken when the turn has come.
    queues: Option<Arc<Queues<L>>>,
    key: u64,
    kind: TurnKind,
    number: u64,
    admitted: oneshot::Receiver<Option<L>>,
}

/// Result of entering a queue.
#[derive(Debug)]
pub(super) enum Entered<L> {
    /// The turn has come already.
    Come(Place<L>),
    /// Others are first.
    Waits(Waiting<L>),
}

impl<L> Default for Queues<L> {
    fn default() -> Self {
        Queues { seed: RandomState::new(), shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl<L> Queues<L> {
    /// Enters the queue of a conversation.
    pub(super) fn enter(queues: &Arc<Self>, conversation: &str, kind: TurnKind) -> Entered<L> {
        let key = queues.seed.hash_one(conversation);
        let queues = Arc::clone(queues);
        let mut shard = queues.shard(key);
        let queue = shard.entry(key).or_default();
        if queue.has_room_for(kind) && !queue.waiting.iter().any(|waiter| waiter.kind.excludes(kind)) {
            queue.count(kind);
            drop(shard);
            return Entered::Come(Place { queues, key, kind, left: None });
        }
        let (admit, admitted) = oneshot::channel();
        queue.last += 1;
        let number = queue.last;
        queue.waiting.push_back(Waiter { number, kind, admit });
        drop(shard);
        Entered::Waits(Waiting { queues: Some(queues), key, kind, number, admitted })
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Table<L>> {
        let at = usize::try_from(key >> 32).unwrap_or_default() % SHARDS;
        let [first, ..] = &self.shards;
        // No change panics half-way, so a poisoned state is consistent.
        self.shards.get(at).unwrap_or(first).lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a queue, and admits those whose turn has come. The first of them gets `left`; it is given back if there is
    /// none.
    fn change(&self, key: u64, left: Option<L>, change: impl FnOnce(&mut Queue<L>)) -> Option<L> {
        let mut shard = self.shard(key);
        let Some(queue) = shard.get_mut(&key) else { return left };
        change(queue);
        let left = queue.admit(left);
        if queue.is_unused() {
            shard.remove(&key);
        }
        left
    }

    /// Conversations that are in use.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }
}

impl<L> Default for Queue<L> {
    fn default() -> Self {
        Queue { plain: 0, context: false, condition: false, waiting: VecDeque::new(), last: 0 }
    }
}

impl<L> Queue<L> {
    /// True if nothing at work excludes this kind.
    fn has_room_for(&self, kind: TurnKind) -> bool {
        !self.condition
            && match kind {
                TurnKind::Plain => true,
                TurnKind::Context => !self.context,
                TurnKind::Condition => !self.context && self.plain == 0,
            }
    }

    fn count(&mut self, kind: TurnKind) {
        match kind {
            TurnKind::Plain => self.plain += 1,
            TurnKind::Context => self.context = true,
            TurnKind::Condition => self.condition = true,
        }
    }

    fn discount(&mut self, kind: TurnKind) {
        match kind {
            TurnKind::Plain => self.plain = self.plain.saturating_sub(1),
            TurnKind::Context => self.context = false,
            TurnKind::Condition => self.condition = false,
        }
    }

    /// Admits all whose turn has come, in their order.
    fn admit(&mut self, mut left: Option<L>) -> Option<L> {
        let mut at = 0;
        while let Some(kind) = self.waiting.get(at).map(|waiter| waiter.kind) {
            if self.has_room_for(kind) {
                if let Some(waiter) = self.waiting.remove(at) {
                    self.count(kind);
                    // The receiver lives: whoever drops it leaves the queue first.
                    let _ = waiter.admit.send(left.take());
                }
            } else if self.condition || kind == TurnKind::Condition {
                // All others wait behind it.
                break;
            } else {
                // A context waits for another one; what does not write the context passes it.
                at += 1;
            }
        }
        left
    }

    fn is_unused(&self) -> bool {
        self.plain == 0 && !self.context && !self.condition && self.waiting.is_empty()
    }
}

impl<L> Waiting<L> {
    /// Waits until the turn has come. Gives what the holder before left.
    pub(super) async fn come(mut self) -> (Place<L>, Option<L>) {
        let left = (&mut self.admitted).await;
        match (left, self.queues.take()) {
            (Ok(left), Some(queues)) => (Place { queues, key: self.key, kind: self.kind, left: None }, left),
            // The sender lives in the queue until it has sent.
            _ => std::future::pending().await,
        }
    }
}

impl<L> Drop for Waiting<L> {
    fn drop(&mut self) {
        let Some(queues) = self.queues.take() else { return };
        let mut waited = false;
        queues.change(self.key, None, |queue| {
            if let Some(at) = queue.waiting.iter().position(|waiter| waiter.number == self.number) {
                waited = true;
                queue.waiting.remove(at);
            }
        });
        if !waited {
            // It was admitted meanwhile, and passes the turn on.
            let left = self.admitted.try_recv().ok().flatten();
            drop(Place { queues, key: self.key, kind: self.kind, left });
        }
    }
}

impl<L> Drop for Place<L> {
    fn drop(&mut self) {
        let left = self.left.take();
        // What nobody was left is dropped here, after the lock.
        let _unused = self.queues.change(self.key, left, |queue| queue.discount(self.kind));
    }
}
