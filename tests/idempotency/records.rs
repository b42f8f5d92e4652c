//! The form of a record: it reads as it was written, or not at all.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parlance::idempotency::{ClaimOutcome, Fingerprint, Key, StoredResponse, Token, record};
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
const PRINT: Fingerprint = Fingerprint([9; 32]);

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_answer_reads_as_it_was_written(answer in answers()) {
        let record = Bytes::from(record::done(&KEY, PRINT, &answer));
        prop_assert_eq!(record::read(&KEY, &record), Some(ClaimOutcome::Done { fingerprint: PRINT, response: answer }));
        prop_assert_eq!(record::read(&Key([8; 32]), &record), None, "under another key");
    }

    #[test]
    fn a_damaged_record_is_no_record(answer in answers(), at in any::<prop::sample::Index>(), bit in 0..8u8, cut in any::<bool>()) {
        for mut record in [record::done(&KEY, PRINT, &answer), record::held(&KEY, Token([1; 16]), PRINT)] {
            let at = at.index(record.len());
            if cut {
                record.truncate(at);
            } else {
                record[at] ^= 1 << bit;
            }
            prop_assert_eq!(record::read(&KEY, &Bytes::from(record)), None);
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(record::read(&KEY, &Bytes::from(bytes)), None);
    }
}

#[test]
fn a_claim_reads_as_it_was_written_and_begins_with_its_holder() {
    let record = record::held(&KEY, Token([1; 16]), PRINT);
    assert!(record.starts_with(&record::claim_prefix(Token([1; 16]))));
    assert!(!record.starts_with(&record::claim_prefix(Token([2; 16]))));
    let read = record::read(&KEY, &Bytes::from(record));
    assert_eq!(read, Some(ClaimOutcome::Running { fingerprint: PRINT }));
}

#[test]
fn a_record_with_a_header_that_no_answer_has_is_not_read() {
    let mut headers = HeaderMap::new();
    headers.insert(header::SET_COOKIE, HeaderValue::from_static("session=stolen"));
    let answer =
        StoredResponse { status: StatusCode::OK, headers, body: Bytes::new(), code: None, applied: None };
    let record = Bytes::from(record::done(&KEY, PRINT, &answer));
    assert_eq!(record::read(&KEY, &record), None);
}
