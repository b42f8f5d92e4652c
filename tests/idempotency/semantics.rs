//! Keys as a caller sees them, the same with either store.

use std::time::Duration;

use testkit::{Redis, Reply};

use super::rig::{BODY, CALLERS, PATH, Rig, SAFE_ID, SAFE_VENDOR, until};

/// Runs a test with records in memory, and again with records in a Redis.
macro_rules! with_both_stores {
    ($name:ident, |$rig:ident| $test:block) => {
        mod $name {
            use super::*;

            async fn test($rig: &Rig) $test

            #[tokio::test(flavor = "multi_thread")]
            async fn in_memory() {
                test(&Rig::start(1, "store = \"memory\"", CALLERS).await).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn in_redis() {
                let redis = Redis::start(&[]);
                let settings = format!("{}\nstore_timeout = \"5s\"", redis.setting());
                test(&Rig::start(1, &settings, CALLERS).await).await;
            }
        }
    };
}

async fn crm(rig: &Rig, key: &str, body: &str) -> Reply {
    send(rig, PATH, key, &[], body).await
}

async fn send(rig: &Rig, path: &str, key: &str, more: &[(&str, &str)], body: &str) -> Reply {
    let mut headers = vec![("authorization", "Bearer crm-key"), ("idempotency-key", key)];
    headers.extend_from_slice(more);
    rig.send(0, path, &headers, body).await
}

/// The same answer, but for what belongs to one exchange.
fn assert_replays(first: &Reply, again: &Reply) {
    assert!(!first.is_replay() && again.is_replay(), "{first:?}\n{again:?}");
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    assert_ne!(first.header("x-request-id"), again.header("x-request-id"));
    for name in ["content-type", "cache-control", "retry-after", "preference-applied", "proxy-status"] {
        assert_eq!(first.header(name), again.header(name), "{name}");
    }
}

with_both_stores!(an_update_sent_again_is_answered_from_its_record, |rig| {
    let first = crm(rig, "k", BODY).await;
    assert_eq!(first.status, 200);
    assert_replays(&first, &crm(rig, "k", BODY).await);
    assert_replays(&first, &crm(rig, "\"k\"", BODY).await);
    assert_eq!(rig.calls().await, (1, 1));
});

with_both_stores!(what_was_preferred_is_replayed_too, |rig| {
    let prefer = [("prefer", "return=minimal, handling=lenient")];
    let first = send(rig, PATH, "k", &prefer, BODY).await;
    assert_eq!((first.status, first.body.len()), (204, 0));
    assert_eq!(first.header("preference-applied"), Some("handling=lenient, return=minimal"));
    assert_replays(&first, &send(rig, PATH, "k", &prefer, BODY).await);
    assert_eq!(rig.calls().await.0, 1);
});

with_both_stores!(a_key_belongs_to_one_request, |rig| {
    assert_eq!(crm(rig, "k", BODY).await.status, 200);
    let merge = [("content-type", "application/merge-patch+json")];
    let spaced = BODY.replace(':', ": ");
    let (other, minimal) = (r#"{"context":{"order_id":"A-2"}}"#, [("prefer", "return=minimal")]);
    for (path, more, body, differs) in [
        (PATH, &[][..], other, "in: body."),
        (PATH, &[], &spaced, "in: body."),
        ("/conversations/sms:conv_ghi789", &[], BODY, "in: path."),
        ("/conversations/other:conv_def456", &[], BODY, "in: path, upstream."),
        (PATH, &merge, BODY, "in: media type."),
        (PATH, &[("prefer", "handling=lenient")], BODY, "in: preference."),
        (PATH, &minimal, other, "in: body, preference."),
    ] {
        let reply = send(rig, path, "k", more, body).await;
        assert_eq!((reply.status, reply.code().as_str()), (422, "idempotency-key-reused"));
        assert!(reply.text().contains(differs), "{differs} {reply:?}");
    }
    // What says the same in other words is the same.
    let words = [("content-type", "application/json; charset=utf-8")];
    assert!(send(rig, PATH, "k", &words, BODY).await.is_replay());
    assert!(send(rig, &format!("{PATH}?dry_run=false"), "k", &[], BODY).await.is_replay());
    assert_eq!(rig.calls().await.0, 1);
});

with_both_stores!(a_header_that_chooses_the_upstream_makes_another_request, |rig| {
    let path = "/conversations/conv_def456";
    assert_eq!(send(rig, path, "k", &[], BODY).await.status, 200);
    let reply = send(rig, path, "k", &[("x-tenant", "other")], BODY).await;
    assert_eq!(reply.code(), "idempotency-key-reused");
    assert_eq!(rig.calls().await.0, 1);
});

with_both_stores!(callers_do_not_share_keys, |rig| {
    assert_eq!(crm(rig, "k", BODY).await.status, 200);
    let erp = [("authorization", "Bearer erp-key"), ("idempotency-key", "k")];
    let reply = rig.send(0, PATH, &erp, r#"{"context":{"of":"erp"}}"#).await;
    assert!(reply.status == 200 && !reply.is_replay(), "{reply:?}");
    assert_eq!(rig.calls().await.0, 2);
});

with_both_stores!(while_the_first_runs_others_are_told_to_come_back, |rig| {
    rig.fault(r#"{"mode":"delay","delay_ms":700}"#).await;
    let (first, ()) = tokio::join!(crm(rig, "k", BODY), async {
        rig.called(1).await;
        let reply = crm(rig, "k", BODY).await;
        assert_eq!((reply.status, reply.code().as_str()), (409, "idempotency-in-progress"));
        assert_eq!(reply.header("retry-after"), Some("1"));
        let other = crm(rig, "k", r#"{"context":null}"#).await;
        assert_eq!(other.code(), "idempotency-key-reused");
        assert_eq!(crm(rig, "another", BODY).await.status, 200);
    });
    assert_replays(&first, &crm(rig, "k", BODY).await);
    assert_eq!(rig.calls().await.0, 2);
});

with_both_stores!(what_was_not_done_and_may_succeed_later_frees_the_key, |rig| {
    for (key, status) in [("a", 429), ("b", 503)] {
        let rule = format!(r#"{{"mode":"status","status":{status},"headers":[["Retry-After","1"]]}}"#);
        rig.fault(&rule).await;
        let refused = crm(rig, key, BODY).await;
        // A 429 is a refusal; of a 503 only the vendor knows what came before it.
        if status == 429 {
            assert_eq!(
                (refused.code().as_str(), refused.header("retry-after")),
                ("vendor-rate-limited", Some("1"))
            );
            let other = r#"{"context":{"order_id":"corrected"}}"#;
            let reply = until(|| crm(rig, key, other), |reply| reply.status != 429).await;
            assert!(reply.status == 200 && !reply.is_replay(), "{reply:?}");
        } else {
            assert_eq!(refused.code(), "vendor-unavailable");
            assert_replays(&refused, &crm(rig, key, BODY).await);
        }
    }
    assert_eq!(rig.calls().await.0, 3);
});

with_both_stores!(every_other_problem_of_the_vendor_is_the_answer, |rig| {
    let rules = [
        (r#"{"mode":"status","status":422,"body":"{}"}"#, "vendor-rejected", "no"),
        (r#"{"mode":"status","status":404,"body":"{}"}"#, "conversation-not-found", "no"),
        (r#"{"mode":"status","status":401,"body":"{}"}"#, "vendor-unauthenticated", "no"),
        (r#"{"mode":"status","status":500}"#, "vendor-error", "unknown"),
        (r#"{"mode":"reset_after_request","apply":true}"#, "vendor-unreachable", "unknown"),
        (r#"{"mode":"truncate","bytes":5}"#, "vendor-invalid-response", "yes"),
        (r#"{"mode":"garbage","apply":true}"#, "vendor-invalid-response", "unknown"),
    ];
    for (at, (rule, code, applied)) in rules.into_iter().enumerate() {
        rig.fault(rule).await;
        let key = format!("k{at}");
        let first = crm(rig, &key, BODY).await;
        let body = first.json();
        assert!(
            body["retryable"] == false && body["detail"].as_str().unwrap().contains("a new key"),
            "{body}"
        );
        assert_eq!((first.code().as_str(), body["update_applied"].as_str().unwrap()), (code, applied));
        assert_eq!(body["request_id"].as_str(), first.header("x-request-id"));
        let calls = rig.calls().await.0;
        assert_replays(&first, &crm(rig, &key, BODY).await);
        assert_eq!(rig.calls().await.0, calls, "{code} was tried again");
    }
});

with_both_stores!(an_outcome_that_is_unknown_is_no_answer_where_a_repetition_does_no_harm, |rig| {
    rig.put_conversation("conv_again").await;
    let planning = format!("/conversations/planning:{SAFE_ID}");
    for (path, body) in [("/conversations/again:conv_again", BODY), (&planning, r#"{"title":"x"}"#)] {
        let rules = [
            r#"{"mode":"status","status":500}"#,
            r#"{"mode":"reset_after_request","apply":true}"#,
            r#"{"mode":"garbage","apply":true}"#,
        ];
        for (at, rule) in rules.into_iter().enumerate() {
            rig.fault(rule).await;
            let key = format!("k{at}-{}", path.len());
            let first = send(rig, path, &key, &[], body).await;
            let problem = first.json();
            assert_eq!(problem["update_applied"], "unknown", "{first:?}");
            // As the code says: the same key runs again.
            assert_eq!(
                problem["retryable"],
                problem["type"] != "urn:parlance:problem:vendor-invalid-response"
            );
            assert!(!problem["detail"].as_str().unwrap().contains("a new key"), "{problem}");
            let again = send(rig, path, &key, &[], body).await;
            assert!(again.status == 200 && !again.is_replay(), "{again:?}");
            assert_replays(&again, &send(rig, path, &key, &[], body).await);
        }
    }
    // The vendor with keys of its own did each update once.
    let effects = rig.sent(SAFE_VENDOR).await.into_iter().filter(|sent| sent.effect).count();
    assert_eq!(effects, 3);
});

with_both_stores!(what_is_refused_before_the_vendor_is_called_leaves_the_key_alone, |rig| {
    let text = [("content-type", "text/plain")];
    for (more, body, code) in [
        (&[][..], r#"{"titel":"x"}"#, "invalid-patch"),
        (&[][..], "{}", "invalid-patch"),
        (&[][..], "{", "malformed-json"),
        (&text[..], BODY, "unsupported-media-type"),
    ] {
        assert_eq!(send(rig, PATH, "k", more, body).await.code(), code);
    }
    assert_eq!(send(rig, "/conversations/sms:%zz", "k", &[], BODY).await.code(), "invalid-id");
    let stranger = [("authorization", "Bearer nobody"), ("idempotency-key", "k")];
    assert_eq!(rig.send(0, PATH, &stranger, BODY).await.code(), "caller-unauthenticated");
    assert_eq!(rig.calls().await.0, 0);
    let reply = crm(rig, "k", BODY).await;
    assert!(reply.status == 200 && !reply.is_replay());
});

with_both_stores!(a_dry_run_is_not_recorded, |rig| {
    let dry = format!("{PATH}?dry_run=true");
    for _ in 0..2 {
        let reply = send(rig, &dry, "k", &[], r#"{"context":null}"#).await;
        assert!(reply.status == 200 && !reply.is_replay());
    }
    let reply = crm(rig, "k", BODY).await;
    assert!(reply.status == 200 && !reply.is_replay());
    assert!(!send(rig, &dry, "k", &[], BODY).await.is_replay());
    assert_eq!(rig.calls().await.0, 1);
});

with_both_stores!(keys_have_a_length_and_an_alphabet, |rig| {
    let (longest, quoted) = ("k".repeat(255), format!("\"{}\"", "q".repeat(255)));
    for key in ["k", "!", "~\"'\\", &longest, &quoted] {
        let first = crm(rig, key, BODY).await;
        assert_eq!(first.status, 200, "{key}");
        assert_replays(&first, &crm(rig, key, BODY).await);
    }
    let calls = rig.calls().await.0;
    for key in ["", "\"\"", "two words", "\u{fc}", "a\tb", &"k".repeat(256)] {
        let reply = crm(rig, key, BODY).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "invalid-header"), "{key}");
    }
    let twice = [("idempotency-key", "other")];
    assert_eq!(send(rig, PATH, "k", &twice, BODY).await.code(), "invalid-header");
    assert_eq!(rig.calls().await.0, calls);
});

with_both_stores!(a_caller_that_hangs_up_finds_its_answer_later, |rig| {
    rig.fault(r#"{"mode":"delay","delay_ms":400}"#).await;
    let hasty = tokio::time::timeout(Duration::from_millis(150), crm(rig, "k", BODY)).await;
    assert!(hasty.is_err(), "the vendor was too quick");
    rig.called(1).await;
    let reply = until(|| crm(rig, "k", BODY), |reply| reply.status != 409).await;
    assert!(reply.status == 200 && reply.is_replay(), "{reply:?}");
    assert_eq!(rig.calls().await, (1, 1));
});
