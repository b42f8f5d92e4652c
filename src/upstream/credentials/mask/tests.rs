use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use fastrand::Rng;
use serde_json::Value;

use super::spelling::STEPS;
use super::*;

fn masked(secret: &str, text: &str) -> String {
    let mask = Mask::new(secret.as_bytes()).unwrap();
    String::from_utf8(mask.redact(Bytes::copy_from_slice(text.as_bytes())).to_vec()).unwrap()
}

const SECRET: &str = "ab/cd+ef=gh12";

#[test]
fn every_spelling_of_a_vendors_encoder() {
    for echoed in [
        r"ab/cd+ef=gh12",
        r"ab\/cd+ef=gh12",
        r"ab\u002fcd\u002Bef\u003dgh12",
        r"\u0061b/cd+ef=gh12",
        r"\u0061\u0062\u002f\u0063\u0064\u002b\u0065\u0066\u003d\u0067\u0068\u0031\u0032",
        r"ab\\\/cd+ef=gh12",
        r"ab\\u002fcd+ef=gh12",
        r"ab\\\\\\\\u002fcd+ef=gh12",
        r"ab%2Fcd%2Bef%3Dgh12",
        r"ab%2fcd%2bef%3dgh12",
        r"ab%252Fcd%252Bef%253Dgh12",
        r"ab\u00252Fcd+ef=gh12",
        r"ab/cd&#43;ef=gh12",
        r"ab/cd&#x2B;ef&#x3d;gh12",
        r"ab&sol;cd&plus;ef&equals;gh12",
        r"ab/cd\u0026#43;ef=gh12",
        r"ab/cd&amp;#43;ef=gh12",
        "YWIvY2QrZWY9Z2gxMg==",
        "61622f63642b65663d67683132",
        "61622F63642B65663D67683132",
    ] {
        for (before, behind) in [("", ""), ("bad key ", " at 5"), (r"\n\t\\\/", r"\n%20")] {
            let text = format!(r#"{{"message":"{before}{echoed}{behind}","ab":1}}"#);
            let clean = masked(SECRET, &text);
            assert!(serde_json::from_str::<Value>(&clean).is_ok(), "{text} -> {clean}");
            assert!(
                clean.contains("***") && !clean.contains("cd") && !clean.contains("gh12"),
                "{text} -> {clean}"
            );
            if !before.contains('\\') && echoed.contains("ab") {
                let mask = if echoed.ends_with("==") { "***Mg==" } else { "***" };
                assert_eq!(clean, format!(r#"{{"message":"{before}{mask}{behind}","ab":1}}"#));
            }
        }
    }
}

#[test]
fn what_holds_no_secret_stays_the_same_bytes() {
    let mask = Mask::new(SECRET.as_bytes()).unwrap();
    for text in [
        "",
        r#"{"a":"b\n\"c\" é \/ ab\/cd\/ef % 100%25 &amp; R&D \u00e9 C:\\Users"}"#,
        r"ab\/cd+ef=gh1",
        r"ab\/cd+ef=gh13",
        r"\",
        r"ab\",
        "%",
        "&",
    ] {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let clean = mask.redact(bytes.clone());
        assert_eq!((clean.as_ptr(), clean.len()), (bytes.as_ptr(), bytes.len()), "{text}");
    }
}

#[test]
fn json_stays_json() {
    for (secret, text, clean) in [
        // No escape is cut in two.
        ("nabcdefgh", r#"{"a":"x\nabcdefgh"}"#, r#"{"a":"x***"}"#),
        ("0041abcdefgh", r#"{"a":"x\u0041abcdefgh"}"#, r#"{"a":"x***"}"#),
        (r"abcdefgh\", r#"{"a":"abcdefgh\"z"}"#, r#"{"a":"***\"z"}"#),
        (r"abcdefgh\", r#"{"a":"abcdefgh\\"}"#, r#"{"a":"***\\"}"#),
        ("/bcdefgh", r#"{"a":"{\"b\":\"\\/bcdefgh\"}"}"#, r#"{"a":"{\"b\":\"***\"}"}"#),
        // Numbers stay numbers.
        ("1234567890", r#"{"a":1234567890,"b":"1234567890"}"#, r#"{"a":1111111111,"b":"***"}"#),
        ("11111111", r#"[11111111, -9111111119.5]"#, "[22222222, -9222222229.5]"),
        ("1234", "[1234,12345]", "[1111,12345]"),
        // The signs between strings stay.
        (r#"ab":"cdef"#, r#"{"ab":"cdef"}"#, r#"{"***":"***"}"#),
        ("null", r#"{"null":null}"#, r#"{"***":null}"#),
        // Names stay different from one another.
        ("abcdefgh", r#"{"abcdefgh":1,"abcdef%67h":2,"***":3}"#, r#"{"***1":1,"***2":2,"***":3}"#),
        ("abcdefgh", "\u{feff}{\"abcdefgh\":1}", "\u{feff}{\"***\":1}"),
    ] {
        assert_eq!(masked(secret, text), clean, "{secret}: {text}");
    }
}

#[test]
fn a_short_secret_is_masked_as_a_word() {
    for (text, clean) in [
        ("key a+b1 is", "key *** is"),
        (r#"["a+b1","a\u002bb1","a%2Bb1"]"#, r#"["***","***","***"]"#),
        (r"\na+b1\n \u00e9a+b1 %20a\u002Bb1%20", r"\n***\n \u00e9*** %20***%20"),
        ("xa+b1 a+b12 a+b1-c _a+b1", "xa+b1 a+b12 a+b1-c _a+b1"),
        (r"xa\u002bb1 a\u002bb12 \u0061a\u002bb1", r"xa\u002bb1 a\u002bb12 \u0061a\u002bb1"),
    ] {
        assert_eq!(masked("a+b1", text), clean);
    }
}

/// Escapes of the text around the secret take nothing of it along.
#[test]
fn text_around_hides_nothing() {
    for (secret, text) in [
        ("abcd1234efgh", r"100%\u0061bcd1234efgh"),
        ("abcd1234efgh", r"100%abcd1234\u0065fgh"),
        ("u0061bcdefgh/ij", r"\\u0061bcdefgh\/ij"),
        ("ab/cdefghi%", r"ab\/cdefghi%41"),
        ("ab/cdefghi%4", r"ab\/cdefghi%41"),
        (r"ab/cdefghi\", r"ab\/cdefghi\\u0041"),
    ] {
        let clean = masked(secret, text);
        assert!(clean.contains("***") && !clean.contains("efgh"), "{secret}: {text} -> {clean}");
    }
}

/// Reading twice as much takes twice as many steps, whatever is read.
#[test]
fn the_cost_is_linear() {
    let secret = "ab/cd+ef=gh12ab/cd+ef=gh12ab/cd+ef=";
    let mask = Mask::new(secret.as_bytes()).unwrap();
    let escaped: String = secret.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    for part in [
        r"\u0041",
        r"\/",
        "\\",
        "%",
        "%25",
        "25",
        "&",
        "&amp;",
        "amp;",
        "&a",
        "&#",
        "%2",
        r"\u",
        r"\u002",
        "%5C",
        "ab\\/",
        r"ab/cd+ef=gh12\u0061",
        r"\u0061",
        "a",
        secret,
        &escaped,
        "%5Cu00",
        "&%\\",
        "%%25",
        "ab%2F",
        r"ab\u002Fcd%2Bef",
    ] {
        let steps = |copies: usize| {
            // A chain may need its beginning.
            let text = Bytes::from(format!("%{}", part.repeat(copies)));
            STEPS.with(|steps| steps.set(0));
            mask.redact(text.clone());
            STEPS.with(std::cell::Cell::get) as f64 / text.len() as f64
        };
        let (few, many) = (steps(500), steps(4000));
        assert!(many < 2.5 && many < few * 1.1 + 0.01, "{part:?}: {few:.2} and {many:.2} steps per byte");
    }
}

// --- Random secrets in random spellings ---------------------------------------------------------------------------

const ALPHABETS: [&str; 6] = [
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.",
    "0123456789abcdef",
    "0123456789",
    "abcdefghijklmnop/+=.-_~:@\"\\%",
    "abcXYZ019!#$%&'()*+,-./:;<=>?@[]^_`{|}~\"\\",
];

fn random_secret(rng: &mut Rng) -> String {
    let alphabet = ALPHABETS[rng.usize(..ALPHABETS.len())].as_bytes();
    loop {
        let length = if rng.u8(..4) == 0 { rng.usize(3..8) } else { rng.usize(8..70) };
        let secret: String = (0..length).map(|_| char::from(alphabet[rng.usize(..alphabet.len())])).collect();
        let resolved: String = secret.chars().filter(|c| *c != '\\').collect();
        // Signs alone are found in every JSON text.
        if resolved.bytes().filter(u8::is_ascii_alphanumeric).count() >= 3 {
            return secret;
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Layer {
    Json,
    Percent,
    Html,
}

const LAYERS: [Layer; 3] = [Layer::Json, Layer::Percent, Layer::Html];

impl Layer {
    /// Encodes what must be, and of the rest a part. `eager` is how much of it, out of eight.
    fn encode(self, text: &str, eager: u8, rng: &mut Rng) -> String {
        let mut encoded = String::new();
        for c in text.chars() {
            let must = match self {
                Layer::Json => matches!(c, '"' | '\\') || c.is_ascii_control(),
                Layer::Percent => c == '%',
                Layer::Html => c == '&',
            };
            if !must && (!c.is_ascii() || rng.u8(..8) >= eager) {
                encoded.push(c);
                continue;
            }
            let code = c as u32;
            let upper = rng.bool();
            let spelled = match self {
                Layer::Json if matches!(c, '"' | '\\' | '/') && rng.bool() => format!("\\{c}"),
                Layer::Json if upper => format!("\\u{code:04X}"),
                Layer::Json => format!("\\u{code:04x}"),
                Layer::Percent if upper => format!("%{code:02X}"),
                Layer::Percent => format!("%{code:02x}"),
                Layer::Html => match c {
                    '&' => "&amp;".to_owned(),
                    '<' => "&lt;".to_owned(),
                    '"' => "&quot;".to_owned(),
                    _ if upper => format!("&#x{code:X};"),
                    _ => format!("&#{code};"),
                },
            };
            encoded.push_str(&spelled);
        }
        encoded
    }

    /// Decodes what is encoded, and leaves the rest.
    fn decode(self, text: &str) -> String {
        let (leader, names): (char, BTreeMap<&str, char>) = match self {
            Layer::Json => ('\\', [("n", '\n'), ("t", '\t'), ("/", '/'), ("\"", '"'), ("\\", '\\')].into()),
            Layer::Percent => ('%', BTreeMap::new()),
            Layer::Html => ('&', [("amp;", '&'), ("lt;", '<'), ("quot;", '"')].into()),
        };
        let mut decoded = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(leader) {
            decoded.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let number = |digits: Option<&str>, radix| {
                u32::from_str_radix(digits?, radix).ok().and_then(char::from_u32)
            };
            let named =
                names.iter().find(|(name, _)| rest.starts_with(**name)).map(|(name, c)| (*c, name.len()));
            let found = named.or_else(|| match self {
                Layer::Json => {
                    rest.starts_with('u').then(|| number(rest.get(1..5), 16).map(|c| (c, 5))).flatten()
                }
                Layer::Percent => number(rest.get(..2), 16).map(|c| (c, 2)),
                Layer::Html => {
                    let end = rest.starts_with('#').then(|| rest.find(';')).flatten()?;
                    let c = match rest[1..end].strip_prefix('x') {
                        Some(digits) => number(Some(digits), 16),
                        None => number(Some(&rest[1..end]), 10),
                    };
                    c.map(|c| (c, end + 1))
                }
            });
            match found {
                Some((c, length)) => {
                    decoded.push(c);
                    rest = &rest[length..];
                }
                None => decoded.push(leader),
            }
        }
        decoded + rest
    }
}

/// The texts that a reader can get from one by up to this many decodings, and by base64 from each of its words.
fn readings(text: &str, depth: u8, into: &mut BTreeSet<String>) {
    if !into.insert(text.to_owned()) {
        return;
    }
    let is_token = |c: char| c.is_ascii_alphanumeric() || "+/-_=".contains(c);
    for token in text.split(|c| !is_token(c)).filter(|token| token.len() >= 8) {
        for engine in [&STANDARD, &URL_SAFE] {
            let whole = &token[..token.len() / 4 * 4];
            into.extend(engine.decode(whole).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    if depth > 0 {
        for layer in LAYERS {
            let decoded = layer.decode(text);
            if decoded != text {
                readings(&decoded, depth - 1, into);
            }
        }
    }
}

fn holds_word(text: &str, secret: &str) -> bool {
    text.match_indices(secret).any(|(at, _)| {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let before = text[..at].chars().next_back();
        let behind = text[at + secret.len()..].chars().next();
        secret.len() >= WHOLE_WORD || !(before.is_some_and(is_word) || behind.is_some_and(is_word))
    })
}

/// Every string of a JSON value, and every name.
fn strings(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, into)),
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            into.push(name.clone());
            strings(value, into);
        }),
        other => into.push(other.to_string()),
    }
}

#[test]
fn no_random_spelling_shows_a_random_secret() {
    let words = [
        "",
        " bad key: ",
        " see héllo\\n",
        " \\\"quoted\\\" ",
        " C:\\\\temp\\\\ ",
        " a\\/b ",
        " \\u00e9 ",
        "key=",
        " most% ",
        " R&D ",
    ];
    for seed in 0..2_000 {
        let mut rng = Rng::with_seed(seed);
        let secret = random_secret(&mut rng);
        let mut text = secret.clone();
        let in_base64 = secret.len() >= WHOLE_WORD && rng.u8(..4) == 0;
        if in_base64 {
            let pair = format!("{}{secret}{}", &"user:"[rng.usize(..6)..], &"\n--"[rng.usize(..4)..]);
            text = if rng.bool() { STANDARD.encode(pair) } else { URL_SAFE.encode(pair) };
        }
        let mut layers = Vec::new();
        let depth = rng.usize(..4);
        // Encoders are consistent: a deep nesting has in each layer either what must be encoded or everything.
        let eager = if depth < 3 { [0, 1, 4, 8] } else { [0, 0, 8, 8] };
        for _ in 0..depth {
            let layer = LAYERS[rng.usize(..LAYERS.len())];
            text = layer.encode(&text, eager[rng.usize(..4)], &mut rng);
            layers.push(layer);
        }
        let spelled = Layer::Json.encode(&text, [0, 1, 4, 8][rng.usize(..4)], &mut rng);
        let (before, behind) = (words[rng.usize(..words.len())], words[rng.usize(..words.len())]);
        let (head, tail) = match rng.u8(..4) {
            0 => (format!(r#"{{"message":"{before}"#), format!(r#"{behind}","n":1}}"#)),
            1 => (format!(r#"{{"data":{{"{before}"#), format!(r#"{behind}":null}}}}"#)),
            2 => (format!("[\"{before}"), format!("{behind}\"]")),
            _ => (format!("\"{before}"), format!("{behind}\"")),
        };
        let body = format!("{head}{spelled}{tail}");
        assert!(serde_json::from_str::<Value>(&body).is_ok(), "{body}");
        let clean = masked(&secret, &body);
        let read: String = resolved(body.as_bytes()).iter().filter_map(|c| char::from_u32(c.value)).collect();
        let context = format!("seed {seed}, {secret}, {layers:?}\n{body}\n{clean}\nresolved: {read}");

        let value: Value = serde_json::from_str(&clean).unwrap_or_else(|error| panic!("{error}: {context}"));
        let mut texts = vec![clean.clone()];
        strings(&value, &mut texts);
        let mut all = BTreeSet::new();
        texts.iter().for_each(|text| readings(text, 4, &mut all));
        for reading in all {
            assert!(!holds_word(&reading, &secret), "{context}\nread as {reading}");
        }
        // A backslash before the secret may belong to its spelling, and an ending may begin an escape.
        let head = head.trim_end_matches('\\');
        assert!(clean.starts_with(head) && clean.ends_with(&tail), "{context}");
        assert!(clean.contains("***") || secret.len() < WHOLE_WORD, "{context}");
    }
}
