//! Histories: the answers of callers, the effects at the vendor, and the check that the two go together.
//!
//! A key may have a second effect or a second answer only where its holder was lost: its process was killed or stood
//! still past the lease while it worked, or was killed before a store that failed had its record.

use std::collections::{BTreeMap, BTreeSet};

/// Microseconds since the start.
pub(crate) type Time = u64;

/// The longest time that a gateway works for a caller that has gone.
const WORKING: Time = 5_000_000;
/// The longest time until a gateway finds a store that is back, and the longest time that an answer then waits for
/// its record.
const FOUND: Time = 1_000_000;
const RECORDED: Time = 3_000_000;

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
    /// No answer came.
    Lost,
}

/// One request of a caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Op {
    pub(crate) update: Update,
    pub(crate) gateway: usize,
    pub(crate) begun: Time,
    pub(crate) ended: Time,
    pub(crate) outcome: Outcome,
}

/// A failure that hits holders of keys.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Blow {
    /// A gateway was killed.
    Killed(usize),
    /// A gateway stood still past the lease.
    Stopped(usize),
    /// The store was away.
    Away,
    /// The store was away so long that leases ended before answers could be recorded.
    AwayTooLong,
}

#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) ops: Vec<Op>,
    /// The updates that changed something at the vendor.
    pub(crate) effects: Vec<Update>,
    /// The last update of each conversation.
    pub(crate) last: BTreeMap<usize, Option<Update>>,
    pub(crate) blows: Vec<(Blow, Time, Time)>,
}

impl Op {
    fn is_first(&self) -> bool {
        matches!(self.outcome, Outcome::Answered { replayed: false, .. })
    }

    fn may_have_effect(&self) -> bool {
        match self.outcome {
            Outcome::Answered { applied, .. } => applied != Applied::No,
            Outcome::Refused => false,
            Outcome::Lost => true,
        }
    }
}

impl History {
    /// Tells whether this request may have held its key and lost it.
    fn is_excused(&self, op: &Op) -> bool {
        let lost = op.outcome == Outcome::Lost;
        if !lost && !op.is_first() {
            return false;
        }
        // Nobody knows how long a request without an answer was worked on.
        let ended = if lost { op.begun + WORKING } else { op.ended };
        let met = |from: Time, until: Time| op.begun <= until && from <= ended;
        // The store is away when the answer is there, and the process is killed before it is back.
        let unrecorded = |killed: Time| {
            op.ended <= killed
                && self.blows.iter().any(|(blow, from, until)| {
                    matches!(blow, Blow::Away | Blow::AwayTooLong)
                        && met(*from, until + FOUND)
                        && killed <= until + RECORDED
                })
        };
        self.blows.iter().any(|(blow, from, until)| match *blow {
            Blow::Killed(gateway) => gateway == op.gateway && (met(*from, *until) || unrecorded(*from)),
            Blow::Stopped(gateway) => gateway == op.gateway && met(*from, *until),
            Blow::AwayTooLong => met(*from, *until),
            Blow::Away => false,
        })
    }

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
            for what in self.of_key(ops, effects.get(key).unwrap_or(&none)) {
                wrong.push(format!("key {key}: {what}: {ops:#?}"));
            }
        }
        wrong.extend(self.last.iter().filter_map(|(conversation, last)| self.of_end(*conversation, *last)));
        wrong
    }

    fn of_key(&self, ops: &[&Op], effects: &[Update]) -> Vec<String> {
        let mut wrong = Vec::new();
        let lost = ops.iter().filter(|op| self.is_excused(op)).count();
        if effects.len() > 1 + lost {
            wrong.push(format!("{} effects, {lost} holders were lost", effects.len()));
        }
        let firsts = ops.iter().filter(|op| op.is_first()).count();
        if firsts > 1 + lost {
            wrong.push(format!("done {firsts} times, {lost} holders were lost"));
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
        if answers.len() > 1 + lost {
            wrong.push(format!("{} answers", answers.len()));
        }
        if requests.len() > 1 + lost {
            wrong.push("answered for more than one request".to_owned());
        }
        if !answers.is_empty() && firsts == 0 && !ops.iter().any(|op| op.outcome == Outcome::Lost) {
            wrong.push("an answer that nobody got first".to_owned());
        }
        for effect in effects {
            if !ops.iter().any(|op| op.update == *effect && op.may_have_effect()) {
                wrong.push(format!("an effect of what was refused: {effect:?}"));
            }
        }
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
            Outcome::Refused | Outcome::Answered { applied: Applied::No, .. } => false,
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

#[cfg(test)]
mod tests {
    use super::*;

    const UPDATE: Update = Update { key: 1, conversation: 0, variant: 0 };
    const OTHER: Update = Update { key: 1, conversation: 0, variant: 1 };
    const NEXT: Update = Update { key: 2, conversation: 0, variant: 0 };
    const SECOND: Time = 1_000_000;

    fn op(update: Update, begun: Time, outcome: Outcome) -> Op {
        Op { update, gateway: 0, begun, ended: begun + 10, outcome }
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
        History { ops, effects, last: [(0, last)].into(), blows: Vec::new() }
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
    fn a_second_effect_needs_a_holder_that_was_lost() {
        let ops = [op(UPDATE, 0, Outcome::Lost), first(UPDATE, 5 * SECOND, 7)];
        let mut history = history(&ops, &[UPDATE, UPDATE], Some(UPDATE));
        objects(&history, "2 effects");
        for (blow, from, until, is_excuse) in [
            (Blow::Killed(0), 5, 6, true),
            (Blow::Killed(1), 5, 6, false),
            // Long after.
            (Blow::Killed(0), 60 * SECOND, 61 * SECOND, false),
            (Blow::Stopped(0), 5, 4 * SECOND, true),
            (Blow::Stopped(1), 5, 4 * SECOND, false),
            (Blow::Away, 5, 6, false),
            (Blow::AwayTooLong, 5, 6, true),
        ] {
            history.blows = vec![(blow, from, until)];
            assert_eq!(history.violations().is_empty(), is_excuse, "{blow:?}");
        }
        history.blows = vec![(Blow::Killed(0), 5, 6)];
        history.effects.push(UPDATE);
        objects(&history, "3 effects, 1 holders");
        // What came after the process was gone never reached it.
        history.effects.pop();
        history.ops[0].begun = 7;
        objects(&history, "2 effects");
    }

    #[test]
    fn an_answer_may_be_lost_with_its_holder_only_while_the_store_is_away() {
        let ops = [first(UPDATE, 0, 7), first(UPDATE, 5 * SECOND, 8)];
        let mut history = history(&ops, &[UPDATE, UPDATE], Some(UPDATE));
        objects(&history, "done 2 times");
        history.blows = vec![(Blow::Killed(0), SECOND, SECOND + 1)];
        objects(&history, "done 2 times");
        history.blows.push((Blow::Away, 5, 6));
        assert_eq!(history.violations(), Vec::<String>::new());
        // The store was away before, or was back long before.
        for (from, killed) in [(20, SECOND), (5, 4 * SECOND)] {
            history.blows = vec![(Blow::Away, from, from + 1), (Blow::Killed(0), killed, killed + 1)];
            objects(&history, "done 2 times");
        }
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
