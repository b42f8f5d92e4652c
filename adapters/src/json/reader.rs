//! Reader of one JSON text.

use std::borrow::Cow;

use super::error::{JsonError, JsonErrorKind};
use super::scan::plain_run;
use super::value::{Key, Kind, Raw};

/// Maximum nesting of objects and arrays. It bounds the stack of every later reader of the same text.
const MAX_DEPTH: usize = 128;

/// Initial capacity for the names of the open objects.
const NAMES: usize = 32;

/// Number of members up to which names are compared in pairs; larger objects are sorted instead.
const PAIRWISE: usize = 16;

/// Cursor over one JSON text. Every step validates the text that it passes.
///
/// After an error the position is unspecified and the reader should be dropped.
#[derive(Debug)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// True for I-JSON (RFC 7493), which refuses an escape that is half of a surrogate pair.
    strict: bool,
    /// Member names of the open objects, innermost last.
    names: Vec<Key<'a>>,
}

type Walk<T> = Result<T, JsonError>;

impl<'a> Reader<'a> {
    /// Reader for callers' bodies: I-JSON (RFC 7493), without lone surrogates.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not UTF-8.
    pub fn strict(bytes: &'a [u8]) -> Walk<Self> {
        Ok(Reader { names: Vec::with_capacity(NAMES), ..Reader::over(utf8(bytes)?, true) })
    }

    /// Reader for vendors' answers, which may contain lone surrogates, such as an emoji cut in half.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not UTF-8.
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

    fn fail<T>(&self, kind: JsonErrorKind) -> Walk<T> {
        Err(JsonError::new(self.at, kind))
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
    }

    /// Skips white space and returns the kind of the next value.
    ///
    /// # Errors
    ///
    /// Fails if no value begins here.
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

    /// Reads an object. `each` gets the name of a member and must read its value.
    ///
    /// # Errors
    ///
    /// Fails if no valid object follows, a name is repeated, or `each` fails.
    pub fn object(&mut self, mut each: impl FnMut(Key<'a>, &mut Reader<'a>) -> Walk<()>) -> Walk<()> {
        self.open(b'{', JsonErrorKind::NoObject)?;
        let first_name = self.names.len();
        let mut filter = 0;
        self.space();
        if self.byte() == Some(b'}') {
            return self.close();
        }
        loop {
            let key = self.key(first_name, &mut filter)?;
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

    /// Reads an array. `each` must read one item.
    ///
    /// # Errors
    ///
    /// Fails if no valid array follows, or `each` fails.
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

    /// Reads a value of any kind and returns it as written.
    ///
    /// # Errors
    ///
    /// Fails if no valid value follows.
    pub fn raw(&mut self) -> Walk<Raw<'a>> {
        self.space();
        let start = self.at;
        self.value()?;
        match self.text.get(start..self.at) {
            Some(text) => Ok(Raw(text)),
            None => self.fail(JsonErrorKind::NoValue),
        }
    }

    /// Number of bytes that are not read yet.
    pub fn left(&self) -> usize {
        self.text.len().saturating_sub(self.at)
    }

    /// Position of the next value, for [`Reader::since`].
    pub fn mark(&mut self) -> usize {
        self.space();
        self.at
    }

    /// The value that was read since [`Reader::mark`].
    pub fn since(&self, mark: usize) -> Raw<'a> {
        self.text.get(mark..self.at).map_or(Raw::NULL, Raw)
    }

    /// Reads the end of the text.
    ///
    /// # Errors
    ///
    /// Fails if anything but white space follows.
    pub fn end(&mut self) -> Walk<()> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { self.fail(JsonErrorKind::TextBehind) }
    }

    fn skip(&mut self) -> Walk<()> {
        self.space();
        self.value()
    }

    /// Reads the value that starts at the current byte.
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

    fn open(&mut self, bracket: u8, kind: JsonErrorKind) -> Walk<()> {
        self.space();
        if self.byte() != Some(bracket) {
            return self.fail(kind);
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

    /// Reads a name and its colon. `filter` is a 64-bit Bloom filter of the names in this object.
    #[inline(always)]
    fn key(&mut self, first_name: usize, filter: &mut u64) -> Walk<Key<'a>> {
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
        let bit = key.filter_bit();
        if *filter & bit != 0 {
            let seen = self.names.get(first_name..).unwrap_or_default();
            if seen.len() <= PAIRWISE && seen.iter().any(|other| same_name(other, &key)) {
                return Err(JsonError::new(start, JsonErrorKind::Twice));
            }
        }
        *filter |= bit;
        self.names.push(key);
        Ok(key)
    }

    /// Removes the names of the object that ends here. The names of a large object are compared only now.
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

    /// Reads a string. The case without escapes is the common one and is inlined.
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

    /// Reads the rest of a string from its first special byte on; returns the position of the closing quote.
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

    /// Reads `uXXXX`, the part of an escape after its backslash.
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

    fn digits(&mut self, kind: JsonErrorKind) -> Walk<()> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.byte() {
            self.at += 1;
        }
        if self.at == start { self.fail(kind) } else { Ok(()) }
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
