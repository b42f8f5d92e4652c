//! Durations, sizes and rates as people write them. Strict: a number without a unit is a fault, not a guess.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::settings::value_error::ValueError;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const TIME: &str = r#"a duration such as "250ms", "2s", "5m" or "24h""#;
const SIZE: &str = r#"a size such as "512B", "256KiB", "8MiB" or "1GiB""#;
const RATE: &str = r#"a rate such as "300/60s", or "off""#;

/// A duration: a whole number and `ms`, `s`, `m` or `h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

impl Time {
    pub(crate) const fn secs(seconds: u64) -> Self {
        Time(Duration::from_secs(seconds))
    }

    fn parse(text: &str) -> Result<Self, ValueError> {
        let (number, unit) = split(text);
        let per = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(ValueError::new(format!("{text:?} is not {TIME}"))),
        };
        let number: u64 = number.parse().map_err(|_| ValueError::new(format!("{text:?} is not {TIME}")))?;
        let millis =
            number.checked_mul(per).ok_or_else(|| ValueError::new(format!("{text:?} is too long")))?;
        Ok(Time(Duration::from_millis(millis)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        match millis {
            0 => f.write_str("0s"),
            _ if millis.is_multiple_of(3_600_000) => write!(f, "{}h", millis / 3_600_000),
            _ if millis.is_multiple_of(60_000) => write!(f, "{}m", millis / 60_000),
            _ if millis.is_multiple_of(1_000) => write!(f, "{}s", millis / 1_000),
            _ => write!(f, "{millis}ms"),
        }
    }
}

/// A size: a whole number and `B`, `KiB`, `MiB` or `GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) usize);

impl Size {
    pub(crate) const fn kib(number: usize) -> Self {
        Size(number * 1024)
    }

    pub(crate) const fn mib(number: usize) -> Self {
        Size(number * 1024 * 1024)
    }

    fn parse(text: &str) -> Result<Self, ValueError> {
        let (number, unit) = split(text);
        let per: usize = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(ValueError::new(format!("{text:?} is not {SIZE}"))),
        };
        let number: usize = number.parse().map_err(|_| ValueError::new(format!("{text:?} is not {SIZE}")))?;
        number.checked_mul(per).map(Size).ok_or_else(|| ValueError::new(format!("{text:?} is too large")))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        for (unit, per) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if bytes != 0 && bytes.is_multiple_of(per) {
                return write!(f, "{}{unit}", bytes / per);
            }
        }
        write!(f, "{bytes}B")
    }
}

/// So many requests in such a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Number of requests.
    pub requests: u32,
    /// In what time.
    pub per: Duration,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Seconds are how vendors publish their limits, so a rate is not shown in minutes.
        match self.per.as_millis() {
            millis if millis.is_multiple_of(1_000) => write!(f, "{}/{}s", self.requests, millis / 1_000),
            millis => write!(f, "{}/{millis}ms", self.requests),
        }
    }
}

/// A rate, or the word that switches it off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateLimit(pub(crate) Option<Rate>);

impl RateLimit {
    fn parse(text: &str) -> Result<Self, ValueError> {
        if text == "off" {
            return Ok(RateLimit(None));
        }
        let wrong = || ValueError::new(format!("{text:?} is not {RATE}"));
        let (requests, per) = text.split_once('/').ok_or_else(wrong)?;
        let Time(per) = Time::parse(per).map_err(|_| wrong())?;
        let (digits, rest) = split(requests);
        let requests: u32 = digits.parse().map_err(|_| wrong())?;
        if !rest.is_empty() || requests == 0 || per.is_zero() {
            return Err(wrong());
        }
        Ok(RateLimit(Some(Rate { requests, per })))
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(rate) => rate.fmt(f),
            None => f.write_str("off"),
        }
    }
}

/// The digits at the start, and what follows them.
fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Common part of the three units: serde and the schema.
macro_rules! written {
    ($type:ident, $expected:ident, $pattern:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_str<E: Error>(self, text: &str) -> Result<$type, E> {
                        $type::parse(text).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let about = $expected;
                json_schema!({ "type": "string", "pattern": $pattern, "description": about })
            }
        }
    };
}

written!(Time, TIME, "^[0-9]+(ms|s|m|h)$");
written!(Size, SIZE, "^[0-9]+(B|KiB|MiB|GiB)$");
written!(RateLimit, RATE, "^(off|[0-9]+/[0-9]+(ms|s|m|h))$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_their_spelling() {
        for text in ["0s", "1ms", "250ms", "2s", "90s", "5m", "24h", "36h"] {
            assert_eq!(Time::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Time::parse("60s").unwrap().to_string(), "1m");
    }

    #[test]
    fn sizes_keep_their_spelling() {
        for text in ["0B", "1B", "1000B", "256KiB", "8MiB", "1GiB"] {
            assert_eq!(Size::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Size::parse("1024KiB").unwrap().to_string(), "1MiB");
    }

    #[test]
    fn rates_keep_their_spelling() {
        for text in ["300/60s", "5/1s", "10/250ms", "off"] {
            assert_eq!(RateLimit::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(RateLimit::parse("300/1m").unwrap().to_string(), "300/60s");
    }

    #[test]
    fn nothing_is_guessed() {
        for text in
            ["", "s", "10", "1.5s", "-1s", "+1s", " 1s", "1 s", "1S", "1d", "١s", "99999999999999999999s"]
        {
            assert!(Time::parse(text).is_err(), "{text}");
        }
        for text in ["", "KiB", "10", "1.5MiB", "1MB", "1kib", "1 MiB", "-1B", "99999999999999999999GiB"] {
            assert!(Size::parse(text).is_err(), "{text}");
        }
        for text in ["", "300", "300/s", "0/1s", "1/0s", "300/60", "-1/1s", "a/1s", "3a/1s", "Off"] {
            assert!(RateLimit::parse(text).is_err(), "{text}");
        }
        assert!(Size::parse("99999999999GiB").unwrap_err().to_string().ends_with("is too large"));
        assert!(Time::parse("9999999999999999h").unwrap_err().to_string().ends_with("is too long"));
    }
}
