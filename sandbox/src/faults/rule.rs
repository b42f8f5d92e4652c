//! Reading a rule: an unknown name, a wrong kind or a parameter the mode has no use for is an error that says so.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::http::Head;
use crate::json::{self, Kind, Object};

use super::modes::{ANSWER, Mode, Phase, Row, TABLE};

const FILTERS: [&str; 4] = ["vendor", "method", "path_contains", "mode"];
/// A wait that outlives any test is a mistake in the rule.
const MAX_WAIT_MS: u64 = 3_600_000;
const DEFAULT_MAX_MS: u64 = 60_000;
const MAX_INTERIM: u64 = 1_000_000;

/// The part of an answer that drips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    StatusLine,
    Headers,
    Body,
    All,
}

/// The error in a chunked answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChunkError {
    Size,
    MissingEnd,
    HugeExtension,
    Trailers,
    NoLineEnd,
    SizeOverflow,
}

/// A rule as given, with its defaults filled in.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) source: String,
    pub(crate) vendor: Option<String>,
    pub(crate) method: Option<String>,
    pub(crate) path_contains: Option<String>,
    pub(crate) count: u64,
    pub(crate) skip: u64,
    pub(crate) mode: Mode,
    pub(crate) apply: bool,
    pub(crate) apply_late: bool,
    pub(crate) status: Option<u16>,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) delay_ms: u64,
    pub(crate) interval_ms: u64,
    pub(crate) max_ms: u64,
    pub(crate) idle_ms: u64,
    pub(crate) bytes: Option<u64>,
    pub(crate) chunk_bytes: u64,
    pub(crate) trailers: Vec<(String, String)>,
    pub(crate) n: u64,
    pub(crate) interim_status: u16,
    pub(crate) reset: bool,
    pub(crate) close: bool,
    pub(crate) endless: bool,
    pub(crate) part: Part,
    pub(crate) kind: ChunkError,
}

impl Spec {
    /// Reads one rule; `vendors` are the names it may use.
    pub(crate) fn parse(raw: &str, vendors: &[&str]) -> Result<Self, String> {
        let given = Object::parse(raw).map_err(|why| format!("a rule must be a JSON object: {why}"))?;
        let name = given.text("mode").ok_or("a rule needs \"mode\"; GET / lists the modes")?;
        let row = TABLE
            .iter()
            .find(|row| row.name == name)
            .ok_or_else(|| format!("unknown mode {name:?}; GET / lists the modes"))?;
        if let Some((odd, _)) = given.iter().find(|(name, _)| !known(row, name)) {
            return Err(format!("the mode {name:?} takes no {odd:?}; it takes {}", takes(row).join(", ")));
        }
        let read = Reader(&given);
        let vendor = read.text("vendor")?;
        if let Some(vendor) = vendor.as_deref().filter(|name| !vendors.contains(name)) {
            return Err(format!("unknown vendor {vendor:?}; the vendors are {}", vendors.join(", ")));
        }
        let spec = Self {
            source: given.render(&[]),
            vendor,
            method: read.text("method")?,
            path_contains: read.text("path_contains")?,
            count: read.number("count", u64::MAX)?.unwrap_or(1),
            skip: read.number("skip", u64::MAX)?.unwrap_or(0),
            mode: row.mode,
            apply: read.flag("apply")?.unwrap_or(row.applies),
            apply_late: read.flag("apply_late")?.unwrap_or(false),
            status: read.number("status", 999)?.and_then(|n| u16::try_from(n).ok()),
            body: read.body()?,
            headers: read.pairs("headers")?,
            data: read.bytes("data", "data_base64")?,
            delay_ms: read.number("delay_ms", MAX_WAIT_MS)?.unwrap_or(0),
            interval_ms: read.number("interval_ms", MAX_WAIT_MS)?.unwrap_or(if row.mode == Mode::Drip {
                100
            } else {
                0
            }),
            max_ms: read.number("max_ms", MAX_WAIT_MS)?.unwrap_or(DEFAULT_MAX_MS),
            idle_ms: read.number("idle_ms", MAX_WAIT_MS)?.unwrap_or(0),
            bytes: read.number("bytes", 1 << 40)?,
            chunk_bytes: read.number("chunk_bytes", 1 << 20)?.unwrap_or(16).max(1),
            trailers: read.pairs("trailers")?,
            n: read.number("n", MAX_INTERIM)?.unwrap_or(1),
            interim_status: read
                .number("interim_status", 199)?
                .and_then(|n| u16::try_from(n).ok())
                .unwrap_or(103),
            reset: read.flag("reset")?.unwrap_or(false),
            close: read.flag("close")?.unwrap_or(row.mode == Mode::Raw),
            endless: read.flag("endless")?.unwrap_or(false),
            part: read.choice("part", &PARTS)?.unwrap_or(Part::All),
            kind: read.choice("kind", &CHUNK_ERRORS)?.unwrap_or(ChunkError::Size),
        };
        match spec.mode {
            Mode::Raw if spec.data.is_none() => {
                Err("the mode \"raw\" needs \"data\" or \"data_base64\"".into())
            }
            Mode::Delay if given.get("delay_ms").is_none() => {
                Err("the mode \"delay\" needs \"delay_ms\"".into())
            }
            Mode::Interim if spec.interim_status < 100 => Err("\"interim_status\" must be 100 to 199".into()),
            _ => Ok(spec),
        }
    }

    /// Whether the rule is meant for this vendor and, after its head, this request.
    pub(crate) fn matches(&self, vendor: &str, head: Option<&Head>) -> bool {
        self.vendor.as_deref().is_none_or(|name| name == vendor)
            && head.is_none_or(|head| {
                self.method.as_deref().is_none_or(|method| method == head.method)
                    && self.path_contains.as_deref().is_none_or(|part| head.target.contains(part))
            })
    }
}

const PARTS: [(&str, Part); 4] =
    [("status_line", Part::StatusLine), ("headers", Part::Headers), ("body", Part::Body), ("all", Part::All)];
const CHUNK_ERRORS: [(&str, ChunkError); 6] = [
    ("size", ChunkError::Size),
    ("missing_end", ChunkError::MissingEnd),
    ("huge_extension", ChunkError::HugeExtension),
    ("trailers", ChunkError::Trailers),
    ("no_line_end", ChunkError::NoLineEnd),
    ("size_overflow", ChunkError::SizeOverflow),
];

fn known(row: &Row, name: &str) -> bool {
    takes(row).contains(&name)
}

/// Every name a rule of this mode may have.
pub(crate) fn takes(row: &Row) -> Vec<&'static str> {
    let mut all = vec!["mode", "vendor", "count", "skip"];
    if row.phase != Phase::Accept {
        all.extend(FILTERS.iter().filter(|name| !all.contains(name)).copied().collect::<Vec<_>>());
    }
    if row.phase == Phase::Request {
        all.push("delay_ms");
    }
    for name in row.parameters {
        if *name == "answer" { all.extend(ANSWER) } else { all.push(name) }
    }
    all
}

struct Reader<'a>(&'a Object);

impl Reader<'_> {
    fn text(&self, name: &str) -> Result<Option<String>, String> {
        let wrong = || format!("{name:?} must be a string");
        self.0.get(name).map(|raw| json::string(raw).ok_or_else(wrong)).transpose()
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, String> {
        self.0
            .get(name)
            .map(|raw| raw.parse().map_err(|_| format!("{name:?} must be true or false")))
            .transpose()
    }

    fn number(&self, name: &str, most: u64) -> Result<Option<u64>, String> {
        let wrong = || format!("{name:?} must be a whole number of 0 to {most}");
        let read = |raw: &str| raw.parse().ok().filter(|n| *n <= most).ok_or_else(wrong);
        self.0.get(name).map(read).transpose()
    }

    fn choice<T: Copy>(&self, name: &str, known: &[(&str, T)]) -> Result<Option<T>, String> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let found = known.iter().find(|(have, _)| *have == text).map(|(_, value)| *value);
        let names = || known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        found.map(Some).ok_or_else(|| format!("{name:?} must be one of {}", names()))
    }

    fn bytes(&self, plain: &str, encoded: &str) -> Result<Option<Vec<u8>>, String> {
        match (self.text(plain)?, self.text(encoded)?) {
            (Some(_), Some(_)) => Err(format!("give {plain:?} or {encoded:?}, not both")),
            (Some(text), None) => Ok(Some(text.into_bytes())),
            (None, Some(text)) => {
                STANDARD.decode(text).map(Some).map_err(|why| format!("{encoded:?}: {why}"))
            }
            (None, None) => Ok(None),
        }
    }

    /// A string is the body's text; any other JSON value is the body itself, digit for digit.
    fn body(&self) -> Result<Option<Vec<u8>>, String> {
        match self.0.get("body") {
            Some(raw) if json::kind(raw) != Kind::String => match self.0.get("body_base64") {
                Some(_) => Err("give \"body\" or \"body_base64\", not both".into()),
                None => Ok(Some(raw.as_bytes().to_vec())),
            },
            _ => self.bytes("body", "body_base64"),
        }
    }

    /// A list, so that a field may be repeated and keeps its place: `[["Retry-After","1"]]`.
    fn pairs(&self, name: &str) -> Result<Vec<(String, String)>, String> {
        let wrong =
            || format!("{name:?} must be a list of [name, value] pairs of strings without line breaks");
        let Some(raw) = self.0.get(name) else { return Ok(Vec::new()) };
        if json::kind(raw) != Kind::Array {
            return Err(wrong());
        }
        json::elements(raw)
            .into_iter()
            .map(|pair| match serde_json::from_str::<(String, String)>(pair) {
                Ok((name, value)) if !format!("{name}{value}").contains(['\r', '\n']) => Ok((name, value)),
                _ => Err(wrong()),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named() {
        let parse = |raw: &str| Spec::parse(raw, &["v"]).map(|spec| spec.mode);
        assert_eq!(parse(r#"{"mode":"status","status":429,"vendor":"v"}"#), Ok(Mode::Status));
        for (raw, word) in [
            ("[]", "object"),
            ("{}", "\"mode\""),
            (r#"{"mode":"nap"}"#, "nap"),
            (r#"{"mode":"hang","vendor":"w"}"#, "vendor"),
            (r#"{"mode":"hang","bytes":1}"#, "bytes"),
            (r#"{"mode":"reset_on_accept","method":"GET"}"#, "method"),
            (r#"{"mode":"status","status":"429"}"#, "status"),
            (r#"{"mode":"raw"}"#, "data"),
            (r#"{"mode":"status","headers":{"A":"b"}}"#, "headers"),
            (r#"{"mode":"status","headers":[["A","b\r\nC: d"]]}"#, "line"),
            (r#"{"mode":"drip","part":"tail"}"#, "part"),
        ] {
            let error = parse(raw).unwrap_err();
            assert!(error.contains(word), "{raw}: {error}");
        }
    }

    #[test]
    fn a_json_body_is_kept_digit_for_digit() {
        let spec = Spec::parse(r#"{"mode":"status","body":{"n":1.50}}"#, &[]).unwrap();
        assert_eq!(spec.body, Some(br#"{"n":1.50}"#.to_vec()));
    }
}
