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
use aho_corasick::packed::Searcher;
use aho_corasick::{Anchored, BuildError, Input, Match, Span as Range};
use bytes::Bytes;
use memchr::memchr3;

use self::forms::WHOLE_WORD;
use self::render::Span;
use self::spelling::{Character, MAX_REFERENCE, Resolver, is_leader, resolved};

/// Flag of a character that occurs in a form.
const OCCURS: u8 = 1;
/// Flag of a character that a form begins with.
const BEGINS: u8 = 2;
/// Flag of a character that a form ends with.
const ENDS: u8 = 4;

/// Number of bytes beside a word that are read to see its end.
const NEAR: usize = 128;

/// Finds a secret in a text and replaces it.
pub(super) struct Mask {
    forms: NFA,
    /// Finds the forms with vector instructions, where the processor has them.
    plain: Option<Searcher>,
    /// State in which no form has begun.
    idle: StateID,
    /// Length of the longest form, in bytes.
    longest: usize,
    /// Characters of the forms: `OCCURS`, `BEGINS` and `ENDS`.
    characters: [u8; 256],
    /// Pairs of characters that follow one another in a form, by a hash of 12 bits.
    pairs: Box<[bool; 4096]>,
    /// Length, in bytes, from which a form is masked within a word.
    within_words: usize,
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
        let mut characters = [0; 256];
        let mut pairs = Box::new([false; 4096]);
        let mut mark = |byte: Option<&u8>, flag| {
            if let Some(flags) = byte.and_then(|byte| characters.get_mut(usize::from(*byte))) {
                *flags |= flag;
            }
        };
        for form in &forms {
            form.iter().for_each(|byte| mark(Some(byte), OCCURS));
            mark(form.first(), BEGINS);
            mark(form.last(), ENDS);
            for (one, next) in form.iter().zip(form.iter().skip(1)) {
                if let Some(is_pair) = pairs.get_mut(hash(*one, *next)) {
                    *is_pair = true;
                }
            }
        }
        // Backslashes are left out of a form without making it a likelier word.
        let backslashes = secret.iter().filter(|byte| **byte == b'\\').count();
        let shortened = secret.len().saturating_sub(backslashes).clamp(WHOLE_WORD / 2, WHOLE_WORD);
        let within_words = if secret.len() < WHOLE_WORD { WHOLE_WORD } else { shortened };
        let longest = forms.iter().map(Vec::len).max().unwrap_or(0);
        let plain = Searcher::new(&forms);
        let forms = NFA::new(&forms)?;
        // An automaton of the standard kind has this state.
        let idle = forms.start_state(Anchored::No).unwrap_or_default();
        Ok(Mask {
            forms,
            plain,
            idle,
            longest,
            characters,
            pairs,
            within_words,
            holds_backslash: backslashes > 0,
        })
    }

    /// `text` without the secret: `***` in its place, or other digits in a number. A JSON text stays one.
    pub(super) fn redact(&self, text: Bytes) -> Bytes {
        let mut reading = Reading { mask: self, text: &text, found: Vec::new(), starts: Vec::new() };
        reading.plain();
        reading.escaped();
        let found = reading.found;
        if found.is_empty() { text } else { render::render(&text, found).into() }
    }

    fn has(&self, byte: u8, flag: u8) -> bool {
        self.characters.get(usize::from(byte)).is_some_and(|flags| flags & flag != 0)
    }

    fn is_pair(&self, one: u8, next: u8) -> bool {
        self.pairs.get(hash(one, next)) == Some(&true)
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
        while let Some(form) = self.next_plain(from) {
            self.add(Span { start: form.start(), end: form.end() }, form.len());
            // The rest of an occurrence that is found in part may be spelled otherwise.
            from = self.follow(form.start(), form.end());
        }
    }

    fn next_plain(&self, from: usize) -> Option<Match> {
        match &self.mask.plain {
            Some(plain) => plain.find_in(self.text, Range { start: from, end: self.text.len() }),
            None => self.mask.forms.try_find(&Input::new(self.text).range(from..)).ok().flatten(),
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
            if let Some(first) = first.filter(|first| self.may_stand(*first, from, at, behind)) {
                from = self.follow(self.first_literal(from, at, first), behind);
                next = next.max(from);
            }
        }
    }

    fn rest(&self, from: usize) -> Option<&[u8]> {
        self.text.get(from..)
    }

    /// The character that an escape stands for, if it may be one of the secret, and the position to go on at. An escape
    /// that is escaped itself is given as a byte that can begin one.
    fn escape(&self, at: usize) -> (Option<u8>, usize) {
        let byte = |at: usize| self.text.get(at).copied().unwrap_or_default();
        let leader = byte(at);
        let run = self.rest(at).unwrap_or_default().iter().take_while(|byte| **byte == b'\\').count();
        let begin = at + run.max(1);
        let (digits, end) = match (leader, byte(begin)) {
            (b'\\' | b'%', b'u') => (begin + 1, begin + 5),
            (b'\\', b'x') => (begin + 1, begin + 3),
            (b'\\', next) => {
                let may_be_escaped = next.is_ascii_punctuation() || self.mask.holds_backslash;
                let matters = may_be_escaped && self.mask.has(next, OCCURS);
                return if is_leader(next) {
                    (Some(next), begin)
                } else {
                    (matters.then_some(next), begin + 1)
                };
            }
            (b'%', _) => (begin, begin + 2),
            _ => {
                let name = self.rest(begin).unwrap_or_default().iter().take(MAX_REFERENCE + 1);
                let length = name.take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'#').count();
                let matters = byte(begin + length) == b';' || is_leader(byte(begin + length));
                return (matters.then_some(leader), begin);
            }
        };
        let mut value = 0;
        for at in digits..end {
            match char::from(byte(at)).to_digit(16) {
                Some(digit) => value = value * 16 + digit,
                None => return (is_leader(byte(at)).then_some(byte(at)), begin),
            }
        }
        // With a further backslash before it, an escaped `u` is part of an escape.
        let begins = |value: u8| is_leader(value) || (run > 1 && matches!(value, b'u' | b'x'));
        match u8::try_from(value) {
            Ok(value) if begins(value) => (Some(b'\\'), end),
            Ok(value) if self.mask.has(value, OCCURS) => (Some(value), end),
            _ => (None, end),
        }
    }

    /// True if the characters beside an escape may belong to an occurrence of which it is the first escape.
    fn may_stand(&self, character: u8, from: usize, at: usize, behind: usize) -> bool {
        let byte = |at: usize| self.text.get(at).copied().unwrap_or_default();
        let (mask, next) = (self.mask, byte(behind));
        let begins = mask.has(character, BEGINS) || (at > from && mask.is_pair(byte(at - 1), character));
        let goes_on = mask.has(character, ENDS) || is_leader(next) || mask.is_pair(character, next);
        is_leader(character) || (begins && goes_on)
    }

    /// The position at which an occurrence can begin that goes on with the escape at `at` as its first one.
    fn first_literal(&self, from: usize, at: usize, first: u8) -> usize {
        let before = |at: usize| at.checked_sub(1).and_then(|at| self.text.get(at)).copied();
        let mut next = first;
        let mut start = at;
        while let Some(byte) = before(start)
            && start > from
            && at - start < self.mask.longest
            && self.mask.has(byte, OCCURS)
            && ((start == at && is_leader(next)) || self.mask.is_pair(byte, next))
        {
            next = byte;
            start -= 1;
        }
        start
    }

    /// Reads from `start` on, at least up to `until`, for as long as a form may be there. Returns the end.
    fn follow(&mut self, start: usize, until: usize) -> usize {
        self.starts.resize(self.mask.longest, 0);
        let mut resolver = Resolver::default();
        let (mut state, mut count) = (self.mask.idle, 0);
        let text = self.text;
        for (at, byte) in (start..).zip(text.get(start..).unwrap_or_default()) {
            resolver.push(*byte, at);
            while let Some(character) = resolver.next() {
                state = self.step(state, &mut count, character);
            }
            if state == self.mask.idle && at + 1 >= until && resolver.is_idle() {
                return at + 1;
            }
        }
        while let Some(character) = resolver.last() {
            state = self.step(state, &mut count, character);
        }
        text.len()
    }

    /// Goes one character on, and adds the forms that end with it.
    fn step(&mut self, state: StateID, count: &mut usize, character: Character) -> StateID {
        let Mask { forms, idle, longest, .. } = self.mask;
        let Ok(byte) = u8::try_from(character.value) else { return *idle };
        let state = forms.next_state(Anchored::No, state, byte);
        if let Some(slot) = self.starts.get_mut(*count % longest) {
            *slot = character.start;
        }
        *count += 1;
        if forms.is_match(state) {
            for index in 0..forms.match_len(state) {
                let length = forms.pattern_len(forms.match_pattern(state, index));
                let first = count.checked_sub(length).and_then(|at| self.starts.get(at % longest));
                if let Some(start) = first.copied() {
                    self.add(Span { start, end: character.end }, length);
                }
            }
        }
        state
    }

    fn add(&mut self, span: Span, length: usize) {
        if length >= self.mask.within_words
            || (ends_before(self.text, span.start) && begins_behind(self.text, span.end))
        {
            self.found.push(span);
        }
    }
}

fn is_word(character: u32) -> bool {
    char::from_u32(character).is_some_and(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// True if no word goes on behind a position.
fn begins_behind(text: &[u8], at: usize) -> bool {
    let behind = text.get(at..).unwrap_or_default();
    if behind.first() == Some(&b'\\') && !matches!(behind, [b'\\', b'u' | b'x', ..]) {
        return true;
    }
    let near = behind.get(..behind.len().min(NEAR)).unwrap_or_default();
    resolved(near).first().is_none_or(|character| !is_word(character.value))
}

/// True if no word goes on before a position.
fn ends_before(text: &[u8], at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    if before.last().is_none_or(|last| !is_word((*last).into())) {
        return true;
    }
    let near = before.get(before.len().saturating_sub(NEAR)..).unwrap_or_default();
    let mut resolver = Resolver::default();
    near.iter().zip(0..).for_each(|(byte, at)| resolver.push(*byte, at));
    // `\n` and the like are no letters.
    resolver.newest().is_none_or(|character| character.is_escaped() || !is_word(character.value))
}

#[cfg(test)]
mod tests;
