//! Checks of single values: each records what is wrong and goes on with something harmless.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::settings::diagnose::{Faults, did_you_mean};
use crate::settings::raw::units::{Size, Time};

/// Collector of faults, with the environment that secrets are read from.
pub(crate) struct Checker<'a> {
    pub(super) faults: &'a mut Faults,
    pub(super) env: &'a BTreeMap<String, String>,
}

impl Checker<'_> {
    /// The name of an upstream that must exist.
    pub(super) fn known_upstream(&mut self, key: &str, name: &str, names: &[String]) {
        if !names.iter().any(|known| known == name) {
            let known: Vec<&str> = names.iter().map(String::as_str).collect();
            self.faults.add(key, format!("'{name}' is no upstream; {}", did_you_mean(name, &known)));
        }
    }

    pub(super) fn address(&mut self, key: &str, text: &str) -> Option<SocketAddr> {
        let address = text.parse().ok();
        if address.is_none() {
            let message =
                format!("'{text}' is no address and port such as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080");
            self.faults.add(key, message);
        }
        address
    }

    /// A duration above zero.
    pub(super) fn time(&mut self, key: &str, time: Time, most: Time) -> Duration {
        if time.0.is_zero() {
            self.faults.add(key, "must be longer than nothing");
        }
        self.time_or_zero(key, time, most)
    }

    pub(super) fn time_or_zero(&mut self, key: &str, time: Time, most: Time) -> Duration {
        if time.0 > most.0 {
            self.faults.add(key, format!("is {time}, but at most {most} is allowed"));
        }
        time.0
    }

    /// A size of at least one byte.
    pub(super) fn size(&mut self, key: &str, size: Size, most: Size) -> usize {
        if size.0 == 0 {
            self.faults.add(key, "must be at least 1B");
        } else if size.0 > most.0 {
            self.faults.add(key, format!("is {size}, but at most {most} is allowed"));
        }
        size.0
    }

    /// A number within a range.
    pub(super) fn count(&mut self, key: &str, number: u64, range: RangeInclusive<u64>) -> usize {
        if !range.contains(&number) {
            let message = format!("is {number}, but must be from {} to {}", range.start(), range.end());
            self.faults.add(key, message);
        }
        usize::try_from(number).unwrap_or(usize::MAX)
    }
}
