//! Times against jiff, which was written by others.

use std::cmp::Ordering;

use jiff::civil::DateTime;
use jiff::{Span, Timestamp};
use parlance_adapters::canonical::Time;
use parlance_adapters::json::Reader;
use proptest::prelude::*;
use proptest::sample::select;

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() }
}

/// The parts of a time, most of them right.
#[derive(Debug, Clone)]
struct Parts {
    date: (i16, i8, i8),
    clock: (i8, i8, i8),
    fraction: String,
    separator: char,
    /// Minutes east, and how they are written.
    offset: Option<(i64, String)>,
}

impl Parts {
    fn text(&self) -> String {
        let (year, month, day) = self.date;
        let (hour, minute, second) = self.clock;
        let offset = self.offset.as_ref().map_or("", |(_, written)| written);
        format!(
            "{year:04}-{month:02}-{day:02}{}{hour:02}:{minute:02}:{second:02}{}{offset}",
            self.separator, self.fraction
        )
    }

    /// By jiff's calendar: the same moment in UTC.
    fn utc(&self) -> Option<String> {
        let ((year, month, day), (hour, minute, second)) = (self.date, self.clock);
        let local = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
        let minutes = self.offset.as_ref().map_or(0, |(minutes, _)| *minutes);
        let utc = local.checked_sub(Span::new().minutes(minutes)).ok()?;
        (utc.year() >= 0).then(|| format!("{}{}", utc.strftime("%Y-%m-%dT%H:%M:%S"), self.fraction))
    }
}

fn from_unix_seconds(json: &str) -> Option<String> {
    let value = Reader::lenient(json.as_bytes()).and_then(|mut reader| reader.raw()).ok()?;
    Time::from_unix_seconds(value).map(|time| time.local().to_owned())
}

/// A number of seconds as vendors write it, and its whole seconds where it has a meaning.
fn unix_seconds() -> impl Strategy<Value = (String, Option<i64>)> {
    let years_0_to_9999 = -62_167_219_200_i64..253_402_300_800;
    let seconds = prop_oneof![3 => 0_i64..4_000_000_000, 2 => years_0_to_9999, 1 => any::<i64>()];
    let fraction = prop_oneof![2 => Just(String::new()), 1 => "\\.[0-9]{1,9}"];
    (seconds, fraction).prop_map(|(seconds, fraction)| {
        let in_range = (-62_167_219_200..253_402_300_800).contains(&seconds);
        let meant = in_range && (fraction.is_empty() || seconds >= 0);
        (format!("{seconds}{fraction}"), meant.then_some(seconds))
    })
}

fn parts() -> impl Strategy<Value = Parts> {
    let year =
        prop_oneof![4 => 1900_i16..2200, 1 => 0_i16..=9999, 1 => select(vec![0, 1, 9999, 2000, 1900, 2100])];
    let month = prop_oneof![9 => 1_i8..=12, 1 => 0_i8..=13];
    let day = prop_oneof![9 => 1_i8..=28, 3 => 0_i8..=32];
    let hour = prop_oneof![9 => 0_i8..=23, 1 => 0_i8..=25];
    let minute = prop_oneof![9 => 0_i8..=59, 1 => 0_i8..=61];
    let second = prop_oneof![9 => 0_i8..=59, 1 => select(vec![0_i8, 59, 61, 99])];
    let fraction = prop_oneof![1 => Just(String::new()), 1 => "\\.[0-9]{1,12}"];
    let separator = select(vec!['T', 'T', 'T', 't', ' ']);
    let offset = prop_oneof![
        Just(None),
        select(vec!["Z", "z", "+00:00", "-00:00"]).prop_map(|zulu| Some((0, zulu.to_owned()))),
        (select(vec![1_i64, -1]), 0_i64..24, 0_i64..60).prop_map(|(sign, hours, minutes)| {
            let mark = if sign < 0 { '-' } else { '+' };
            Some((sign * (hours * 60 + minutes), format!("{mark}{hours:02}:{minutes:02}")))
        }),
    ];
    ((year, month, day), (hour, minute, second), fraction, separator, offset).prop_map(
        |(date, clock, fraction, separator, offset)| Parts { date, clock, fraction, separator, offset },
    )
}

/// A moment that jiff and we can both read, near others.
fn moment() -> impl Strategy<Value = String> {
    let fraction =
        select(vec!["", ".0", ".5", ".50", ".500000000", ".05", ".000000001", ".999999999", ".25"]);
    (0_i8..2, 0_i8..2, 58_i8..60, fraction, select(vec!["Z", "+00:00", "+00:01", "-00:01", "+01:00"]))
        .prop_map(|(h, m, s, f, o)| format!("2024-02-29T{:02}:{:02}:{s:02}{f}{o}", h + 11, m + 29))
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn unix_seconds_are_times((text, seconds) in unix_seconds()) {
        let fraction = text.find('.').and_then(|at| text.get(at..)).unwrap_or_default();
        let expected = seconds.map(|seconds| {
            let epoch = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
            let time = epoch.checked_add(Span::new().seconds(seconds)).unwrap();
            format!("{}{fraction}", time.strftime("%Y-%m-%dT%H:%M:%S"))
        });
        prop_assert_eq!(from_unix_seconds(&text), expected, "{}", text);
    }

    #[test]
    fn a_time_is_the_moment_that_jiff_computes(parts in parts()) {
        let text = parts.text();
        let ours = Time::parse(&text).map(|time| time.local().to_owned());
        prop_assert_eq!(ours, parts.utc(), "{}", text);
    }

    #[test]
    fn a_damaged_time_is_none_or_a_time(parts in parts(), at in any::<prop::sample::Index>(), put in any::<char>()) {
        let text = parts.text();
        let at = at.index(text.len());
        let damaged = format!("{}{put}{}", &text[..at], &text[at + 1..]);
        if let Some(time) = Time::parse(&damaged) {
            let shown = format!("{}Z", time.local());
            prop_assert!(shown.is_ascii());
            // The result is read alike by everyone, and by us again.
            prop_assert_eq!(Time::parse(&shown), Some(time.clone()));
            let whole: Result<DateTime, _> = time.local()[..19].parse();
            prop_assert!(whole.is_ok() || time.local()[17..].starts_with("60"), "{} from {}", shown, damaged);
        }
    }

    #[test]
    fn any_text_is_none_or_a_time(text in any::<String>()) {
        if let Some(time) = Time::parse(&text) {
            prop_assert!(time.local()[..19].parse::<DateTime>().is_ok(), "{}", text);
        }
    }

    #[test]
    fn times_are_ordered_as_moments_are(a in moment(), b in moment()) {
        let theirs = |text: &str| text.parse::<Timestamp>().unwrap();
        let (ours_a, ours_b) = (Time::parse(&a).unwrap(), Time::parse(&b).unwrap());
        let order = ours_a.compare(&ours_b);
        prop_assert_eq!(order, theirs(&a).cmp(&theirs(&b)), "{} {}", a, b);
        prop_assert_eq!(ours_b.compare(&ours_a), order.reverse());
        prop_assert_eq!(theirs(&format!("{}Z", ours_a.local())), theirs(&a));
    }
}

#[test]
fn odd_ones() {
    let table: &[(&str, Option<&str>)] = &[
        // The spellings of the vendors' own samples.
        ("2024-06-14T15:45:34+00:00", Some("2024-06-14T15:45:34")),
        ("2023-11-07T05:31:56Z", Some("2023-11-07T05:31:56")),
        ("2025-02-20T14:20:00.000Z", Some("2025-02-20T14:20:00.000")),
        // No offset: UTC.
        ("2024-06-14T15:45:34", Some("2024-06-14T15:45:34")),
        ("2024-06-14 15:45:34.5", Some("2024-06-14T15:45:34.5")),
        // Other spellings of RFC 3339.
        ("2024-06-14t15:45:34z", Some("2024-06-14T15:45:34")),
        ("2024-06-14 15:45:34+02:00", Some("2024-06-14T13:45:34")),
        ("2024-06-14T15:45:34-00:00", Some("2024-06-14T15:45:34")),
        ("2016-12-31T23:59:60Z", Some("2016-12-31T23:59:60")),
        ("2017-01-01T00:59:60+01:00", Some("2016-12-31T23:59:60")),
        ("2024-06-14T15:45:34.123456789012345Z", Some("2024-06-14T15:45:34.123456789012345")),
        // Over the edges of days, months and years.
        ("2024-03-01T00:30:00+01:00", Some("2024-02-29T23:30:00")),
        ("2023-03-01T00:30:00+01:00", Some("2023-02-28T23:30:00")),
        ("2023-12-31T23:30:00.25-01:00", Some("2024-01-01T00:30:00.25")),
        ("2000-02-29T12:00:00+23:59", Some("2000-02-28T12:01:00")),
        ("0000-01-01T00:00:00Z", Some("0000-01-01T00:00:00")),
        ("0000-01-01T00:00:00+00:01", None),
        ("9999-12-31T23:59:59-00:01", None),
        ("9999-12-31T23:59:59Z", Some("9999-12-31T23:59:59")),
        // No dates, no times.
        ("2023-02-29T00:00:00Z", None),
        ("1900-02-29T00:00:00Z", None),
        ("2024-04-31T00:00:00Z", None),
        ("2024-13-01T00:00:00Z", None),
        ("2024-00-01T00:00:00Z", None),
        ("2024-01-00T00:00:00Z", None),
        ("2024-01-01T24:00:00Z", None),
        ("2024-01-01T00:60:00Z", None),
        ("2024-01-01T00:00:61Z", None),
        ("2024-01-01T00:00:00+24:00", None),
        ("2024-01-01T00:00:00+00:60", None),
        // Not whole, or more than a time.
        ("", None),
        ("2024", None),
        ("2024-01-01", None),
        ("2024-01-01T00:00", None),
        ("2024-01-01T00:00:00.", None),
        ("2024-01-01T00:00:00.Z", None),
        ("2024-01-01T00:00:00,5Z", None),
        ("2024-01-01T00:00:00+0100", None),
        ("2024-01-01T00:00:00+01", None),
        ("2024-01-01T00:00:00ZZ", None),
        ("2024-01-01T00:00:00 Z", None),
        (" 2024-01-01T00:00:00Z", None),
        ("2024-01-01T00:00:00Z ", None),
        ("2024-01-01T00:00:00[UTC]", None),
        ("2024-01-01T00:00:00+01:00[Europe/Berlin]", None),
        ("2024-1-01T00:00:00Z", None),
        ("24-01-01T00:00:00Z", None),
        ("+002024-01-01T00:00:00Z", None),
        ("-2024-01-01T00:00:00Z", None),
        ("2024-01-01_00:00:00Z", None),
        ("2024:01:01T00:00:00Z", None),
        ("2024-01-01T00-00-00Z", None),
        ("1718379934", None),
        ("Fri, 14 Jun 2024 15:45:34 GMT", None),
        ("yesterday", None),
        ("2024-06-14T15:45:3４Z", None),
        ("٢٠٢٤-06-14T15:45:34Z", None),
    ];
    for (text, utc) in table {
        let time = Time::parse(text);
        assert_eq!(time.as_ref().map(Time::local), *utc, "{text}");
    }
}

#[test]
fn what_is_no_number_of_seconds_is_no_time() {
    assert_eq!(from_unix_seconds("0").as_deref(), Some("1970-01-01T00:00:00"));
    assert_eq!(from_unix_seconds("-0").as_deref(), Some("1970-01-01T00:00:00"));
    assert_eq!(from_unix_seconds("-1").as_deref(), Some("1969-12-31T23:59:59"));
    for json in
        ["1e3", "1.5e3", "-0.5", "-1.5", "\"1718379934\"", "null", "true", "[1]", "99999999999999999999"]
    {
        assert_eq!(from_unix_seconds(json), None, "{json}");
    }
}

#[test]
fn a_fraction_counts_by_its_value() {
    let order = |a: &'static str, b: &'static str| {
        let parse = |text| Time::parse(text).unwrap_or_else(|| panic!("{text}"));
        parse(a).compare(&parse(b))
    };
    assert_eq!(order("2024-01-01T00:00:00Z", "2024-01-01T00:00:00.000Z"), Ordering::Equal);
    assert_eq!(order("2024-01-01T00:00:00.5Z", "2024-01-01T00:00:00.500Z"), Ordering::Equal);
    assert_eq!(order("2024-01-01T00:00:00.5Z", "2024-01-01T00:00:00.4999Z"), Ordering::Greater);
    assert_eq!(order("2024-01-01T00:00:00.1Z", "2024-01-01T00:00:00.01Z"), Ordering::Greater);
    assert_eq!(order("2024-01-01T00:00:01Z", "2024-01-01T00:00:00.999999999999Z"), Ordering::Greater);
    assert_eq!(order("2024-01-01T00:00:00.0001Z", "2024-01-01T00:00:00Z"), Ordering::Greater);
    assert_eq!(order("2024-01-01T02:00:00+02:00", "2024-01-01T00:00:00Z"), Ordering::Equal);
}
