//! Spellings of a character: JSON escapes, percent-encoding and HTML references, in any nesting.

use std::collections::VecDeque;

/// Maximum number of characters that wait for the end of an escape.
const MAX_WAITING: usize = 64;

/// Maximum number of characters between `&` and `;`.
pub(super) const MAX_REFERENCE: usize = 10;

/// Number of levels of JSON text within JSON text below what percent-encoding or HTML spells.
const JSON_LEVELS: u32 = 16;

/// HTML's names of ASCII characters.
const NAMES: [(&[u8], u8); 36] = [
    (b"amp", b'&'),
    (b"lt", b'<'),
    (b"gt", b'>'),
    (b"quot", b'"'),
    (b"apos", b'\''),
    (b"sol", b'/'),
    (b"bsol", b'\\'),
    (b"plus", b'+'),
    (b"equals", b'='),
    (b"percnt", b'%'),
    (b"num", b'#'),
    (b"dollar", b'$'),
    (b"excl", b'!'),
    (b"quest", b'?'),
    (b"colon", b':'),
    (b"semi", b';'),
    (b"comma", b','),
    (b"period", b'.'),
    (b"commat", b'@'),
    (b"lowbar", b'_'),
    (b"grave", b'`'),
    (b"ast", b'*'),
    (b"midast", b'*'),
    (b"Hat", b'^'),
    (b"lpar", b'('),
    (b"rpar", b')'),
    (b"lsqb", b'['),
    (b"lbrack", b'['),
    (b"rsqb", b']'),
    (b"rbrack", b']'),
    (b"lcub", b'{'),
    (b"lbrace", b'{'),
    (b"rcub", b'}'),
    (b"rbrace", b'}'),
    (b"verbar", b'|'),
    (b"vert", b'|'),
];

/// True for a byte that can begin an escape.
pub(super) fn is_leader(byte: u8) -> bool {
    matches!(byte, b'\\' | b'%' | b'&')
}

/// A character, and where its spelling stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Character {
    pub(super) value: u32,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Number of plain backslashes that one backslash in its place would be written with: JSON text within JSON text doubles
    /// them.
    level: u128,
    /// Levels of the backslashes before it, in sum. So each bit is of the backslashes of one level.
    backslashes: u128,
    /// Position of the first one of them.
    backslash: usize,
}

impl Character {
    /// True if a backslash stands before it.
    pub(super) fn is_escaped(&self) -> bool {
        self.backslashes > 0
    }

    fn is(&self, byte: u8) -> bool {
        self.value == u32::from(byte)
    }

    fn digit(&self) -> Option<u32> {
        char::from_u32(self.value)?.to_digit(16)
    }

    fn opens(&self) -> bool {
        self.is(b'%') || self.is(b'&') || (self.backslashes > 0 && (self.is(b'u') || self.is(b'x')))
    }

    fn goes_on(&self) -> bool {
        self.opens() || self.is(b'#') || char::from_u32(self.value).is_some_and(|c| c.is_ascii_alphanumeric())
    }
}

/// Resolves the spellings of a text that it is given byte by byte.
///
/// An escape is replaced as soon as its last character is known; what it spells may be a part of the next escape. So
/// nesting needs no second pass, and each byte costs the same. Backslashes that spell nothing are left out.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    /// Characters that may be the beginning of an escape, oldest first.
    waiting: VecDeque<Character>,
    /// Levels of the backslashes since the last character, in sum.
    backslashes: u128,
    /// Position of the first one of them.
    backslash: usize,
}

impl Resolver {
    /// Takes the byte at a position.
    pub(super) fn push(&mut self, byte: u8, at: usize) {
        #[cfg(test)]
        STEPS.with(|steps| steps.set(steps.get() + 1));
        if byte == b'\\' {
            if self.backslashes == 0 {
                self.backslash = at;
            }
            self.backslashes += 1;
            return;
        }
        let (end, backslashes) = (at + 1, std::mem::take(&mut self.backslashes));
        let character = Character {
            value: byte.into(),
            start: at,
            end,
            level: 1,
            backslashes,
            backslash: self.backslash,
        };
        self.waiting.push_back(character);
        while let Some((length, value)) = self.escape() {
            let begin = self.waiting.len() - length;
            let Some(first) = self.waiting.get(begin).copied() else { return };
            let highest = self.waiting.range(begin..).map(|part| part.level).max().unwrap_or(1);
            self.waiting.truncate(begin);
            let is_json = first.is(b'u') || first.is(b'x');
            let (start, backslashes, level) = if is_json {
                // The lowest bit is of the backslash that begins the escape.
                let left = first.backslashes & first.backslashes.wrapping_sub(1);
                (first.backslash, left, (first.backslashes ^ left).saturating_mul(2))
            } else {
                (first.start, first.backslashes, above(highest))
            };
            if value == u32::from(b'\\') {
                self.backslash = if backslashes > 0 { first.backslash } else { start };
                self.backslashes = backslashes.saturating_add(level);
                return;
            }
            self.waiting.push_back(Character {
                value,
                start,
                end,
                level,
                backslashes,
                backslash: first.backslash,
            });
        }
    }

    /// The oldest character that belongs to no escape, if there is one.
    pub(super) fn next(&mut self) -> Option<Character> {
        let first = self.waiting.front()?;
        let waits = first.opens() && self.waiting.get(1).is_none_or(Character::goes_on);
        if waits && self.waiting.len() <= MAX_WAITING { None } else { self.waiting.pop_front() }
    }

    /// The oldest character of a text that is at its end.
    pub(super) fn last(&mut self) -> Option<Character> {
        self.waiting.pop_front()
    }

    /// The newest character, unless a backslash follows it.
    pub(super) fn newest(&self) -> Option<&Character> {
        self.waiting.back().filter(|_| self.backslashes == 0)
    }

    /// True if no escape has begun.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.backslashes == 0
    }

    /// The escape that the last character ends: its length in characters, and the character that it spells.
    fn escape(&self) -> Option<(usize, u32)> {
        let from_end = |back: usize| self.waiting.get(self.waiting.len().checked_sub(back)?);
        let last = from_end(1)?;
        if last.is(b';') {
            return self.reference();
        }
        let digits =
            |count| (1..=count).rev().try_fold(0, |value, at| Some(value * 16 + from_end(at)?.digit()?));
        let low = last.digit()?;
        if let Some(first) = from_end(3)
            && (first.is(b'%') || (first.is(b'x') && first.backslashes > 0))
            && let Some(high) = from_end(2)?.digit()
        {
            return Some((3, high * 16 + low));
        }
        let mark = from_end(5).filter(|mark| mark.is(b'u'))?;
        let is_json = mark.backslashes > 0;
        let is_percent = from_end(6).is_some_and(|first| first.is(b'%'));
        if is_json || is_percent { Some((if is_json { 5 } else { 6 }, digits(4)?)) } else { None }
    }

    fn reference(&self) -> Option<(usize, u32)> {
        let mut name = [0; MAX_REFERENCE];
        let mut place = MAX_REFERENCE;
        for (length, character) in (2..).zip(self.waiting.iter().rev().skip(1)) {
            if character.is(b'&') {
                let name = str::from_utf8(name.get(place..)?).ok()?;
                let value = match name.strip_prefix('#') {
                    Some(number) => match number.strip_prefix(['x', 'X']) {
                        Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                        None => number.parse().ok()?,
                    },
                    None => u32::from(NAMES.iter().find(|(known, _)| *known == name.as_bytes())?.1),
                };
                return Some((length, value));
            }
            let byte = u8::try_from(character.value).ok()?;
            place = place.checked_sub(1).filter(|_| byte.is_ascii_alphanumeric() || byte == b'#')?;
            *name.get_mut(place)? = byte;
        }
        None
    }
}

/// Level of what percent-encoding or HTML spells with characters of this level.
fn above(level: u128) -> u128 {
    let steps = level.checked_ilog2().unwrap_or(0) / JSON_LEVELS + 1;
    1_u128.checked_shl(steps * JSON_LEVELS).unwrap_or(1)
}

/// The characters that a text spells.
pub(super) fn resolved(text: &[u8]) -> Vec<Character> {
    let mut resolver = Resolver::default();
    let mut characters = Vec::with_capacity(text.len());
    for (at, byte) in text.iter().enumerate() {
        resolver.push(*byte, at);
        characters.extend(std::iter::from_fn(|| resolver.next()));
    }
    characters.extend(std::iter::from_fn(|| resolver.last()));
    characters
}

#[cfg(test)]
std::thread_local! {
    /// Bytes that were read in this thread, for the tests of the cost.
    pub(super) static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        resolved(text.as_bytes()).iter().map(|character| char::from_u32(character.value).unwrap()).collect()
    }

    #[test]
    fn one_character_in_all_its_spellings() {
        for text in [
            "+",
            r"\+",
            r"\u002b",
            r"\u002B",
            r"\\u002b",
            r"\\\\u002b",
            "%2B",
            "%2b",
            "%252b",
            "%25252B",
            r"\u00252B",
            "&#43;",
            "&#x2B;",
            "&#X002b;",
            "&plus;",
            "&amp;#43;",
            "&amp;plus;",
            r"\u0026#43;",
            "%26plus%3B",
            "%5Cu002b",
            r"\u005cu002b",
            r"\x2b",
            "%5C%75%30%30%32%42",
            "%u002B",
            "&#37;2B",
            "%2&#x42;",
            r"&#92;u002b",
            r"\\\u0075002b",
            r"\u00\u0032b",
            r"\\u00\\u0032b",
        ] {
            assert_eq!(read(text), "+", "{text}");
        }
    }

    #[test]
    fn what_is_no_escape_stands_for_itself() {
        for text in [
            "",
            "%",
            "%2",
            "%2x",
            "%%",
            "&",
            "&;",
            "&nothing;",
            "&#;",
            "&#99999999999;",
            "& lt;",
            "u0041",
            "x41",
        ] {
            assert_eq!(read(text), text);
        }
        // `u0041` is a text here, whose first letter is escaped.
        assert_eq!(read(r"\u00750041 \\u0075\\u0030\\u0030\\u0034\\u0031"), "u0041 u0041");
        assert_eq!(read(r"C:\\users\n\u002"), "C:usersnu002");
    }

    #[test]
    fn a_character_knows_its_place() {
        let places = |text: &str| -> Vec<_> {
            resolved(text.as_bytes()).iter().map(|character| (character.start, character.end)).collect()
        };
        assert_eq!(places(r"a%2Bb\/\u002fc"), [(0, 1), (1, 4), (4, 5), (6, 7), (7, 13), (13, 14)]);
    }
}
