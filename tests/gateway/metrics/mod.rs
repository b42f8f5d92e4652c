//! The gateway's metrics, as a scraper sees them.

use testkit::Request;
use testkit::blocking::Gateway;

mod admin;
mod counts;
mod document;
mod exposition;
mod faults;
mod labels;
mod reload;

use std::collections::BTreeMap;

use exposition::Exposition;

/// A conversation of the first upstream.
const ID: &str = "sales:chat_12345abcde";
/// A body that its vendor takes.
const BODY: &str = r#"{"context":"c"}"#;

/// All metrics as they are now.
#[track_caller]
fn scrape(rig: &Gateway) -> Exposition {
    let answer = rig.ask_admin(&Request::new("GET", "/metrics"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), Some(kind));
    Exposition::parse(answer.text())
}

/// Counts each value.
fn tally<T: Ord>(values: impl IntoIterator<Item = T>) -> BTreeMap<T, u64> {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts
}
