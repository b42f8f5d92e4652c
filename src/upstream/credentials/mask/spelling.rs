//! Spellings of a character: JSON escapes, percent-encoding and HTML references, in any nesting.

/// Maximum nesting of an escape whose own characters are escaped, such as `%5C%75%30%30%32%42`.
const MAX_NESTING: u8 = 6;

/// Maximum number of characters between `&` and `;`.
const MAX_REFERENCE: usize = 10;

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

/// The character that is spelled at a position, and the position behind its spelling. A backslash that begins no
/// `\uXXXX` or `\xXX` is a character of its own.
pub(super) fn unit(text: &[u8], at: usize) -> Option<(u32, usize)> {
    nested(text, at, MAX_NESTING)
}

#[inline]
fn nested(text: &[u8], at: usize, nesting: u8) -> Option<(u32, usize)> {
    #[cfg(test)]
    STEPS.with(|steps| steps.set(steps.get() + 1));
    let mut value = u32::from(*text.get(at)?);
    let mut end = at + 1;
    // What an escape spells may begin the next one, as in `%252B`.
    while let Some((inner, behind)) = escaped(text, value, end, nesting) {
        (value, end) = (inner, behind);
    }
    Some((value, end))
}

/// The character of the escape that `leader` begins and that goes on at a position.
#[inline]
fn escaped(text: &[u8], leader: u32, at: usize, nesting: u8) -> Option<(u32, usize)> {
    if leader > 0x7F || !is_leader(leader as u8) {
        return None;
    }
    // Of several backslashes the last one begins the escape, or the last but one if the `u` is escaped too.
    if leader == u32::from(b'\\') && matches!(text.get(at..), Some([b'\\', b'\\', ..])) {
        return None;
    }
    let nesting = nesting.checked_sub(1)?;
    let (first, behind) = character(text, at, nesting)?;
    match (leader as u8, char::from_u32(first)?) {
        (b'\\' | b'%', 'u') => hex(text, behind, 4, nesting),
        (b'\\', 'x') => hex(text, behind, 2, nesting),
        (b'%', digit) => {
            let high = digit.to_digit(16)?;
            let (low, end) = hex(text, behind, 1, nesting)?;
            Some((high * 16 + low, end))
        }
        (b'&', first) => reference(text, first, behind, nesting),
        _ => None,
    }
}

/// The next character within an escape. Backslashes before it are those of the text within which this text is a string.
fn character(text: &[u8], mut at: usize, nesting: u8) -> Option<(u32, usize)> {
    loop {
        let (value, end) = nested(text, at, nesting)?;
        if value != u32::from(b'\\') {
            return Some((value, end));
        }
        at = end;
    }
}

fn hex(text: &[u8], mut at: usize, digits: u8, nesting: u8) -> Option<(u32, usize)> {
    let mut value = 0;
    for _ in 0..digits {
        let (digit, behind) = character(text, at, nesting)?;
        value = value * 16 + char::from_u32(digit)?.to_digit(16)?;
        at = behind;
    }
    Some((value, at))
}

fn reference(text: &[u8], first: char, mut at: usize, nesting: u8) -> Option<(u32, usize)> {
    let mut name = [0; MAX_REFERENCE];
    let mut length = 0;
    let mut next = first;
    while next != ';' {
        if !(next.is_ascii_alphanumeric() || next == '#') {
            return None;
        }
        *name.get_mut(length)? = next as u8;
        length += 1;
        let (value, behind) = character(text, at, nesting)?;
        next = char::from_u32(value)?;
        at = behind;
    }
    let name = str::from_utf8(name.get(..length)?).ok()?;
    let value = match name.strip_prefix('#') {
        Some(number) => match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => number.parse().ok()?,
        },
        None => u32::from(NAMES.iter().find(|(known, _)| *known == name.as_bytes())?.1),
    };
    Some((value, at))
}

#[cfg(test)]
std::thread_local! {
    /// Characters that were read in this thread, for the tests of the cost.
    pub(super) static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_character_in_all_its_spellings() {
        for text in [
            "+",
            r"\u002b",
            r"\u002B",
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
        ] {
            assert_eq!(unit(text.as_bytes(), 0), Some((u32::from(b'+'), text.len())), "{text}");
        }
    }

    #[test]
    fn what_is_no_escape_stands_for_itself() {
        for text in ["%", "%2", "%2x", "%%2B", "&", "&;", "&nothing;", "&#;", "&#99999999999;", "& lt;"] {
            assert_eq!(unit(text.as_bytes(), 0), Some((u32::from(text.as_bytes()[0]), 1)), "{text}");
        }
        // A backslash before any other character, and all but the last one of several.
        for text in [r"\", r"\/", r"\n", r"\u002", r"\\u002b"] {
            assert_eq!(unit(text.as_bytes(), 0), Some((u32::from(b'\\'), 1)), "{text}");
        }
        assert_eq!(unit(b"", 0), None);
    }
}
