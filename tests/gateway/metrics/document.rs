//! `docs/metrics.md` names every metric that there is, and none that there is not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use sha2::{Digest, Sha256};
use testkit::Request;

use super::{BODY, ID, scrape};
use crate::setup::with;

/// Type, unit and labels.
type Shape = (String, String, BTreeSet<String>);

/// The rows of every table whose first column is a metric's name in backticks.
fn documented() -> BTreeMap<String, Shape> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, kind, unit, labels, meaning, action] = cells[..] else { panic!("six columns: {line}") };
        assert!(meaning.len() > 10 && action.len() > 3, "{line}");
        let bare = |text: &str| text.trim_matches('`').to_owned();
        let labels = labels.split(", ").map(bare).filter(|label| label != "–").collect();
        let unit = if unit == "–" { String::new() } else { unit.to_owned() };
        let before = rows.insert(bare(name), (kind.to_owned(), unit, labels));
        assert!(before.is_none(), "{name} is there twice");
    }
    rows
}

#[test]
fn every_metric_is_described_as_it_is() {
    let hash: String = Sha256::digest("the-callers-key").iter().map(|byte| format!("{byte:02x}")).collect();
    let rig = with(&format!(
        "[[callers]]\nname = \"crm\"\nkey_sha256 = \"{hash}\"\nrate_limit = \"9/1s\"\n\
         [upstreams.token]\nvendor = \"cuadra\"\nbase_url = \"${{cuadra}}\"\n\
         credential = {{ oauth2 = {{ token_url = \"${{token_url}}\", client_id = \"${{client_id}}\", \
         client_secret = {{ value = \"${{client_secret}}\" }} }} }}\n"
    ));
    // Something of each sort, so that every label is there.
    let ask = |id: &str, body: &str| {
        rig.send(&Request::patch(id, body).header("Authorization", "Bearer the-callers-key")).status
    };
    assert_eq!(ask(ID, BODY), 200);
    assert_eq!(ask(&format!("token:{}", rig.conversation("cuadra")), r#"{"context":{"a":1}}"#), 200);
    rig.fault(json!({ "vendor": "kakiyo", "mode": "reset_after_request" }));
    assert_eq!(ask(ID, BODY), 502);

    let metrics = scrape(&rig);
    let mut found = BTreeMap::new();
    for (name, family) in &metrics.families {
        let suffix = match &*family.kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let parts = ["_sum", "_count", "_bucket", "_total", "_info", ""];
        let samples = metrics.samples.iter().filter(|sample| {
            sample.name.strip_prefix(name.as_str()).is_some_and(|suffix| parts.contains(&suffix))
        });
        let labels = samples.flat_map(|sample| sample.labels.keys().cloned()).filter(|label| label != "le");
        found.insert(format!("{name}{suffix}"), (family.kind.clone(), family.unit.clone(), labels.collect()));
    }
    let documented = documented();
    for (name, shape) in &found {
        assert_eq!(documented.get(name), Some(shape), "{name} in docs/metrics.md");
    }
    for name in documented.keys() {
        assert!(found.contains_key(name), "docs/metrics.md describes {name}, which there is not");
    }
    rig.finish();
}
