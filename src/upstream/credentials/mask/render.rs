//! The text with masks in place of what was found.

use memchr::memchr2;
use parlance_adapters::json::Reader;

/// Stands in place of a secret.
const MASK: &[u8] = b"***";

/// Longest part of an escape `\uXXXX` that a span may begin behind: `\u` and three digits.
const PART_OF_ESCAPE: usize = 5;

/// Place of a secret in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The text with a mask in place of each span, where spans overlap one for all. A JSON text stays one.
pub(super) fn render(text: &[u8], mut spans: Vec<Span>) -> Vec<u8> {
    spans.iter_mut().for_each(|span| *span = whole_escapes(text, *span));
    spans.sort_unstable_by_key(|span| (span.start, span.end));
    let mut merged: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.start < last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    if !is_json(text) {
        return Masked::new(text, false).render(&merged);
    }
    let masked = Masked::new(text, true).render(&merged);
    if is_json(&masked) {
        return masked;
    }
    // Two names of one object became the same.
    Masked { numbered: Some(0), ..Masked::new(text, true) }.render(&merged)
}

fn is_json(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    Reader::lenient(text).and_then(|mut reader| reader.raw().and_then(|_| reader.end())).is_ok()
}

/// Moves the ends of a span so that no escape is cut in two.
fn whole_escapes(text: &[u8], Span { mut start, mut end }: Span) -> Span {
    let before = |at: usize| text.get(..at).unwrap_or_default();
    let backslashes = |at: usize| before(at).iter().rev().take_while(|byte| **byte == b'\\').count();
    for length in 2..=PART_OF_ESCAPE {
        let part = start.checked_sub(length).and_then(|from| text.get(from..start));
        if let Some([b'\\', b'u', digits @ ..]) = part
            && digits.iter().all(u8::is_ascii_hexdigit)
        {
            start -= length;
            break;
        }
    }
    let run = backslashes(start);
    // With text within text, a longer run of backslashes belongs to the same escape.
    if text.get(start).is_some_and(|first| br#""\/bfnrtu"#.contains(first)) {
        start -= run;
    } else {
        start -= run % 2;
    }
    if end > start + 1 && backslashes(end) % 2 == 1 {
        end -= 1;
    }
    Span { start, end }
}

/// A text that is being masked.
struct Masked<'a> {
    text: &'a [u8],
    masked: Vec<u8>,
    /// Number of bytes that are masked or copied.
    at: usize,
    json: bool,
    /// True within a JSON string.
    in_string: bool,
    /// Number of masks so far, if each is to be different.
    numbered: Option<usize>,
}

impl<'a> Masked<'a> {
    fn new(text: &'a [u8], json: bool) -> Self {
        Masked { text, masked: Vec::with_capacity(text.len()), at: 0, json, in_string: false, numbered: None }
    }

    fn render(mut self, spans: &[Span]) -> Vec<u8> {
        for span in spans {
            self.copy(span.start);
            if self.json {
                self.json_span(span.end);
            } else {
                self.mask();
            }
            self.at = span.end;
        }
        self.copy(self.text.len());
        self.masked
    }

    fn mask(&mut self) {
        self.masked.extend_from_slice(MASK);
        if let Some(count) = &mut self.numbered {
            *count += 1;
            self.masked.extend_from_slice(count.to_string().as_bytes());
        }
    }

    /// Copies the text up to a position.
    fn copy(&mut self, to: usize) {
        let part = self.text.get(self.at..to).unwrap_or_default();
        self.masked.extend_from_slice(part);
        let mut at = 0;
        while let Some(next) =
            part.get(at..).filter(|_| self.json).and_then(|rest| memchr2(b'"', b'\\', rest))
        {
            at += next + 1;
            if part.get(at - 1) == Some(&b'"') {
                self.in_string = !self.in_string;
            } else {
                at += 1;
            }
        }
        self.at = self.at.max(to);
    }

    /// Masks within strings; outside of them only digits change, so that a number stays a number.
    fn json_span(&mut self, end: usize) {
        let span = self.text.get(self.at..end).unwrap_or_default();
        let digit = if span.iter().all(|byte| *byte == b'1') { b'2' } else { b'1' };
        let mut bytes = span.iter().copied();
        let mut is_masked = false;
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' => {
                    self.in_string = !self.in_string;
                    is_masked = false;
                    self.masked.push(byte);
                }
                _ if self.in_string => {
                    if byte == b'\\' {
                        bytes.next();
                    }
                    if !is_masked {
                        self.mask();
                    }
                    is_masked = true;
                }
                _ if byte.is_ascii_digit() => self.masked.push(digit),
                _ => self.masked.push(byte),
            }
        }
    }
}
