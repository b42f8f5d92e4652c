//! Texts in which a secret occurs: itself, in base64 and in hexadecimal digits.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::spelling::{self, is_leader};

/// Length, in bytes, from which a secret is searched for anywhere. A shorter one must stand as a whole word, or it would
/// be found by chance.
pub(super) const WHOLE_WORD: usize = 8;

/// Number of bytes at the end of a secret in which an escape can begin that is not complete.
const OPEN_END: usize = 6;

/// The forms of a secret, each once, none empty. Forms of `WHOLE_WORD` bytes or more are searched for anywhere.
pub(super) fn of(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.to_vec(), resolved(secret)];
    if secret.len() >= WHOLE_WORD {
        let mut long = parts(secret);
        long.extend([hex(secret, b"0123456789abcdef"), hex(secret, b"0123456789ABCDEF")]);
        // A header or a text that is encoded as a whole may hold the secret escaped.
        for text in [secret.to_vec(), slashes_escaped(secret), percent_encoded(secret)] {
            long.extend(base64(&text));
        }
        long.retain(|form| form.len() >= WHOLE_WORD);
        forms.append(&mut long);
    }
    forms.retain(|form| !form.is_empty());
    forms.sort_unstable();
    forms.dedup();
    forms
}

fn resolved(text: &[u8]) -> Vec<u8> {
    spelling::resolved(text).iter().filter_map(|character| u8::try_from(character.value).ok()).collect()
}

/// Parts of a secret whose other characters may belong to an escape that begins before it or ends behind it.
fn parts(secret: &[u8]) -> Vec<Vec<u8>> {
    let is_hex = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_hexdigit);
    let mut parts = Vec::new();
    for at in 1..=OPEN_END {
        if let Some((b'u', digits)) = secret.get(..at).and_then(<[u8]>::split_first)
            && digits.len() == 4
            && is_hex(digits)
        {
            parts.push(resolved(secret.get(at..).unwrap_or_default()));
        }
        if at <= 4 && secret.get(..at).is_some_and(is_hex) {
            parts.push(resolved(secret.get(at..).unwrap_or_default()));
        }
    }
    let tail = secret.len().saturating_sub(OPEN_END);
    let open = (tail..secret.len()).find(|at| {
        let rest = secret.get(at + 1..).unwrap_or_default();
        let is_open = rest.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'#');
        is_open && secret.get(*at).is_some_and(|byte| is_leader(*byte))
    });
    parts.extend(open.and_then(|at| secret.get(..at)).map(resolved));
    parts
}

/// The characters that depend on `text` alone, wherever it begins in a text that is encoded, in both alphabets.
fn base64(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let aligned: [Vec<u8>; 3] = [0, 1, 2].map(|shift| [vec![0; shift], text.to_vec()].concat());
    aligned.into_iter().enumerate().flat_map(|(shift, text)| {
        let whole = text.len() * 4 / 3;
        let first = (shift * 4).div_ceil(3);
        [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)]
            .map(|encoded| encoded.as_bytes().get(first..whole).unwrap_or_default().to_vec())
    })
}

fn hex(text: &[u8], digits: &[u8; 16]) -> Vec<u8> {
    let digit = |value: u8| digits.get(usize::from(value)).copied();
    text.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).flatten().collect()
}

fn slashes_escaped(text: &[u8]) -> Vec<u8> {
    let escaped = |byte: &u8| if *byte == b'/' { vec![b'\\', b'/'] } else { vec![*byte] };
    text.iter().flat_map(escaped).collect()
}

fn percent_encoded(text: &[u8]) -> Vec<u8> {
    form_urlencoded::byte_serialize(text).collect::<String>().into_bytes()
}
