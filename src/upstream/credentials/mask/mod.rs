//! A secret in a vendor's answer: found in every spelling, and replaced.
//!
//! One pass searches for the [forms](forms) of the secret: as written, in base64, in hexadecimal digits. A second one
//! looks at the bytes that can begin an escape. Where an escape stands for a character of a form, the text around it is
//! read character by character, with every [spelling](spelling) resolved, for as long as a form may be there. No byte is
//! read so twice, so the cost grows with the length of the answer, whatever it holds.

mod forms;
mod render;
mod spelling;

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, BuildError, Input};
use bytes::Bytes;
use memchr::memchr3;

use self::render::Span;
use self::spelling::{is_leader, unit};

/// Length, in bytes, from which a secret is searched for anywhere. A shorter one must stand as a whole word, or it would
/// be found by chance.
const WHOLE_WORD: usize = 8;

/// Finds a secret in a text and replaces it.
pub(super) struct Mask {
    forms: NFA,
    /// State in which no form has begun.
    idle: StateID,
    /// Length of the longest form, in bytes.
    longest: usize,
    /// Characters that occur in a form.
    characters: [bool; 256],
    /// Pairs of characters that follow one another in a form, by a hash of 12 bits.
    pairs: Box<[bool; 4096]>,
    /// True if the secret holds a backslash, so that `\\n` may spell a part of it.
    holds_backslash: bool,
}

impl Mask {
    /// Prepares the search for a secret.
    ///
    /// # Errors
    /// A secret of many millions of bytes.
    pub(super) fn new(secret: &[u8]) -> Result<Self, BuildError> {
        let forms = forms::of(secret);
        let mut characters = [false; 256];
        let mut pairs = Box::new([false; 4096]);
        for form in &forms {
            form.iter().for_each(|byte| mark(&mut characters, usize::from(*byte)));
            form.windows(2).for_each(|pair| {
                if let [one, next] = *pair {
                    mark(&mut *pairs, hash(one, next));
                }
            });
        }
        let longest = forms.iter().map(Vec::len).max().unwrap_or(0);
        let forms = NFA::new(&forms)?;
        // An automaton of the standard kind has this state.
        let idle = forms.start_state(Anchored::No).unwrap_or_default();
        Ok(Mask { forms, idle, longest, characters, pairs, holds_backslash: secret.contains(&b'\\') })
    }

    /// `text` without the secret: `***` in its place, or other digits in a number. A JSON text stays one.
    pub(super) fn redact(&self, text: Bytes) -> Bytes {
        let mut reading = Reading { mask: self, text: &text, found: Vec::new(), starts: Vec::new() };
        reading.plain();
        reading.escaped();
        let found = reading.found;
        if found.is_empty() { text } else { render::render(&text, found).into() }
    }

    fn occurs(&self, character: u32) -> bool {
        usize::try_from(character).is_ok_and(|at| self.characters.get(at) == Some(&true))
    }

    fn is_pair(&self, one: u8, next: u8) -> bool {
        self.pairs.get(hash(one, next)) == Some(&true)
    }
}

fn mark(set: &mut [bool], at: usize) {
    if let Some(place) = set.get_mut(at) {
        *place = true;
    }
}

fn hash(one: u8, next: u8) -> usize {
    (usize::from(one) << 5 ^ usize::from(next)) & 0xFFF
}

/// One search through one text.
struct Reading<'a> {
    mask: &'a Mask,
    text: &'a [u8],
    found: Vec<Span>,
    /// Positions of the characters that were followed last, as a ring.
    starts: Vec<usize>,
}

impl Reading<'_> {
    /// Finds the forms that are written without any escape.
    fn plain(&mut self) {
        let mut from = 0;
        while let Ok(Some(form)) = self.mask.forms.try_find(&Input::new(self.text).range(from..)) {
            self.add(form.start(), form.end());
            // The rest of an occurrence that is found in part may be spelled otherwise.
            from = self.follow(form.start(), form.end());
        }
    }

    /// Finds the forms of which at least one character is escaped.
    fn escaped(&mut self) {
        let mut from = 0;
        let mut next = 0;
        while let Some(at) = self.rest(next).and_then(|rest| memchr3(b'\\', b'%', b'&', rest)) {
            let at = next + at;
            let (first, behind) = self.escape(at);
            next = behind;
            if let Some(first) = first {
                // A backslash that is a character of its own is left behind with the next character.
                from = self.follow(self.first_literal(from, at, first), behind + 1);
                next = next.max(from);
            }
        }
    }

    fn rest(&self, from: usize) -> Option<&[u8]> {
        self.text.get(from..)
    }

    /// The character that an escape stands for, if it may be one of the secret, and the position to go on at.
    fn escape(&self, at: usize) -> (Option<u32>, usize) {
        let backslashes = self.rest(at).unwrap_or_default().iter().take_while(|byte| **byte == b'\\').count();
        let last = at + backslashes.saturating_sub(1);
        let Some((value, end)) = unit(self.text, last) else { return (None, at + 1) };
        if value != u32::from(b'\\') {
            let is_escaped = backslashes > 0 || end > at + 1;
            return (Some(value).filter(|value| is_escaped && self.mask.occurs(*value)), end);
        }
        let Some(behind) = self.text.get(end).copied() else { return (None, end) };
        let may_be_escaped = behind.is_ascii_punctuation() || self.mask.holds_backslash;
        let matters = is_leader(behind) || (may_be_escaped && self.mask.occurs(behind.into()));
        (matters.then_some(behind.into()), end)
    }

    /// Where an occurrence can begin that goes on with the escape at `at` as its first one.
    fn first_literal(&self, from: usize, at: usize, first: u32) -> usize {
        let before = |at: usize| at.checked_sub(1).and_then(|at| self.text.get(at)).copied();
        let mut next = u8::try_from(first).unwrap_or_default();
        let mut start = at;
        while let Some(byte) = before(start)
            && start > from
            && at - start < self.mask.longest
            && self.mask.occurs(byte.into())
            && ((start == at && is_leader(next)) || self.mask.is_pair(byte, next))
        {
            next = byte;
            start -= 1;
        }
        start
    }

    /// Reads from `start` on, at least up to `until`, for as long as a form may be there. Returns the end.
    fn follow(&mut self, start: usize, until: usize) -> usize {
        let mask = self.mask;
        self.starts.resize(mask.longest, 0);
        let (mut state, mut at, mut count) = (mask.idle, start, 0_usize);
        while let Some((value, end)) = unit(self.text, at) {
            if value != u32::from(b'\\') {
                state = match u8::try_from(value) {
                    Ok(byte) => mask.forms.next_state(Anchored::No, state, byte),
                    Err(_) => mask.idle,
                };
                if let Some(slot) = self.starts.get_mut(count % mask.longest) {
                    *slot = at;
                }
                count += 1;
                if mask.forms.is_match(state) {
                    self.add_forms(state, count, end);
                }
            }
            at = end;
            if state == mask.idle && at >= until {
                break;
            }
        }
        at
    }

    /// Adds the forms that end at `end`, after `count` characters.
    fn add_forms(&mut self, state: StateID, count: usize, end: usize) {
        for index in 0..self.mask.forms.match_len(state) {
            let length = self.mask.forms.pattern_len(self.mask.forms.match_pattern(state, index));
            let first = count.checked_sub(length).and_then(|at| self.starts.get(at % self.mask.longest));
            if let Some(start) = first {
                if length >= WHOLE_WORD || (ends_before(self.text, *start) && begins_behind(self.text, end)) {
                    self.found.push(Span { start: *start, end });
                }
            }
        }
    }

    fn add(&mut self, start: usize, end: usize) {
        if end - start >= WHOLE_WORD || (ends_before(self.text, start) && begins_behind(self.text, end)) {
            self.found.push(Span { start, end });
        }
    }
}

fn is_word(character: u32) -> bool {
    char::from_u32(character).is_some_and(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// True if no word goes on behind a position.
fn begins_behind(text: &[u8], at: usize) -> bool {
    unit(text, at).is_none_or(|(character, _)| !is_word(character))
}

/// True if no word goes on before a position.
fn ends_before(text: &[u8], at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    if before.last().is_none_or(|last| !is_word((*last).into())) {
        return true;
    }
    // `\n` and the like, then longer escapes.
    if let [.., b'\\', b'b' | b'f' | b'n' | b'r' | b't'] = before {
        return true;
    }
    let begins = |length: &usize| before.len().checked_sub(*length);
    [3, 4, 6].iter().filter_map(begins).any(|start| {
        let escape = unit(text, start).filter(|(_, end)| *end == at && at - start > 1);
        escape.is_some_and(|(character, _)| !is_word(character))
    })
}

#[cfg(test)]
mod tests;
