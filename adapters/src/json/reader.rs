//! The walk over one JSON text.

use std::borrow::Cow;

use wide::u8x16;

use super::error::{JsonError, JsonErrorKind};
use super::value::{Key, Kind, Raw};

/// Objects and arrays may nest this deep; deeper texts are refused, so that no reader after us needs a deep stack.
const MAX_DEPTH: usize = 128;

/// Room for the names of the objects that are open at once in most texts.
const NAMES: usize = 32;

/// Up to this many members are compared pairwise; beyond it a sort finds the repeated name.
const PAIRWISE: usize = 16;

/// A cursor over one JSON text. Every step checks what it passes.
#[derive(Debug)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// I-JSON: an escape that is half of a surrogate pair is refused.
    strict: bool,
    /// Names seen in the objects that are open, innermost last.
    names: Vec<Key<'a>>,
}

type Walk<T> = Result<T, JsonError>;

impl<'a> Reader<'a> {
    /// A reader of what a caller sent: I-JSON, so lone surrogates are refused too.
    pub fn strict(bytes: &'a [u8]) -> Walk<Self> {
        Ok(Reader { names: Vec::with_capacity(NAMES), ..Reader::over(utf8(bytes)?, true) })
    }

    /// A reader of what a vendor sent. A lone surrogate escape (an emoji cut in half by the vendor) is passed on.
    pub fn lenient(bytes: &'a [u8]) -> Walk<Self> {
        Ok(Reader { names: Vec::with_capacity(NAMES), ..Reader::over(utf8(bytes)?, false) })
    }

    pub(super) fn over(text: &'a str, strict: bool) -> Self {
        Reader { text, at: 0, depth: 0, strict, names: Vec::new() }
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    fn byte(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    fn fail<T>(&self, wrong: JsonErrorKind) -> Walk<T> {
        Err(JsonError::new(self.at, wrong))
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
    }

    /// What stands next, after white space.
    pub fn peek(&mut self) -> Walk<Kind> {
        self.space();
        match self.byte() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Boolean),
            Some(b'n') => Ok(Kind::Null),
            Some(_) => self.fail(JsonErrorKind::NoValue),
            None => self.fail(JsonErrorKind::EndsBeforeValue),
        }
    }

    /// Walks the object that stands next: `each` gets a member's name and must walk over its value.
    pub fn object(&mut self, mut each: impl FnMut(Key<'a>, &mut Reader<'a>) -> Walk<()>) -> Walk<()> {
        self.open(b'{', JsonErrorKind::NoObject)?;
        let first_name = self.names.len();
        let mut sorts = 0;
        self.space();
        if self.byte() == Some(b'}') {
            return self.close();
        }
        loop {
            let key = self.key(first_name, &mut sorts)?;
            each(key, self)?;
            self.space();
            match self.byte() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.end_names(first_name)?;
                    return self.close();
                }
                _ => return self.fail(JsonErrorKind::NoObjectEnd),
            }
        }
    }

    /// Walks the array that stands next: `each` must walk over one item.
    pub fn array(&mut self, mut each: impl FnMut(&mut Reader<'a>) -> Walk<()>) -> Walk<()> {
        self.open(b'[', JsonErrorKind::NoArray)?;
        self.space();
        if self.byte() == Some(b']') {
            return self.close();
        }
        loop {
            each(self)?;
            self.space();
            match self.byte() {
                Some(b',') => self.at += 1,
                Some(b']') => return self.close(),
                _ => return self.fail(JsonErrorKind::NoArrayEnd),
            }
        }
    }

    /// Walks over the value that stands next, whatever it is, and gives it as it was written.
    pub fn raw(&mut self) -> Walk<Raw<'a>> {
        self.space();
        let start = self.at;
        self.value()?;
        match self.text.get(start..self.at) {
            Some(text) => Ok(Raw(text)),
            None => self.fail(JsonErrorKind::NoValue),
        }
    }

    /// How many bytes were not walked over yet.
    pub fn left(&self) -> usize {
        self.text.len().saturating_sub(self.at)
    }

    /// Where the next value starts, for [`Reader::since`].
    pub fn mark(&mut self) -> usize {
        self.space();
        self.at
    }

    /// The whole value that was walked over since the mark.
    pub fn since(&self, mark: usize) -> Raw<'a> {
        self.text.get(mark..self.at).map_or(Raw::NULL, Raw)
    }

    /// Nothing but white space may follow.
    pub fn end(&mut self) -> Walk<()> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { self.fail(JsonErrorKind::TextBehind) }
    }

    fn skip(&mut self) -> Walk<()> {
        self.space();
        self.value()
    }

    /// Walks over the value that starts here.
    fn value(&mut self) -> Walk<()> {
        match self.byte() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b'{') => self.object(|_, reader| reader.skip()),
            Some(b'[') => self.array(Reader::skip),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => self.fail(JsonErrorKind::NoValue),
            None => self.fail(JsonErrorKind::EndsBeforeValue),
        }
    }

    fn open(&mut self, bracket: u8, wrong: JsonErrorKind) -> Walk<()> {
        self.space();
        if self.byte() != Some(bracket) {
            return self.fail(wrong);
        }
        if self.depth == MAX_DEPTH {
            return self.fail(JsonErrorKind::TooDeep);
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn close(&mut self) -> Walk<()> {
        self.depth -= 1;
        self.at += 1;
        Ok(())
    }

    /// Reads a name and its colon. `sorts` has a bit for each sort of name that the object had so far: only where the
    /// bit is set may the name have been given before.
    #[inline(always)]
    fn key(&mut self, first_name: usize, sorts: &mut u64) -> Walk<Key<'a>> {
        self.space();
        if self.byte() != Some(b'"') {
            return self.fail(JsonErrorKind::NoName);
        }
        let start = self.at;
        let key = self.string()?;
        self.space();
        if self.byte() != Some(b':') {
            return self.fail(JsonErrorKind::NoColon);
        }
        self.at += 1;
        let sort = key.sort();
        if *sorts & sort != 0 {
            let seen = self.names.get(first_name..).unwrap_or_default();
            if seen.len() <= PAIRWISE && seen.iter().any(|other| same_name(other, &key)) {
                return Err(JsonError::new(start, JsonErrorKind::Twice));
            }
        }
        *sorts |= sort;
        self.names.push(key);
        Ok(key)
    }

    /// Forgets the names of the object that ends here; a large one is checked only now.
    fn end_names(&mut self, first_name: usize) -> Walk<()> {
        let seen = self.names.get(first_name..).unwrap_or_default();
        if seen.len() > PAIRWISE {
            let mut names: Vec<Cow<'a, str>> = seen.iter().map(Key::name).collect();
            names.sort_unstable();
            let twice = names.iter().zip(names.iter().skip(1)).any(|(one, next)| one == next);
            if twice {
                return self.fail(JsonErrorKind::TwiceInThis);
            }
        }
        self.names.truncate(first_name);
        Ok(())
    }

    /// Walks over the string that stands next. Most have no escapes: that case is kept short, to be inlined.
    #[inline(always)]
    fn string(&mut self) -> Walk<Key<'a>> {
        let start = self.at + 1;
        let mut end = start + plain_run(self.bytes().get(start..).unwrap_or_default());
        let escaped = self.bytes().get(end) != Some(&b'"');
        if escaped {
            end = self.escaped_string(end)?;
        }
        self.at = end + 1;
        Ok(Key { written: self.text.get(start..end).unwrap_or_default(), escaped })
    }

    /// The same from the first byte on that does not stand for itself; gives where the closing quote is.
    #[inline(never)]
    fn escaped_string(&mut self, special: usize) -> Walk<usize> {
        self.at = special;
        loop {
            match self.byte() {
                Some(b'"') => return Ok(self.at),
                Some(b'\\') => self.escape()?,
                Some(_) => return self.fail(JsonErrorKind::Control),
                None => return self.fail(JsonErrorKind::EndsInString),
            }
            self.at += plain_run(self.bytes().get(self.at..).unwrap_or_default());
        }
    }

    fn escape(&mut self) -> Walk<()> {
        self.at += 1;
        match self.byte() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                let unit = self.hex4()?;
                match unit {
                    0xDC00..=0xDFFF if self.strict => self.fail(JsonErrorKind::LoneSurrogate),
                    0xD800..=0xDBFF if self.strict => {
                        if self.byte() != Some(b'\\') || self.bytes().get(self.at + 1) != Some(&b'u') {
                            return self.fail(JsonErrorKind::LoneSurrogate);
                        }
                        self.at += 1;
                        match self.hex4()? {
                            0xDC00..=0xDFFF => Ok(()),
                            _ => self.fail(JsonErrorKind::LoneSurrogate),
                        }
                    }
                    _ => Ok(()),
                }
            }
            Some(_) => self.fail(JsonErrorKind::NoSuchEscape),
            None => self.fail(JsonErrorKind::EndsInString),
        }
    }

    /// Stands on the `u` of `\uXXXX`; leaves behind the fourth digit.
    fn hex4(&mut self) -> Walk<u32> {
        let digits =
            self.text.get(self.at + 1..self.at + 5).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|d| u32::from_str_radix(d, 16).ok()) {
            Some(unit) => {
                self.at += 5;
                Ok(unit)
            }
            None => self.fail(JsonErrorKind::NoHex),
        }
    }

    fn literal(&mut self, word: &'static str) -> Walk<()> {
        if self.bytes().get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes())) {
            self.at += word.len();
            return Ok(());
        }
        self.fail(JsonErrorKind::NoValue)
    }

    fn number(&mut self) -> Walk<()> {
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(JsonErrorKind::NoDigit)?,
            _ => return self.fail(JsonErrorKind::NoDigit),
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits(JsonErrorKind::NoFraction)?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            self.digits(JsonErrorKind::NoExponent)?;
        }
        Ok(())
    }

    fn digits(&mut self, wrong: JsonErrorKind) -> Walk<()> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.byte() {
            self.at += 1;
        }
        if self.at == start { self.fail(wrong) } else { Ok(()) }
    }
}

impl<'a> Raw<'a> {
    /// Reader over this value, which is known to be well-formed.
    pub fn reader(self) -> Reader<'a> {
        Reader::over(self.text(), false)
    }

    /// Members of an object; empty for any other kind.
    pub fn members(self) -> Vec<(Key<'a>, Raw<'a>)> {
        let mut members = Vec::new();
        if self.kind() == Kind::Object {
            // A `Raw` was checked when it was read, so this walk cannot fail.
            let walked = self.reader().object(|key, reader| {
                members.push((key, reader.raw()?));
                Ok(())
            });
            debug_assert!(walked.is_ok(), "a raw value is well-formed");
        }
        members
    }

    /// Items of an array; empty for any other kind.
    pub fn items(self) -> Vec<Raw<'a>> {
        let mut items = Vec::new();
        if self.kind() == Kind::Array {
            let walked = self.reader().array(|reader| {
                items.push(reader.raw()?);
                Ok(())
            });
            debug_assert!(walked.is_ok(), "a raw value is well-formed");
        }
        items
    }
}

fn utf8(bytes: &[u8]) -> Walk<&str> {
    simdutf8::compat::from_utf8(bytes).map_err(|e| JsonError::new(e.valid_up_to(), JsonErrorKind::NotUtf8))
}

#[inline(always)]
fn same_name(one: &Key<'_>, other: &Key<'_>) -> bool {
    if one.escaped || other.escaped { one.name() == other.name() } else { one.written == other.written }
}

#[inline]
fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\'
}

/// The same for sixteen bytes at once: a bit for each that is not plain, the lowest for the first.
#[inline]
fn special(block: [u8; 16]) -> u32 {
    let block = u8x16::new(block);
    let special = block.simd_lt(u8x16::splat(0x20))
        | block.simd_eq(u8x16::splat(b'"'))
        | block.simd_eq(u8x16::splat(b'\\'));
    special.to_bitmask()
}

/// How many bytes from the start stand for themselves in a string, which is where most of a reading goes. One block
/// holds nearly every name; the last bytes of a text are looked at one by one.
#[inline]
fn plain_run(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    let mut run = 0;
    while let Some((block, behind)) = rest.split_first_chunk::<16>() {
        let special = special(*block);
        if special != 0 {
            return run + special.trailing_zeros() as usize;
        }
        run += 16;
        rest = behind;
    }
    run + rest.iter().take_while(|&&byte| is_plain(byte)).count()
}
