//! Vendors that echo the credential, in every spelling that an encoder has, in every part of an answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use parlance_adapters::{ALL, Spec};
use serde_json::Value;
use testkit::{Reply, Request, is_long, record};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use super::peer::{Peer, read_request};
use super::rig::{self, Rig};
use super::secrecy::{search_logs_for, searched};

const SECRETS: [&str; 8] = [
    "sk_live_4f/9aB+cD/Ef==",
    "ab/cd+ef=gh12",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.4f-9aB_cDEfGhIjKl",
    "9f86d081884c7d659a2feaa0c55ad015",
    "pa\"ss\\word%&<1>",
    "20240917123456",
    "a+b/c=1",
    "550e8400-e29b-41d4-a716-446655440000",
];

const STATUSES: [u16; 7] = [200, 400, 401, 403, 422, 429, 500];

/// Spells a secret for the inside of a JSON string.
type Encoder = fn(&str) -> String;

const ENCODERS: [(&str, Encoder); 18] = [
    ("plain", json),
    ("slashes", |key| json(key).replace('/', "\\/")),
    ("html-safe", |key| escape(key, "+/=&<>'\"-", |c| format!("\\u{:04X}", c as u32))),
    ("unicode", |key| key.chars().map(|c| format!("\\u{:04x}", c as u32)).collect()),
    ("within a string", |key| json(&json(key).replace('/', "\\/"))),
    ("twice within a string", |key| json(&json(&escape(key, "+/=\"\\", |c| format!("\\u{:04x}", c as u32))))),
    ("percent", |key| json(&percent(key))),
    ("percent twice", |key| json(&percent(&percent(key)))),
    ("percent, lower case", |key| json(&percent(key).to_lowercase().replace(&key.to_lowercase(), key))),
    ("percent, escaped", |key| json(&percent(key)).replace('%', "\\u0025")),
    ("every byte in percent", |key| key.bytes().map(|byte| format!("%{byte:02X}")).collect()),
    ("html", |key| json(&html(key))),
    ("html twice, escaped", |key| json(&html(&html(key))).replace('&', "\\u0026")),
    ("base64", |key| json(&STANDARD.encode(format!("user:{key}"))).replace('/', "\\/")),
    ("base64, safe", |key| URL_SAFE_NO_PAD.encode(format!("Bearer {key}"))),
    ("base64, escaped", |key| percent(&STANDARD.encode(key))),
    ("hexadecimal", |key| key.bytes().map(|byte| format!("{byte:02x}")).collect()),
    ("hexadecimal, upper case", |key| key.bytes().map(|byte| format!("{byte:02X}")).collect()),
];

fn json(text: &str) -> String {
    serde_json::to_string(text).unwrap().trim_matches('"').to_owned()
}

/// A JSON string in which these signs are escaped otherwise.
fn escape(text: &str, signs: &str, escaped: fn(char) -> String) -> String {
    text.chars()
        .map(|c| if signs.contains(c) || "\"\\".contains(c) { escaped(c) } else { c.to_string() })
        .collect()
}

fn percent(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn html(text: &str) -> String {
    let encoded = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '"' => "&quot;".to_owned(),
        '<' => "&lt;".to_owned(),
        '+' | '/' | '=' | '>' => format!("&#{};", c as u32),
        '%' | '\\' => format!("&#x{:x};", c as u32),
        _ => c.to_string(),
    };
    text.chars().map(encoded).collect()
}

/// The answer number `n` of a vendor that shows the secret wherever it can.
fn answer(secret: &str, n: usize) -> String {
    // In base64 a short one would be found by chance.
    let encoders = if secret.len() < 8 { 13 } else { ENCODERS.len() };
    let spelled = ENCODERS[n % ENCODERS.len() % encoders].1(secret);
    let status = STATUSES[n / ENCODERS.len() % STATUSES.len()];
    let ids: String = ALL.iter().map(|adapter| format!("\"{0}\",", adapter.spec().example.id)).collect();
    let (kind, body) = match (status, n % 4) {
        (200, _) => (
            "application/json",
            format!(
                "{{\"data\":{{\"note\":\"a {spelled}\",\"{spelled}\":[{{\"{spelled} b\":\"{spelled}\"}}]}},\"ids\":[{ids}1],\
                 \"note\":\"{spelled} \\n\\\"quoted\\\"\",\"no {spelled}\":null,\"text\":\"{{\\\"{}\\\":1}}\"}}",
                json(&spelled)
            ),
        ),
        (401 | 500, 1) => ("text/plain", format!("refused: {spelled}")),
        (_, 2) => (
            "application/json",
            format!("\u{feff}{{\"error\":{{\"code\":\"{spelled}\",\"message\":\"{spelled}\"}}}}"),
        ),
        (_, 3) => ("application/json", format!("{{\"detail\":\"key {spelled}\",\"error\":\"{spelled}\"")),
        _ => (
            "application/json",
            format!(
                "{{\"message\":\"the key {spelled} is wrong\",\"code\":\"{spelled}\",\"errors\":[{{\"field\":\"title\",\"message\":\
                 \"{spelled}\"}},{{\"loc\":[\"body\",\"metadata\",\"{spelled}\"],\"msg\":\"no {spelled}\"}}],\"details\":\
                 {{\"{spelled}\":[\"{spelled}\"]}}}}"
            ),
        ),
    };
    let header = percent(secret);
    format!(
        "HTTP/1.1 {status} Told\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nx-request-id: {secret}\r\nretry-after: {secret}\r\n\
         www-authenticate: Bearer {secret}\r\nlocation: /{header}\r\n\r\n{body}",
        body.len()
    )
}

/// The text with each escape, percent-encoding and reference in it resolved once.
fn resolved(text: &str) -> String {
    let number =
        |digits: Option<&str>, radix| u32::from_str_radix(digits?, radix).ok().and_then(char::from_u32);
    let mut resolved = String::new();
    let mut rest = text;
    while let Some(leader) = rest.chars().next() {
        rest = &rest[leader.len_utf8()..];
        let found = match leader {
            '\\' if rest.starts_with('u') => number(rest.get(1..5), 16).map(|c| (c, 5)),
            '\\' => rest.chars().next().map(|c| (c, c.len_utf8())),
            '%' => number(rest.get(..2), 16).map(|c| (c, 2)),
            '&' => rest.find(';').and_then(|end| {
                let c = match rest[..end].strip_prefix('#') {
                    Some(code) => code
                        .strip_prefix('x')
                        .map_or_else(|| number(Some(code), 10), |hex| number(Some(hex), 16)),
                    None => ["amp", "quot", "lt"]
                        .iter()
                        .position(|name| *name == &rest[..end])
                        .map(|at| ['&', '"', '<'][at]),
                };
                c.map(|c| (c, end + 1))
            }),
            _ => None,
        };
        let (c, length) = found.unwrap_or((leader, 0));
        resolved.push(c);
        rest = &rest[length..];
    }
    resolved
}

/// Everything that a reader can make of a text, with the words decoded as base64 and hexadecimal digits.
fn readings(text: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut text = text.to_owned();
    while all.insert(text.clone()) {
        let is_sign = |c: char| !(c.is_ascii_alphanumeric() || "+/-_=".contains(c));
        for token in text.split(is_sign).filter(|token| token.len() >= 8) {
            for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
                all.extend(
                    engine.decode(token).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
                );
            }
            let bytes = token
                .as_bytes()
                .chunks(2)
                .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
            all.extend(
                bytes.collect::<Option<Vec<u8>>>().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            );
        }
        text = resolved(&text);
    }
    all
}

fn strings(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, into)),
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            into.push(name.clone());
            strings(value, into);
        }),
        _ => {}
    }
}

fn leaks(reply: &Reply, secret: &str) -> bool {
    let mut texts = vec![reply.text().to_owned()];
    texts.extend(reply.headers.iter().map(|(_, value)| value.clone()));
    strings(&reply.json(), &mut texts);
    texts.iter().any(|text| readings(text).iter().any(|reading| reading.contains(secret)))
}

/// Sends an update twice with one key. Tells the status, the answer that shows the secret, and whether one is masked.
async fn tell(
    rig: Arc<Rig>,
    upstream: String,
    spec: &'static Spec,
    n: usize,
    secret: &'static str,
) -> (u16, Option<String>, bool) {
    let request = Request::patch(&rig::id(&upstream, spec), spec.example.patch);
    let key = format!("{upstream}-{n}");
    let request = request.header("Idempotency-Key", &key);
    let (first, again) = (rig.send(&request).await, rig.send(&request).await);
    let leaked = [&first, &again].into_iter().find(|reply| leaks(reply, secret));
    (first.status, leaked.map(|reply| format!("{secret}: {}", reply.text())), first.text().contains("***"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_spelling_of_a_credential_comes_back() {
    let rounds =
        if is_long() { 2 * ENCODERS.len() * STATUSES.len() } else { ENCODERS.len() * STATUSES.len() / 5 };
    search_logs_for(SECRETS.iter().filter(|secret| secret.len() >= 8).map(|secret| (*secret).to_owned()));
    let mut toml = String::new();
    let mut peers = Vec::new();
    for (number, secret) in SECRETS.into_iter().enumerate() {
        let count = Arc::new(AtomicUsize::new(number));
        let peer = Peer::new(move |mut tcp, _| {
            let count = Arc::clone(&count);
            async move {
                while read_request(&mut tcp).await.is_some() {
                    // A step that has no factor in common with the tables passes through all of both.
                    let text = answer(secret, count.fetch_add(if is_long() { 1 } else { 5 }, Relaxed));
                    if tcp.write_all(text.as_bytes()).await.is_err() {
                        break;
                    }
                }
            }
        })
        .await;
        for spec in ALL.iter().map(|adapter| adapter.spec()) {
            let quoted = secret.replace('\\', "\\\\").replace('"', "\\\"");
            let name = format!("{}{number}", spec.vendor);
            toml.push_str(&rig::upstream(&name, spec.vendor, &peer.url(), &quoted, "max_in_flight = 64"));
        }
        peers.push(peer);
    }
    let rig = Arc::new(Rig::new(&toml).await);
    let (mut all, mut leaked) = (0, Vec::new());
    let mut masked = BTreeSet::new();
    for n in 0..rounds {
        let mut updates = JoinSet::new();
        for (number, secret) in SECRETS.into_iter().enumerate() {
            for spec in ALL.iter().map(|adapter| adapter.spec()) {
                updates.spawn(tell(Arc::clone(&rig), format!("{}{number}", spec.vendor), spec, n, secret));
            }
        }
        for (status, is_leaked, is_masked) in updates.join_all().await {
            all += 1;
            leaked.extend(is_leaked);
            masked.extend(is_masked.then_some(status));
        }
    }
    let (lines, in_logs) = searched();
    record("credential spellings leaked", leaked.len() + in_logs, all);
    assert!(leaked.is_empty(), "{} of {all}:\n{}", leaked.len(), leaked.join("\n"));
    assert!(lines > 0 && in_logs == 0, "{in_logs} of {lines} lines");
    for status in [200, 403, 422, 502] {
        assert!(masked.contains(&status), "no answer {status} was masked: {masked:?}");
    }
}
