//! Times: RFC 3339 or Unix seconds in, RFC 3339 in UTC with `Z` out. A fraction keeps its digits.

use std::borrow::Cow;

use crate::json::{Kind, Raw};

/// A time in UTC, as the text before its `Z`: `2024-06-14T15:45:34.000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Time<'a>(Cow<'a, str>);

impl<'a> Time<'a> {
    /// Reads a JSON string with an RFC 3339 time; a missing offset means UTC. `None` for anything else.
    pub fn read(value: Raw<'a>) -> Option<Self> {
        // No character of a time needs an escape.
        Time::parse(value.inner()?)
    }

    /// Reads an RFC 3339 time, such as `2024-06-14T15:45:34.5+02:00`; a missing offset means UTC.
    pub fn parse(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (head, _) = bytes.split_first_chunk::<19>()?;
        let number = |from: usize, to: usize| decimal(head.get(from..to)?);
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
        let marked = marks.iter().all(|&(at, mark)| head.get(at) == Some(&mark));
        let separator = *head.get(10)?;
        if !marked
            || !matches!(separator, b'T' | b't' | b' ')
            || !(1..=12).contains(&month)
            || !(1..=days_in(year, month)).contains(&day)
            || hour > 23
            || minute > 59
            || second > 60
        {
            return None;
        }
        let fraction_end = match bytes.get(19) {
            Some(b'.') => {
                let digits = bytes.iter().skip(20).take_while(|b| b.is_ascii_digit()).count();
                if digits == 0 {
                    return None;
                }
                20 + digits
            }
            _ => 19,
        };
        let (local, offset) = text.split_at_checked(fraction_end)?;
        let offset = match offset.as_bytes() {
            [] | [b'Z' | b'z'] => 0,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
                let hours = decimal(&[*h1, *h2])?;
                let minutes = decimal(&[*m1, *m2])?;
                if hours > 23 || minutes > 59 {
                    return None;
                }
                let total = hours * 60 + minutes;
                if *sign == b'-' { -total } else { total }
            }
            _ => return None,
        };
        if offset == 0 {
            return Some(Time(if separator == b'T' {
                Cow::Borrowed(local)
            } else {
                Cow::Owned(format!("{}T{}", local.get(..10)?, local.get(11..)?))
            }));
        }
        let minutes = hour * 60 + minute - offset;
        let (year, month, day) = civil(days(year, month, day) + minutes.div_euclid(24 * 60));
        let (hour, minute) = (minutes.rem_euclid(24 * 60) / 60, minutes.rem_euclid(60));
        if !(0..=9999).contains(&year) {
            return None;
        }
        let seconds = local.get(17..)?;
        Some(Time(Cow::Owned(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{seconds}"))))
    }

    /// Reads a JSON number of seconds since 1970-01-01T00:00:00Z, with or without a fraction, as some vendors send
    /// times. `None` for anything else, for an exponent, and outside of the years 0 to 9999.
    pub fn from_unix_seconds(value: Raw<'a>) -> Option<Self> {
        if value.kind() != Kind::Number {
            return None;
        }
        let text = value.text();
        let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
        let seconds: i64 = whole.parse().ok()?;
        // A negative number with a fraction would have to be rounded down.
        let digits = fraction.strip_prefix('.').unwrap_or("0");
        if !digits.bytes().all(|b| b.is_ascii_digit())
            || (seconds < 0 || whole == "-0") && !fraction.is_empty()
        {
            return None;
        }
        let (year, month, day) = civil(seconds.div_euclid(24 * 3600));
        let of_day = seconds.rem_euclid(24 * 3600);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        (0..=9999).contains(&year).then(|| {
            Time(Cow::Owned(format!(
                "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}"
            )))
        })
    }

    /// Text before the `Z`.
    pub fn local(&self) -> &str {
        &self.0
    }

    /// Compares whole seconds, then fractions; `.5` equals `.500`.
    pub fn compare(&self, other: &Time<'_>) -> std::cmp::Ordering {
        let key = |time: &str| {
            let (whole, fraction) = time.split_at_checked(19).unwrap_or((time, ""));
            (whole.to_owned(), fraction.trim_end_matches(['0', '.']).to_owned())
        };
        if self.0.len() == other.0.len() { self.0.cmp(&other.0) } else { key(&self.0).cmp(&key(&other.0)) }
    }
}

fn decimal(digits: &[u8]) -> Option<i64> {
    digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The date of a day since 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}
