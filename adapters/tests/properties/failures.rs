//! Failures: the status says what sort, the body gives the words.

use parlance_adapters::{ALL, FailureKind};

use crate::reply;

#[test]
fn a_status_decides_what_sort_of_failure_it_is() {
    for adapter in ALL {
        for status in (100..=999).filter(|status| !(200..300).contains(status)) {
            let kind = match status {
                400 | 413 | 422 => FailureKind::Rejected,
                401 => FailureKind::Unauthenticated,
                402 => FailureKind::PaymentRequired,
                403 => FailureKind::Forbidden,
                404 | 410 => FailureKind::NotFound,
                409 => FailureKind::Conflict,
                429 => FailureKind::RateLimited,
                503 => FailureKind::Unavailable,
                500..=599 => FailureKind::Error,
                _ => FailureKind::UnexpectedStatus,
            };
            for body in ["", "{}", "[]", "<html>", "\u{0}", "{\"message\":\"no\"}"] {
                let failure = adapter.failure(&reply(status, body));
                assert_eq!(failure.kind, kind, "{} {status} {body}", adapter.spec().vendor);
            }
        }
    }
}

#[test]
fn a_failure_has_the_vendors_words_in_every_shape() {
    // Body, code, message.
    let table: &[(&str, Option<&str>, Option<&str>)] = &[
        (r#"{"error":"not_found","message":"No"}"#, Some("not_found"), Some("No")),
        (r#"{"status":"error","message":"No"}"#, None, Some("No")),
        (r#"{"error":{"message":"No","code":"C","type":"t","details":[]}}"#, Some("C"), Some("No")),
        (r#"{"error":{"message":"No","type":"t"}}"#, Some("t"), Some("No")),
        (r#"{"error":"No"}"#, None, Some("No")),
        (r#"{"detail":"No"}"#, None, Some("No")),
        (r#"{"type":"about:blank","title":"T","status":401,"detail":"No"}"#, None, Some("No")),
        (r#"{"type":"urn:x","title":"T","status":401}"#, Some("urn:x"), Some("T")),
        (
            r#"{"detail":[{"loc":["body","x"],"msg":"bad"},{"loc":["body"],"msg":"worse"}]}"#,
            None,
            Some("bad; worse"),
        ),
        (r#"{"errors":{"x":["bad","worse"]}}"#, None, Some("bad; worse")),
        (r#"{"status_code":401,"error_type":"t","error_message":"No"}"#, Some("t"), Some("No")),
        (r#"{"error":"invalid_client","error_description":"No"}"#, Some("invalid_client"), Some("No")),
        (r#""No""#, None, Some("No")),
        ("No\n", None, Some("No")),
        ("<html>No</html>", None, None),
        ("  <!doctype html>", None, None),
        ("", None, None),
        ("{}", None, None),
        (r#"{"message":"a\u0000b\nc"}"#, None, Some("a b c")),
        (r#"{"message":7}"#, None, None),
    ];
    for adapter in ALL {
        for (body, code, message) in table {
            let failure = adapter.failure(&reply(500, *body));
            assert_eq!(failure.vendor_code.as_deref(), *code, "{body}");
            assert_eq!(failure.vendor_message.as_deref(), *message, "{body}");
        }
    }
}

#[test]
fn the_members_that_a_vendor_names_are_canonical_pointers() {
    for adapter in ALL {
        for row in adapter.spec().rows() {
            let (wire, at) = (row.wire, row.field.pointer());
            let bodies = [
                (format!(r#"{{"detail":[{{"loc":["body","{wire}"],"msg":"m"}}]}}"#), String::new()),
                (
                    format!(r#"{{"detail":[{{"loc":["body","{wire}","a/b",0],"msg":"m"}}]}}"#),
                    "/a~1b/0".to_owned(),
                ),
                (format!(r#"{{"error":{{"details":[{{"field":"{wire}","message":"m"}}]}}}}"#), String::new()),
                (format!(r#"{{"errors":[{{"field":"{wire}.x","message":"m"}}]}}"#), "/x".to_owned()),
                (format!(r#"{{"errors":{{"{wire}":["m"]}}}}"#), String::new()),
                (format!(r#"{{"errors":{{"{wire}":"m"}}}}"#), String::new()),
            ];
            for (body, deeper) in bodies {
                let failure = adapter.failure(&reply(422, body.clone()));
                assert_eq!(failure.fields, [(format!("{at}{deeper}"), "m".to_owned())], "{body}");
            }
        }
        let failure = adapter.failure(&reply(422, r#"{"detail":[{"loc":["body","stranger"],"msg":"m"}]}"#));
        assert_eq!(failure.fields, [(String::new(), "m".to_owned())]);
    }
}

#[test]
fn a_hostile_failure_costs_little() {
    let bodies = [
        format!("{{\"detail\":[{}{{}}]}}", "{},".repeat(100_000)),
        format!(
            "{{\"errors\":{{{}\"z\":0}}}}",
            (0..50_000).map(|n| format!("\"m{n}\":\"x\",")).collect::<String>()
        ),
        format!("{{\"code\":\"{0}\",\"message\":\"{0}\"}}", "x".repeat(1 << 20)),
        format!("{}\"{}\"{}", "{\"error\":".repeat(127), "x".repeat(1 << 20), "}".repeat(127)),
        "x".repeat(1 << 21),
        "[".repeat(1 << 20),
    ];
    for adapter in ALL {
        for body in &bodies {
            let failure = adapter.failure(&reply(422, body.clone()));
            let texts = [failure.vendor_code, failure.vendor_message];
            let fields = failure.fields.into_iter().map(|(_, words)| words);
            let texts: Vec<String> = texts.into_iter().flatten().chain(fields).collect();
            assert!(texts.len() <= 1000 && texts.iter().all(|text| text.chars().count() <= 1001));
        }
    }
}
