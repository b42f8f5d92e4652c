//! Errors inside a 2xx: never a success, for updates and for the reads of merges, over sockets.

use parlance_adapters::ALL;
use serde_json::{Value, json};
use testkit::blocking::Gateway;
use testkit::{Request, is_long, record, stories};

use crate::setup::with;

/// Made-up errors, always the same ones: a generator of 64 bits (Knuth's MMIX).
struct Errors(u64);

impl Errors {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn one_of(&mut self, values: &[Value]) -> Value {
        values[self.below(values.len())].clone()
    }

    fn some(&mut self) -> Value {
        let number = self.below(100_000);
        self.one_of(&[
            json!("Conversation is locked"),
            json!({ "message": "Conversation is locked", "code": "LOCKED", "n": number }),
            json!([{ "field": "title", "message": "bad" }]),
            json!(true),
            json!(["x", number]),
            json!({ "type": "conflict", "details": [] }),
        ])
    }

    fn number(&mut self) -> Value {
        let status = 400 + self.below(200);
        self.one_of(&[
            json!(status),
            json!(status.to_string()),
            json!(f64::from(u32::try_from(status).unwrap())),
        ])
    }

    /// An error without an id, or with one of its own.
    fn next(&mut self) -> Value {
        let mut error = serde_json::Map::new();
        for _ in 0..=self.below(2) {
            let (name, value) = match self.below(9) {
                0 | 1 => ("error", self.some()),
                2 => ("errors", self.some()),
                3 => ("success", json!(false)),
                4 => ("ok", json!(false)),
                5 => ("status", self.number()),
                6 => ("statusCode", self.number()),
                7 => ("status_code", self.number()),
                _ => (
                    "status",
                    self.one_of(&[json!("error"), json!("FAILED"), json!("fail"), json!("Failure")]),
                ),
            };
            error.insert(name.to_owned(), value);
        }
        let further = [
            ("message", json!("No")),
            ("detail", json!("No")),
            ("id", json!("err-1")),
            ("title", json!("Conflict")),
            ("type", json!("about:blank")),
            ("requestId", json!(self.below(1_000_000))),
        ];
        for (name, value) in further {
            if self.below(3) == 0 {
                error.insert(name.to_owned(), value);
            }
        }
        Value::Object(error)
    }
}

/// Sends updates to one vendor that answers each with an error inside a 2xx; returns those that were told as made.
fn taken_for_success(rig: &Gateway, vendor: &str, seed: u64, updates: usize) -> Vec<String> {
    let adapter = ALL.iter().find(|adapter| adapter.spec().vendor == vendor).unwrap();
    let spec = adapter.spec();
    let id = format!("{}:{}", stories::upstream(vendor), spec.example.id);
    let mut errors = Errors(seed);
    let mut taken = Vec::new();
    for n in 0..updates {
        let is_read = spec.is_mergeable() && n % 2 == 0;
        let (error, status) = (errors.next(), [200, 200, 201, 202, 207][errors.below(5)]);
        let (method, kind, patch) = if is_read {
            ("GET", "application/merge-patch+json", r#"{"context":{"a":1}}"#)
        } else {
            ("PATCH", "application/json", spec.example.patch)
        };
        rig.fault(json!({ "vendor": vendor, "method": method, "mode": "status", "status": status, "body": error.to_string() }));
        let answer = rig.send(&Request::patch(&id, patch).set("Content-Type", kind));
        let problem = answer.json();
        let (code, applied) =
            if is_read { ("vendor-invalid-response", "no") } else { ("vendor-rejected", "unknown") };
        let is_told =
            problem["type"] == format!("urn:parlance:problem:{code}") && problem["update_applied"] == applied;
        let is_written = is_read && rig.sent(vendor).iter().any(|sent| sent.method == "PATCH");
        if !is_told || is_written {
            taken.push(format!("{vendor} {method} {status} {error}: {}", answer.text()));
        }
        rig.clear();
    }
    taken
}

#[test]
fn an_error_inside_a_2xx_is_no_success() {
    let updates = if is_long() { 2_100 } else { 60 };
    let taken: Vec<String> = std::thread::scope(|scope| {
        let vendors = ALL.iter().map(|adapter| adapter.spec().vendor).enumerate();
        let tellers: Vec<_> = vendors
            .map(|(seed, vendor)| {
                scope.spawn(move || {
                    let rig = with("[defaults]\nmax_attempts = 1\n");
                    let taken = taken_for_success(&rig, vendor, seed as u64, updates);
                    rig.finish();
                    taken
                })
            })
            .collect();
        tellers.into_iter().flat_map(|teller| teller.join().unwrap()).collect()
    });
    record("errors inside 2xx taken for success", taken.len(), updates * ALL.len());
    assert!(taken.is_empty(), "{} were taken for success, such as {}", taken.len(), taken[0]);
}
