//! Histories: the answers of callers, the effects at the vendor, and the check that the two go together.
//!
//! Whatever is killed or stands still, a key has at most one effect, one answer and one request that got it first.

use std::collections::{BTreeMap, BTreeSet};

/// Microseconds since the start.
pub(crate) type Time = u64;

/// The update that a request asks for. No two requests that differ have it in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Update {
    pub(crate) key: usize,
    pub(crate) conversation: usize,
    pub(crate) variant: usize,
}

/// The answer's word on whether the vendor did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    Yes,
    Unknown,
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The key's answer: a hash of status and body.
    Answered { answer: u64, replayed: bool, applied: Applied },
    /// Nothing was done for this request.
    Refused,
    /// The key's first request may have been done, and its answer is lost.
    Unknown,
    /// No answer came.
    Lost,
}

/// One request of a caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Op {
    pub(crate) update: Update,
    pub(crate) begun: Time,
    pub(crate) ended: Time,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) ops: Vec<Op>,
    /// The updates that changed something at the vendor.
    pub(crate) effects: Vec<Update>,
    /// The last update of each conversation.
    pub(crate) last: BTreeMap<usize, Option<Update>>,
}

impl Op {
    fn is_first(&self) -> bool {
        matches!(self.outcome, Outcome::Answered { replayed: false, .. })
    }

    fn may_have_effect(&self) -> bool {
        match self.outcome {
            Outcome::Answered { applied, .. } => applied != Applied::No,
            Outcome::Refused | Outcome::Unknown => false,
            Outcome::Lost => true,
        }
    }
}

impl History {
    /// Everything that must not be.
    pub(crate) fn violations(&self) -> Vec<String> {
        let mut ops: BTreeMap<usize, Vec<&Op>> = BTreeMap::new();
        let mut effects: BTreeMap<usize, Vec<Update>> = BTreeMap::new();
        self.ops.iter().for_each(|op| ops.entry(op.update.key).or_default().push(op));
        self.effects.iter().for_each(|update| effects.entry(update.key).or_default().push(*update));
        let mut wrong = Vec::new();
        for (key, effects) in effects.iter().filter(|(key, _)| !ops.contains_key(key)) {
            wrong.push(format!("key {key} was never used: {effects:?}"));
        }
        for (key, ops) in &ops {
            let none = Vec::new();
            for what in of_key(ops, effects.get(key).unwrap_or(&none)) {
                wrong.push(format!("key {key}: {what}: {ops:#?}"));
            }
        }
        wrong.extend(self.last.iter().filter_map(|(conversation, last)| self.of_end(*conversation, *last)));
        wrong
    }

    /// The conversation says what was done last, or what may have been done at any time.
    fn of_end(&self, conversation: usize, last: Option<Update>) -> Option<String> {
        let done = |op: &&Op| {
            op.update.conversation == conversation
                && op.is_first()
                && matches!(op.outcome, Outcome::Answered { applied: Applied::Yes, .. })
        };
        let Some(last) = last else {
            let lost = self.ops.iter().find(done)?;
            return Some(format!("conversation {conversation} says nothing, not even {lost:?}"));
        };
        let may_be_last = |op: &Op| match op.outcome {
            Outcome::Lost | Outcome::Answered { applied: Applied::Unknown, .. } => true,
            Outcome::Refused | Outcome::Unknown | Outcome::Answered { applied: Applied::No, .. } => false,
            Outcome::Answered { replayed, .. } => {
                !replayed && !self.ops.iter().filter(done).any(|later| later.begun > op.ended)
            }
        };
        let at_the_end = last.conversation == conversation
            && self.ops.iter().any(|op| op.update == last && may_be_last(op));
        (!at_the_end)
            .then(|| format!("conversation {conversation} says {last:?}, which is not what was last"))
    }
}

/// Everything about one key that must not be.
fn of_key(ops: &[&Op], effects: &[Update]) -> Vec<String> {
    let mut wrong = Vec::new();
    if effects.len() > 1 {
        wrong.push(format!("{} effects", effects.len()));
    }
    let firsts = ops.iter().filter(|op| op.is_first()).count();
    if firsts > 1 {
        wrong.push(format!("done {firsts} times"));
    }
    let (mut answers, mut requests) = (BTreeSet::new(), BTreeSet::new());
    for op in ops {
        if let Outcome::Answered { answer, applied, .. } = op.outcome {
            answers.insert(answer);
            requests.insert(op.update);
            if applied == Applied::Yes && !effects.contains(&op.update) {
                wrong.push(format!("said to be done, without an effect: {op:?}"));
            }
        }
    }
    if answers.len() > 1 {
        wrong.push(format!("{} answers", answers.len()));
    }
    if requests.len() > 1 {
        wrong.push("answered for more than one request".to_owned());
    }
    let any_lost = ops.iter().any(|op| op.outcome == Outcome::Lost);
    if !answers.is_empty() && firsts == 0 && !any_lost {
        wrong.push("an answer that nobody got first".to_owned());
    }
    if !any_lost && ops.iter().any(|op| op.outcome == Outcome::Unknown) && firsts == 0 {
        wrong.push("nobody knows what came of it, though every request was answered".to_owned());
    }
    for effect in effects {
        if !ops.iter().any(|op| op.update == *effect && op.may_have_effect()) {
            wrong.push(format!("an effect of what was refused: {effect:?}"));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPDATE: Update = Update { key: 1, conversation: 0, variant: 0 };
    const OTHER: Update = Update { key: 1, conversation: 0, variant: 1 };
    const NEXT: Update = Update { key: 2, conversation: 0, variant: 0 };
    const SECOND: Time = 1_000_000;

    fn op(update: Update, begun: Time, outcome: Outcome) -> Op {
        Op { update, begun, ended: begun + 10, outcome }
    }

    fn first(update: Update, begun: Time, answer: u64) -> Op {
        op(update, begun, Outcome::Answered { answer, replayed: false, applied: Applied::Yes })
    }

    fn replay(update: Update, begun: Time, answer: u64) -> Op {
        op(update, begun, Outcome::Answered { answer, replayed: true, applied: Applied::Yes })
    }

    fn unknown(update: Update, begun: Time, answer: u64) -> Op {
        op(update, begun, Outcome::Answered { answer, replayed: false, applied: Applied::Unknown })
    }

    fn history(ops: &[Op], effects: &[Update], last: Option<Update>) -> History {
        let (ops, effects) = (ops.to_vec(), effects.to_vec());
        History { ops, effects, last: [(0, last)].into() }
    }

    fn objects(history: &History, to: &str) {
        let wrong = history.violations();
        assert!(wrong.iter().any(|what| what.contains(to)), "{wrong:#?}");
    }

    #[test]
    fn a_good_history_is_good() {
        let ops = [
            op(UPDATE, 0, Outcome::Refused),
            first(UPDATE, 10, 7),
            replay(UPDATE, 30, 7),
            op(OTHER, 40, Outcome::Refused),
            unknown(NEXT, 50, 8),
        ];
        for last in [UPDATE, NEXT] {
            let history = history(&ops, &[UPDATE, NEXT], Some(last));
            assert_eq!(history.violations(), Vec::<String>::new());
        }
        assert_eq!(history(&ops[..1], &[], None).violations(), Vec::<String>::new());
    }

    #[test]
    fn nothing_excuses_a_second_effect_or_a_second_first() {
        let ops = [op(UPDATE, 0, Outcome::Lost), first(UPDATE, 5 * SECOND, 7)];
        assert_eq!(history(&ops, &[UPDATE], Some(UPDATE)).violations(), Vec::<String>::new());
        objects(&history(&ops, &[UPDATE, UPDATE], Some(UPDATE)), "2 effects");
        let ops = [first(UPDATE, 0, 7), first(UPDATE, 5 * SECOND, 7)];
        objects(&history(&ops, &[UPDATE], Some(UPDATE)), "done 2 times");
    }

    #[test]
    fn only_a_lost_request_leaves_an_unknown_outcome() {
        let lost = [op(UPDATE, 0, Outcome::Lost), op(UPDATE, SECOND, Outcome::Unknown)];
        for effects in [&[][..], &[UPDATE]] {
            let history = history(&lost, effects, effects.first().copied());
            assert_eq!(history.violations(), Vec::<String>::new());
        }
        objects(&history(&lost[1..], &[], None), "nobody knows");
        let refused = [op(UPDATE, 0, Outcome::Refused), op(UPDATE, SECOND, Outcome::Unknown)];
        objects(&history(&refused, &[], None), "nobody knows");
    }

    #[test]
    fn two_answers_of_a_key_are_one_too_many() {
        let ops = [first(UPDATE, 0, 7), replay(UPDATE, 20, 8)];
        objects(&history(&ops, &[UPDATE], Some(UPDATE)), "2 answers");
    }

    #[test]
    fn no_request_gets_the_answer_of_another() {
        let ops = [first(UPDATE, 0, 7), replay(OTHER, 20, 7)];
        objects(&history(&ops, &[UPDATE, OTHER], Some(UPDATE)), "more than one request");
    }

    #[test]
    fn what_is_said_to_be_done_has_an_effect_and_what_was_refused_has_none() {
        objects(&history(&[first(UPDATE, 0, 7)], &[], None), "without an effect");
        let refused = op(UPDATE, 0, Outcome::Refused);
        objects(&history(&[refused], &[UPDATE], Some(UPDATE)), "an effect of what was refused");
        let no = Outcome::Answered { answer: 7, replayed: false, applied: Applied::No };
        objects(&history(&[op(UPDATE, 0, no)], &[UPDATE], Some(UPDATE)), "an effect of what was refused");
        objects(&history(&[], &[UPDATE], Some(UPDATE)), "never used");
    }

    #[test]
    fn a_replay_has_a_first() {
        let ops = [replay(UPDATE, 0, 7)];
        objects(&history(&ops, &[UPDATE], Some(UPDATE)), "nobody got first");
    }

    #[test]
    fn a_conversation_ends_with_what_was_done_last() {
        let ops = [first(UPDATE, 0, 7), first(NEXT, 100, 8)];
        let effects = [UPDATE, NEXT];
        assert_eq!(history(&ops, &effects, Some(NEXT)).violations(), Vec::<String>::new());
        objects(&history(&ops, &effects, Some(UPDATE)), "not what was last");
        objects(&history(&ops, &effects, None), "says nothing");
        // Of two at the same time either may be the last.
        let ops = [first(UPDATE, 0, 7), first(NEXT, 5, 8)];
        assert_eq!(history(&ops, &effects, Some(UPDATE)).violations(), Vec::<String>::new());
    }
}
