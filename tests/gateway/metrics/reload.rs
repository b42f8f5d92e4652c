//! Metrics across changes of the configuration or of a credential.

use testkit::Request;
use testkit::blocking::{Gateway, eventually};

use super::{BODY, ID, scrape};
use crate::setup::{usual, with};

const SERVED: &str = "http_server_request_duration_seconds_count";
const SENT: &str = "http_client_request_duration_seconds_count";

/// Metrics of one upstream that only grow.
const GROWING: [&str; 6] = [
    SERVED,
    SENT,
    "parlance_refusals_total",
    "parlance_upstream_connections_total",
    "parlance_upstream_retries_total",
    "parlance_credential_renewals_total",
];

fn of(rig: &Gateway, upstream: &str) -> Vec<f64> {
    let metrics = scrape(rig);
    GROWING.iter().map(|name| metrics.value(name, &[("upstream", upstream)])).collect()
}

#[test]
fn what_was_counted_stays() {
    let rig = usual();
    let sms = Request::patch("sms:conv_def456", r#"{"context":{"a":1}}"#);
    for _ in 0..3 {
        assert_eq!(rig.patch(ID, BODY).status, 200);
        assert_eq!(rig.send(&sms).status, 200);
        assert_eq!(rig.patch(ID, r#"{"bogus":1}"#).status, 422);
        assert_eq!(rig.send(&Request::new("GET", "/nowhere")).status, 404);
    }
    let before = scrape(&rig);
    assert_eq!(before.value("parlance_config_generation", &[]), 1.0);
    assert_eq!(before.value("parlance_config_last_reload_success", &[]), 1.0);
    let (sales, other) = (of(&rig, "sales"), of(&rig, "sms"));

    rig.change("[upstreams.sms]\nmax_in_flight = 7\n[upstreams.more]\nvendor = \"kakiyo\"\ncredential = { value = \"k\" }\n");
    eventually("it is at work", || scrape(&rig).value("parlance_config_generation", &[]) == 2.0);
    let after = scrape(&rig);
    assert_eq!(of(&rig, "sales"), sales, "nothing of it changed");
    // Of one that changed the histograms and refusals go on, the rest begins anew.
    assert_eq!(of(&rig, "sms")[..3], other[..3]);
    let nowhere = [("error_type", "not-found")];
    assert_eq!(after.value(SERVED, &nowhere), before.value(SERVED, &nowhere));
    assert_eq!(after.value("parlance_config_reloads_total", &[]), 1.0);
    let since = "parlance_config_last_reload_success_timestamp_seconds";
    assert!(after.value(since, &[]) > before.value(since, &[]));
    assert_eq!(after.of(SENT, &[("upstream", "more")]).count(), 1, "a new one is there from the start");
    assert_eq!(rig.send(&sms).status, 200);
    assert_eq!(of(&rig, "sms")[0], other[0] + 1.0);

    rig.change("[upstreams.sms]\nmax_in_flight = 0\n");
    eventually("it is rejected", || scrape(&rig).value("parlance_config_reload_rejected_total", &[]) == 1.0);
    let rejected = scrape(&rig);
    assert_eq!(rejected.value("parlance_config_last_reload_success", &[]), 0.0);
    assert_eq!(rejected.value("parlance_config_generation", &[]), 2.0);

    rig.change("");
    eventually("another is at work", || scrape(&rig).value("parlance_config_generation", &[]) == 3.0);
    let last = scrape(&rig);
    assert_eq!(last.value("parlance_config_last_reload_success", &[]), 1.0);
    assert_eq!(last.of(SENT, &[("upstream", "more")]).count(), 0, "what is taken away ends");
    assert_eq!(of(&rig, "sales"), sales);
    rig.finish();
}

#[test]
fn credentials_and_their_age() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    std::fs::write(&file, "the-first-key").unwrap();
    let rig = with(&format!(
        "[upstreams.filed]\nvendor = \"kakiyo\"\ncredential = {{ file = \"{}\" }}\n\
         [upstreams.token]\nvendor = \"cuadra\"\nbase_url = \"${{cuadra}}\"\n\
         credential = {{ oauth2 = {{ token_url = \"${{token_url}}\", client_id = \"${{client_id}}\", \
         client_secret = {{ value = \"${{client_secret}}\" }} }} }}\n",
        file.display()
    ));
    let (age, expiry) = ("parlance_credential_age_seconds", "parlance_credential_expiry_timestamp_seconds");
    let start = scrape(&rig);
    let sources = |upstream| {
        let found: Vec<String> =
            start.of(age, &[("upstream", upstream)]).map(|it| it.label("source").to_owned()).collect();
        found
    };
    assert_eq!(sources("sales"), ["fixed"]);
    assert_eq!(sources("filed"), ["file"]);
    assert!(sources("token").is_empty(), "there is none yet");
    assert_eq!(start.of(expiry, &[]).count(), 0);

    let conversation = format!("token:{}", rig.conversation("cuadra"));
    let answer = rig.patch(&conversation, r#"{"context":{"a":1}}"#);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let fetched = scrape(&rig);
    let token = &[("upstream", "token")];
    assert_eq!(fetched.value("parlance_credential_renewals_total", token), 1.0);
    assert_eq!(fetched.value(age, &[("upstream", "token"), ("source", "oauth2")]).floor(), 0.0);
    assert!(fetched.value(expiry, token) > fetched.value("process_start_time_seconds", &[]));

    let filed = &[("upstream", "filed")];
    std::fs::write(&file, "the-second-key").unwrap();
    eventually("the other key is in use", || {
        scrape(&rig).value("parlance_credential_renewals_total", filed) == 1.0
    });
    let changed = scrape(&rig);
    assert!(
        changed.value(age, filed) < changed.value(age, &[("upstream", "sales")]),
        "it is the younger one"
    );
    assert_eq!(changed.value("parlance_credential_faulty", &[]), 0.0);
    std::fs::write(&file, "").unwrap();
    eventually("the file is known to be unusable", || {
        let metrics = scrape(&rig);
        metrics.value("parlance_credential_failures_total", filed) == 1.0
            && metrics.value("parlance_credential_faulty", filed) == 1.0
    });
    rig.finish();
}
