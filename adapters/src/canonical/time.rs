//! Times: RFC 3339 in, RFC 3339 in UTC with `Z` out, the fraction as it was written.

use std::borrow::Cow;

use crate::json::Raw;

/// A moment, as the text before its `Z`: `2024-06-14T15:45:34.000`. Such texts sort as the moments do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Time<'a>(Cow<'a, str>);

impl<'a> Time<'a> {
    /// Reads a JSON string that holds a time. Without an offset UTC is meant. `None` for anything else.
    pub fn read(value: Raw<'a>) -> Option<Self> {
        // A time needs no escapes; a written one is no time that any vendor sends.
        Time::parse(value.inner()?)
    }

    /// Reads `2024-06-14T15:45:34.5+02:00` and its relatives.
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

    /// The text before the `Z`.
    pub fn local(&self) -> &str {
        &self.0
    }

    /// Compares two moments: whole seconds first, then the fractions, of which `.5` and `.500` are one.
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
