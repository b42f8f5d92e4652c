//! Format of records in a shared store, version 2. A value that deviates in one byte is not read.
//!
//! ```text
//! claim: "parlance/2 claim"  token 16  state u8  fingerprint 48  ttl u64  digest 16
//! done:  "parlance/2 done "  fingerprint 48  digest 16  response
//! response: status u16 · whole u8 · code (u8 length) · applied u8 · headers u16 × (name (u16 length) · value (u32 length)) · body
//! ```
//!
//! The state of a claim is `h` for held, `b` for begun to send. A held record expires with its lease. A begun one expires
//! `ttl` milliseconds after its lease, so that its remaining time tells, by the clock of the store alone, if the lease is
//! over. `whole` is 0 if the body was not kept.
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

const CLAIM: &[u8; 16] = b"parlance/2 claim";
const DONE: &[u8; 16] = b"parlance/2 done ";
/// Length, in bytes, of the prefix that is unique to the record of one response.
pub(super) const DONE_PREFIX: usize = 80;

/// State of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimState {
    /// Nothing was sent.
    Held,
    /// The request may have been sent.
    Begun,
}

impl ClaimState {
    fn byte(self) -> u8 {
        match self {
            ClaimState::Held => b'h',
            ClaimState::Begun => b'b',
        }
    }
}

/// Prefix that is unique to the records of one claim, in either state.
pub fn claim_prefix(token: Token) -> Vec<u8> {
    [CLAIM, token.0.as_slice()].concat()
}

/// Prefix that is unique to the record of one claim in this state.
pub(super) fn state_prefix(token: Token, state: ClaimState) -> Vec<u8> {
    [CLAIM, token.0.as_slice(), &[state.byte()]].concat()
}

/// Record of a claim. `ttl` is in milliseconds.
pub fn claim(key: &Key, token: Token, state: ClaimState, fingerprint: Fingerprint, ttl: u64) -> Vec<u8> {
    let mut record = state_prefix(token, state);
    record.extend_from_slice(&fingerprint.0);
    record.extend_from_slice(&ttl.to_be_bytes());
    let digest = digest(key, &[&record]);
    record.extend_from_slice(&digest);
    record
}

/// Record of a response, with its body if `whole`.
pub fn done(key: &Key, fingerprint: Fingerprint, response: &StoredResponse, whole: bool) -> Vec<u8> {
    let mut record = Vec::with_capacity(DONE_PREFIX + response_size(response, whole));
    record.extend_from_slice(DONE);
    record.extend_from_slice(&fingerprint.0);
    record.resize(DONE_PREFIX, 0);
    write_response(response, whole, &mut record);
    if let Some((head, response)) = record.split_at_mut_checked(DONE_PREFIX)
        && let Some(place) = head.get_mut(64..)
    {
        place.copy_from_slice(&digest(key, &[DONE, &fingerprint.0, response]));
    }
    record
}

/// Reads the record stored under a key, which lives for `left` more milliseconds. Returns `None` if it is damaged or
/// belongs to another key.
pub fn read(key: &Key, record: &Bytes, left: i64) -> Option<ClaimOutcome> {
    let (kind, rest) = record.split_first_chunk::<16>()?;
    if kind == CLAIM {
        let (signed, sum) = record.split_last_chunk::<16>()?;
        let (token, rest) = rest.split_first_chunk::<16>()?;
        let ([state], rest) = rest.split_first_chunk::<1>()?;
        let (fingerprint, rest) = rest.split_first_chunk::<48>()?;
        let (ttl, end) = rest.split_first_chunk::<8>()?;
        if end != sum || digest(key, &[signed]) != *sum {
            return None;
        }
        let (fingerprint, token) = (Fingerprint(*fingerprint), Token(*token));
        let is_leased = i64::try_from(u64::from_be_bytes(*ttl)).is_ok_and(|ttl| left > ttl);
        return match state {
            b'h' => Some(ClaimOutcome::Running { fingerprint }),
            b'b' if is_leased => Some(ClaimOutcome::Running { fingerprint }),
            b'b' => Some(ClaimOutcome::Unknown { fingerprint, token }),
            _ => None,
        };
    }
    let (fingerprint, rest) = rest.split_first_chunk::<48>()?;
    let (sum, response) = rest.split_first_chunk::<16>()?;
    if kind != DONE || digest(key, &[DONE, fingerprint, response]) != *sum {
        return None;
    }
    let (response, whole) = read_response(&record.slice(DONE_PREFIX..))?;
    Some(ClaimOutcome::Done { fingerprint: Fingerprint(*fingerprint), response, whole })
}

/// Start of the SHA-256 over a key and parts of its record.
fn digest(key: &Key, parts: &[&[u8]]) -> [u8; 16] {
    let mut all: Vec<&[u8]> = vec![b"record", &key.0];
    all.extend_from_slice(parts);
    let mut digest = [0; 16];
    digest.iter_mut().zip(claim::digest(&all)).for_each(|(to, from)| *to = from);
    digest
}

/// Bytes that [`write_response`] takes, at most.
fn response_size(response: &StoredResponse, whole: bool) -> usize {
    let headers: usize =
        response.headers.iter().map(|(name, value)| 6 + name.as_str().len() + value.len()).sum();
    7 + response.code.map_or(0, |code| code.as_str().len())
        + headers
        + if whole { response.body.len() } else { 0 }
}

/// A response as bytes, with its body if `whole`.
pub(super) fn response(response: &StoredResponse, whole: bool) -> Bytes {
    let mut bytes = Vec::with_capacity(response_size(response, whole));
    write_response(response, whole, &mut bytes);
    bytes.into()
}

fn write_response(response: &StoredResponse, whole: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(&response.status.as_u16().to_be_bytes());
    out.push(u8::from(whole));
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
    if whole {
        out.extend_from_slice(&response.body);
    }
}

/// Reads a response, and says if it has its body.
pub(super) fn read_response(record: &Bytes) -> Option<(StoredResponse, bool)> {
    let mut rest: &[u8] = record;
    let status = u16::from_be_bytes(*take(&mut rest)?).try_into().ok()?;
    let whole = match take(&mut rest)? {
        [0] => false,
        [1] => true,
        _ => return None,
    };
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
    // An unknown code was written by a newer version. Its body is used as it is.
    let code = Code::ALL.iter().copied().find(|known| known.as_str() == code);
    Some((StoredResponse { status, headers, body, code, applied }, whole))
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
