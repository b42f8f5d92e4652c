//! Entity tags and the conditions that name them (RFC 9110, sections 8.8.3 and 13.1).

use std::fmt;

use highway::{HighwayHash, HighwayHasher};
use http::HeaderValue;

/// Strong entity tag of a representation: its HighwayHash of 128 bits under the key of zeros. Equal on every replica.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ETag([u64; 2]);

impl ETag {
    /// Computes the tag of `text`.
    pub fn of(text: &[u8]) -> Self {
        ETag(HighwayHasher::default().hash128(text))
    }

    /// Value of the header `ETag`.
    pub fn header(self) -> HeaderValue {
        let mut text = [b'"'; 34];
        let [high, low] = self.0;
        for (at, digit) in text.iter_mut().skip(1).take(32).enumerate() {
            let half = if at < 16 { high } else { low };
            let nibble = half.rotate_left(4 * (at as u32 % 16 + 1)).to_le_bytes()[0] & 0xF;
            *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        }
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.header(), f)
    }
}

/// Condition of `If-Match` or `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// `*`: any representation.
    Any,
    /// One of these tags.
    Tags(Vec<Tag>),
}

/// Entity tag as a caller wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    weak: bool,
    /// The tag in its quotes.
    quoted: Box<[u8]>,
}

/// Error of a condition that is not `*` or a list of entity tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidCondition;

impl Condition {
    /// Parses the lines of one header; `None` without any.
    ///
    /// # Errors
    ///
    /// Fails unless the lines are `*` or a list of entity tags.
    pub fn parse<'a>(
        lines: impl IntoIterator<Item = &'a HeaderValue>,
    ) -> Result<Option<Condition>, InvalidCondition> {
        let mut lines = lines.into_iter().peekable();
        if lines.peek().is_none() {
            return Ok(None);
        }
        let (mut any, mut tags) = (false, Vec::new());
        for line in lines {
            let mut rest = line.as_bytes().trim_ascii();
            // A list may have empty elements (RFC 9110 section 5.6.1.2).
            while let Some((first, behind)) = rest.split_first() {
                rest = match first {
                    b',' => behind.trim_ascii_start(),
                    b'*' => {
                        any = true;
                        element_end(behind)?
                    }
                    _ => {
                        let (tag, behind) = tag(rest)?;
                        tags.push(tag);
                        element_end(behind)?
                    }
                };
            }
        }
        match (any, tags.is_empty()) {
            (true, true) => Ok(Some(Condition::Any)),
            (false, false) => Ok(Some(Condition::Tags(tags))),
            _ => Err(InvalidCondition),
        }
    }

    /// True if the condition names `tag` by strong comparison, as `If-Match` demands.
    pub fn matches_strongly(&self, tag: ETag) -> bool {
        self.matches(tag, |own| !own.weak)
    }

    /// True if the condition names `tag` by weak comparison, as `If-None-Match` demands.
    pub fn matches_weakly(&self, tag: ETag) -> bool {
        self.matches(tag, |_| true)
    }

    fn matches(&self, tag: ETag, counts: impl Fn(&Tag) -> bool) -> bool {
        match self {
            Condition::Any => true,
            Condition::Tags(tags) => {
                let tag = tag.header();
                tags.iter().any(|own| counts(own) && *own.quoted == *tag.as_bytes())
            }
        }
    }
}

/// Splits the tag at the start from what is behind it.
fn tag(text: &[u8]) -> Result<(Tag, &[u8]), InvalidCondition> {
    let (weak, opaque) = match text.strip_prefix(b"W/") {
        Some(opaque) => (true, opaque),
        None => (false, text),
    };
    let inner = opaque.strip_prefix(b"\"").ok_or(InvalidCondition)?;
    let length = inner.iter().position(|byte| *byte == b'"').ok_or(InvalidCondition)?;
    let (quoted, behind) = opaque.split_at_checked(length + 2).ok_or(InvalidCondition)?;
    let is_valid = inner.iter().take(length).all(|byte| *byte == 0x21 || *byte >= 0x23 && *byte != 0x7F);
    if is_valid { Ok((Tag { weak, quoted: quoted.into() }, behind)) } else { Err(InvalidCondition) }
}

/// Requires the end of the list or a comma.
fn element_end(text: &[u8]) -> Result<&[u8], InvalidCondition> {
    let text = text.trim_ascii_start();
    if text.is_empty() || text.starts_with(b",") { Ok(text) } else { Err(InvalidCondition) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &[&str]) -> Result<Option<Condition>, InvalidCondition> {
        let lines: Vec<HeaderValue> = lines.iter().map(|line| HeaderValue::from_str(line).unwrap()).collect();
        Condition::parse(&lines)
    }

    #[test]
    fn conditions_are_star_or_lists_of_tags() {
        assert_eq!(parse(&[]), Ok(None));
        assert_eq!(parse(&[" * "]), Ok(Some(Condition::Any)));
        for (lines, tags) in [
            (&["\"a\""][..], 1),
            (&["\"a\", W/\"b\" ,\"\""], 3),
            (&["\"a\"", ",, \"b,c\" ,"], 2),
            (&["\"ä!\""], 1),
        ] {
            let Ok(Some(Condition::Tags(found))) = parse(lines) else { panic!("{lines:?}") };
            assert_eq!(found.len(), tags, "{lines:?}");
        }
        for lines in [
            &[""][..],
            &["abc"],
            &["\"a"],
            &["\"a\"b"],
            &["\"a\" \"b\""],
            &["w/\"a\""],
            &["W/ \"a\""],
            &["*, \"a\""],
            &["\"a\"", "*"],
            &["\"a b\""],
            &["**"],
        ] {
            assert_eq!(parse(lines), Err(InvalidCondition), "{lines:?}");
        }
    }

    #[test]
    fn a_weak_tag_matches_weakly_only() {
        let tag = ETag::of(b"{}");
        let text = tag.header().to_str().unwrap().to_owned();
        assert_eq!(text, "\"9a02892adf70da946100f28a70def8c8\"");
        let condition = |line: &str| parse(&[line]).unwrap().unwrap();
        for (line, strong, weak) in [
            (text.clone(), true, true),
            (format!("\"x\", {text}"), true, true),
            (format!("W/{text}"), false, true),
            ("*".to_owned(), true, true),
            ("\"x\"".to_owned(), false, false),
            (text.to_uppercase(), false, false),
        ] {
            let condition = condition(&line);
            assert_eq!(
                (condition.matches_strongly(tag), condition.matches_weakly(tag)),
                (strong, weak),
                "{line}"
            );
        }
    }
}
