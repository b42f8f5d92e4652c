//! Format of records in a shared store, version 1. A value that deviates in one byte is not read.
//!
//! ```text
//! held:  "parlance/1 held "  token 16  fingerprint 32  digest 16
//! done:  "parlance/1 done "  fingerprint 32  digest 16  response
//! response: status u16 · code (u8 length) · applied u8 · headers u16 × (name (u16 length) · value (u32 length)) · body
//! ```
//!
//! Sizes are in bytes, numbers are big-endian. The digest is the start of a SHA-256 over the key and the other fields. It
//! reveals a record that was damaged or stored under another key, but gives no protection from an attacker with write
//! access to the store.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::answer::{KEPT, StoredResponse};
use super::claim;
use super::claim::{ClaimOutcome, Fingerprint, Key, Token};
use crate::types::code::{Applied, Code};

const HELD: &[u8; 16] = b"parlance/1 held ";
const DONE: &[u8; 16] = b"parlance/1 done ";
/// Length, in bytes, of the prefix that is unique to the record of one response.
pub(super) const DONE_PREFIX: usize = 64;

/// Prefix that is unique to the records of one claim.
pub fn claim_prefix(token: Token) -> Vec<u8> {
    [HELD, token.0.as_slice()].concat()
}

/// Record of a key in use.
pub fn held(key: &Key, token: Token, fingerprint: Fingerprint) -> Vec<u8> {
    let mut record = claim_prefix(token);
    record.extend_from_slice(&fingerprint.0);
    record.extend_from_slice(&digest(key, &[HELD, &token.0, &fingerprint.0]));
    record
}

/// Record of a response.
pub fn done(key: &Key, fingerprint: Fingerprint, response: &StoredResponse) -> Vec<u8> {
    let mut record = Vec::with_capacity(DONE_PREFIX + 256 + response.body.len());
    record.extend_from_slice(DONE);
    record.extend_from_slice(&fingerprint.0);
    record.resize(DONE_PREFIX, 0);
    write_response(response, &mut record);
    if let Some((head, response)) = record.split_at_mut_checked(DONE_PREFIX)
        && let Some(place) = head.get_mut(48..)
    {
        place.copy_from_slice(&digest(key, &[DONE, &fingerprint.0, response]));
    }
    record
}

/// Reads the record stored under a key. Returns `None` if it is damaged or belongs to another key.
pub fn read(key: &Key, record: &Bytes) -> Option<ClaimOutcome> {
    let (kind, rest) = record.split_first_chunk::<16>()?;
    if kind == HELD {
        let (token, rest) = rest.split_first_chunk::<16>()?;
        let (fingerprint, sum) = rest.split_first_chunk::<32>()?;
        return (digest(key, &[HELD, token, fingerprint]) == *sum)
            .then_some(ClaimOutcome::Running { fingerprint: Fingerprint(*fingerprint) });
    }
    let (fingerprint, rest) = rest.split_first_chunk::<32>()?;
    let (sum, response) = rest.split_first_chunk::<16>()?;
    if kind != DONE || digest(key, &[DONE, fingerprint, response]) != *sum {
        return None;
    }
    let response = read_response(&record.slice(DONE_PREFIX..))?;
    Some(ClaimOutcome::Done { fingerprint: Fingerprint(*fingerprint), response })
}

/// Start of the SHA-256 over a key and parts of its record.
fn digest(key: &Key, parts: &[&[u8]]) -> [u8; 16] {
    let mut all: Vec<&[u8]> = vec![b"record", &key.0];
    all.extend_from_slice(parts);
    let mut digest = [0; 16];
    digest.iter_mut().zip(claim::digest(&all)).for_each(|(to, from)| *to = from);
    digest
}

fn write_response(response: &StoredResponse, out: &mut Vec<u8>) {
    out.extend_from_slice(&response.status.as_u16().to_be_bytes());
    let code = response.code.map_or("", Code::as_str);
    out.push(u8::try_from(code.len()).unwrap_or(0));
    out.extend_from_slice(code.as_bytes());
    out.push(match response.applied {
        None => 0,
        Some(Applied::No) => 1,
        Some(Applied::Unknown) => 2,
        Some(Applied::Yes) => 3,
    });
    out.extend_from_slice(&u16::try_from(response.headers.len()).unwrap_or(0).to_be_bytes());
    for (name, value) in &response.headers {
        out.extend_from_slice(&u16::try_from(name.as_str().len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(&response.body);
}

fn read_response(record: &Bytes) -> Option<StoredResponse> {
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
    // An unknown code was written by a newer version. It is used for logs only.
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
