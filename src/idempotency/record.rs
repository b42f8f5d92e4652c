//! The form of a record in a shared store, version 1. What does not have it, to the last byte, is not read.
//!
//! ```text
//! held:  "parlance/1 held "  token 16  fingerprint 32  digest 16
//! done:  "parlance/1 done "  fingerprint 32  digest 16  answer
//! answer: status u16 · code (u8 length) · applied u8 · headers u16 × (name (u16 length) · value (u32 length)) · body
//! ```
//!
//! Numbers are big-endian. The digest is the start of a SHA-256 over the key's hash and all but itself: a record that
//! was damaged, or that stands under another key, is known by it. It is no protection from somebody who may write to
//! the store and means harm.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::answer::{KEPT, StoredResponse};
use super::claim;
use super::claim::{ClaimOutcome, Fingerprint, Key, Token};
use crate::types::code::{Applied, Code};

const HELD: &[u8; 16] = b"parlance/1 held ";
const DONE: &[u8; 16] = b"parlance/1 done ";
/// Bytes at the start of an answer's record that tell it from every other record.
pub(super) const OF_ANSWER: usize = 64;

/// How every record of this claim begins, and no other.
pub fn of_holder(token: Token) -> Vec<u8> {
    [HELD, token.0.as_slice()].concat()
}

/// The record of a key in use.
pub fn held(key: &Key, token: Token, fingerprint: Fingerprint) -> Vec<u8> {
    let mut record = of_holder(token);
    record.extend_from_slice(&fingerprint.0);
    record.extend_from_slice(&digest(key, &[HELD, &token.0, &fingerprint.0]));
    record
}

/// The record of an answer.
pub fn done(key: &Key, fingerprint: Fingerprint, answer: &StoredResponse) -> Vec<u8> {
    let mut record = Vec::with_capacity(OF_ANSWER + 256 + answer.body.len());
    record.extend_from_slice(DONE);
    record.extend_from_slice(&fingerprint.0);
    record.resize(OF_ANSWER, 0);
    write(answer, &mut record);
    if let Some((head, answer)) = record.split_at_mut_checked(OF_ANSWER)
        && let Some(place) = head.get_mut(48..)
    {
        place.copy_from_slice(&digest(key, &[DONE, &fingerprint.0, answer]));
    }
    record
}

/// Reads the record that stands under a key; `None` if it is none of it.
pub fn read(key: &Key, record: &Bytes) -> Option<ClaimOutcome> {
    let (kind, rest) = record.split_first_chunk::<16>()?;
    if kind == HELD {
        let (token, rest) = rest.split_first_chunk::<16>()?;
        let (fingerprint, sum) = rest.split_first_chunk::<32>()?;
        return (digest(key, &[HELD, token, fingerprint]) == *sum)
            .then_some(ClaimOutcome::Running { fingerprint: Fingerprint(*fingerprint) });
    }
    let (fingerprint, rest) = rest.split_first_chunk::<32>()?;
    let (sum, answer) = rest.split_first_chunk::<16>()?;
    if kind != DONE || digest(key, &[DONE, fingerprint, answer]) != *sum {
        return None;
    }
    let answer = answered(&record.slice(OF_ANSWER..))?;
    Some(ClaimOutcome::Done { fingerprint: Fingerprint(*fingerprint), answer })
}

fn digest(key: &Key, parts: &[&[u8]]) -> [u8; 16] {
    let mut all: Vec<&[u8]> = vec![b"record", &key.0];
    all.extend_from_slice(parts);
    let mut digest = [0; 16];
    digest.iter_mut().zip(claim::digest(&all)).for_each(|(to, from)| *to = from);
    digest
}

fn write(answer: &StoredResponse, out: &mut Vec<u8>) {
    out.extend_from_slice(&answer.status.as_u16().to_be_bytes());
    let code = answer.code.map_or("", Code::as_str);
    out.push(u8::try_from(code.len()).unwrap_or(0));
    out.extend_from_slice(code.as_bytes());
    out.push(match answer.applied {
        None => 0,
        Some(Applied::No) => 1,
        Some(Applied::Unknown) => 2,
        Some(Applied::Yes) => 3,
    });
    out.extend_from_slice(&u16::try_from(answer.headers.len()).unwrap_or(0).to_be_bytes());
    for (name, value) in &answer.headers {
        out.extend_from_slice(&u16::try_from(name.as_str().len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(&answer.body);
}

fn answered(record: &Bytes) -> Option<StoredResponse> {
    let mut rest: &[u8] = record;
    let status = u16::from_be_bytes(*take(&mut rest)?).try_into().ok()?;
    let [length] = *take(&mut rest)?;
    let code = std::str::from_utf8(part(&mut rest, length.into())?).ok()?;
    let applied = match take(&mut rest)? {
        [0] => None,
        [1] => Some(Applied::No),
        [2] => Some(Applied::Unknown),
        [3] => Some(Applied::Yes),
        _ => return None,
    };
    let mut headers = HeaderMap::new();
    for _ in 0..u16::from_be_bytes(*take(&mut rest)?) {
        let length = u16::from_be_bytes(*take(&mut rest)?);
        let name = HeaderName::from_bytes(part(&mut rest, length.into())?).ok()?;
        let length = u32::from_be_bytes(*take(&mut rest)?);
        let value = HeaderValue::from_bytes(part(&mut rest, usize::try_from(length).ok()?)?).ok()?;
        if !KEPT.contains(&name) || headers.insert(name, value).is_some() {
            return None;
        }
    }
    let body = record.slice_ref(rest);
    // A code that is not known here was written by a newer version; it is only logged.
    let code = Code::ALL.iter().copied().find(|known| known.as_str() == code);
    Some(StoredResponse { status, headers, body, code, applied })
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(taken)
}

fn part<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}
