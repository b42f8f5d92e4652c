//! The form of a record: it reads as it was written, or not at all.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parlance::idempotency::record::{self, ClaimState};
use parlance::idempotency::{ClaimOutcome, Fingerprint, Key, StoredResponse, Token};
use parlance::types::code::{Applied, Code};
use proptest::prelude::*;

fn answers() -> impl Strategy<Value = StoredResponse> {
    let codes = prop_oneof![Just(None), proptest::sample::select(Code::ALL).prop_map(Some)];
    let applied =
        proptest::sample::select(vec![None, Some(Applied::No), Some(Applied::Unknown), Some(Applied::Yes)]);
    let body = proptest::collection::vec(any::<u8>(), 0..200);
    let parts = (200..600u16, codes, applied, body, proptest::option::of("[ -~]{0,40}"));
    parts.prop_map(|(status, code, applied, body, proxy_status)| {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(value) = proxy_status {
            headers.insert("proxy-status", HeaderValue::from_str(&value).unwrap());
        }
        StoredResponse {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: Bytes::from(body),
            code,
            applied,
        }
    })
}

const KEY: Key = Key([7; 32]);
const PRINT: Fingerprint = Fingerprint([9; 48]);
const TOKEN: Token = Token([1; 16]);
/// The lifetime of a record, in milliseconds, that its claim notes.
const TTL: u64 = 1000;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_answer_reads_as_it_was_written(answer in answers(), whole in any::<bool>(), left in any::<i64>()) {
        let record = Bytes::from(record::done(&KEY, PRINT, &answer, whole));
        let body = if whole { answer.body.clone() } else { Bytes::new() };
        let response = StoredResponse { body, ..answer };
        let done = ClaimOutcome::Done { fingerprint: PRINT, response, whole };
        prop_assert_eq!(record::read(&KEY, &record, left), Some(done));
        prop_assert_eq!(record::read(&Key([8; 32]), &record, left), None, "under another key");
    }

    #[test]
    fn a_damaged_record_is_no_record(answer in answers(), at in any::<prop::sample::Index>(), bit in 0..8u8, cut in any::<bool>()) {
        let claims = [ClaimState::Held, ClaimState::Begun].map(|state| record::claim(&KEY, TOKEN, state, PRINT, TTL));
        for mut record in claims.into_iter().chain([record::done(&KEY, PRINT, &answer, true)]) {
            let at = at.index(record.len());
            if cut {
                record.truncate(at);
            } else {
                record[at] ^= 1 << bit;
            }
            prop_assert_eq!(record::read(&KEY, &Bytes::from(record), 1), None);
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(record::read(&KEY, &Bytes::from(bytes), 1), None);
    }
}

#[test]
fn a_claim_reads_as_it_was_written_and_begins_with_its_holder() {
    let running = Some(ClaimOutcome::Running { fingerprint: PRINT });
    let unknown = Some(ClaimOutcome::Unknown { fingerprint: PRINT, token: TOKEN });
    // A held claim is gone with its lease. A begun one lives on, for the time that it notes.
    for (state, left, read) in [
        (ClaimState::Held, 1, &running),
        (ClaimState::Begun, 1001, &running),
        (ClaimState::Begun, 1000, &unknown),
        (ClaimState::Begun, 1, &unknown),
        (ClaimState::Begun, -1, &unknown),
    ] {
        let record = record::claim(&KEY, TOKEN, state, PRINT, TTL);
        assert!(record.starts_with(&record::claim_prefix(TOKEN)));
        assert!(!record.starts_with(&record::claim_prefix(Token([2; 16]))));
        assert_eq!(record::read(&KEY, &Bytes::from(record), left), *read, "{state:?} {left}");
    }
}

#[test]
fn a_record_of_the_version_before_is_not_read() {
    let old = [&b"parlance/1 held "[..], &[1; 16], &[9; 32], &[0; 16]].concat();
    assert_eq!(record::read(&KEY, &Bytes::from(old), 1), None);
}

#[test]
fn a_record_with_a_header_that_no_answer_has_is_not_read() {
    let mut headers = HeaderMap::new();
    headers.insert(header::SET_COOKIE, HeaderValue::from_static("session=stolen"));
    let answer =
        StoredResponse { status: StatusCode::OK, headers, body: Bytes::new(), code: None, applied: None };
    let record = Bytes::from(record::done(&KEY, PRINT, &answer, true));
    assert_eq!(record::read(&KEY, &record, 1), None);
}
