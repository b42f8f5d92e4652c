//! Secrets: shown nowhere.

use parlance::settings;
use proptest::prelude::*;
use serde_json::json;

use crate::support::{UPSTREAM, faults, files, load};

/// Secrets wherever one can stand, none of which may be seen anywhere.
const CANARY: &str = "c4n4ry";

fn with_canaries() -> String {
    format!(
        r#"
admin.token = {{ value = "{CANARY}-1" }}
idempotency.store = "redis://user:{CANARY}-2@valkey:6379/0"
[upstreams.a]
vendor = "cuadra"
base_url = "https://api.example.com"
credential.oauth2 = {{ token_url = "https://t.example/x", client_id = "c", client_secret = {{ value = "{CANARY}-3" }} }}
[upstreams.b]
vendor = "kakiyo"
credential = {{ value = "{CANARY}-4" }}
[upstreams.c]
vendor = "kakiyo"
credential = {{ env = "KEY" }}
[upstreams.d]
vendor = "kakiyo"
credential = {{ file = "FILE" }}
"#
    )
}

#[test]
fn no_secret_is_shown() {
    let (dir, _) = files(&[("key", &format!("{CANARY}-5"))]);
    let toml = with_canaries().replace("FILE", &dir.path().join("key").display().to_string());
    let settings = load(&[("p.toml", &toml)], &[("KEY", &format!("{CANARY}-6"))]).unwrap();
    for shown in
        [format!("{settings:?}"), format!("{settings:#?}"), settings::redacted(&settings).to_string()]
    {
        assert!(!shown.contains(CANARY), "{shown}");
    }
    let shown = settings::redacted(&settings);
    assert_eq!(shown["idempotency"]["store"], "redis://valkey:6379/0");
    assert_eq!(shown["admin"]["token"], "***");
    assert_eq!(shown["upstreams"]["b"]["credential"], json!({ "value": "***" }));
    assert_eq!(shown["upstreams"]["c"]["credential"], json!({ "env": "KEY", "value": "***" }));
}

#[test]
fn no_fault_shows_a_secret() {
    let up = "[upstreams.a]\nvendor = \"kakiyo\"\n";
    for toml in [
        format!("{up}credential = \"{CANARY}\"\n"),
        format!("{up}credential = {CANARY}\n"),
        format!("{up}credential = [\"{CANARY}\"]\n"),
        format!("{up}credential = {{ value = [\"{CANARY}\"] }}\n"),
        format!("{up}credential = {{ value = \"{CANARY} \" }}\n"),
        format!("{up}credential = {{ env = \"{CANARY}\" }}\n"),
        format!("{up}credential = {{ file = \"{CANARY}\" }}\n"),
        format!("{up}credential = {{ value = \"{CANARY}\", env = \"A\" }}\n"),
        format!("{up}credential = {{ value = \"{CANARY}\" \n"),
        format!("{up}credential.oauth2 = \"{CANARY}\"\n"),
        format!("{up}credential.oauth2 = {{ client_secret = \"{CANARY}\" }}\n"),
        format!("{up}credential.oauth2 = {{ client_secret = {{ value = \"{CANARY}\\n\" }} }}\n"),
        format!("{up}credential.oauth2 = {{ token_url = \"https://u:{CANARY}@h/\" }}\n"),
        format!("{up}base_url = \"https://u:{CANARY}@h/\"\n"),
        format!("{up}base_url = \"https://{CANARY} x\"\n"),
        format!("{UPSTREAM}[idempotency]\nstore = \"mysql://u:{CANARY}@h/\"\n"),
        format!("{UPSTREAM}[idempotency]\nstore = [\"{CANARY}\"]\n"),
        format!("{UPSTREAM}[admin]\ntoken = \"{CANARY}\"\n"),
        format!("{UPSTREAM}[[callers]]\nname = \"a\"\nkey_sha256 = \"{CANARY}\"\n"),
        format!("{UPSTREAM}[[callers]]\nname = \"a\"\nkey_sha256 = [\"{CANARY}\"]\n"),
    ] {
        let found = faults(&[("p.toml", &toml)], &[]);
        assert!(!found.is_empty(), "{toml}");
        assert!(!found.concat().contains(CANARY), "{found:#?}");
    }
    for yaml in [
        format!("a: {CANARY}: b\n"),
        format!("a: [{CANARY}\n"),
        format!("{CANARY}\n"),
        format!("\"{CANARY}\n"),
    ] {
        let found = faults(&[("p.yaml", &yaml)], &[]);
        assert!(!found.is_empty() && !found.concat().contains(CANARY), "{found:#?}");
    }
    let found = faults(&[("p.toml", UPSTREAM)], &[("PARLANCE__UPSTREAMS__SALES__CREDENTIAL", CANARY)]);
    assert!(!found.is_empty() && !found.concat().contains(CANARY), "{found:#?}");
}

/// The parser repeats a value before the words ", expected …": a value that holds them must not pass for the rest.
#[test]
fn a_misplaced_secret_with_the_parsers_own_words_is_not_shown() {
    for key in ["http2", "max_in_flight"] {
        let found = faults(&[("p.toml", &format!("{UPSTREAM}{key} = \"x, expected {CANARY}\"\n"))], &[]);
        assert!(!found.is_empty(), "{key}");
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(!shown.join("").contains(CANARY), "{key}: {shown:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_broken_line_never_shows_a_secret(line in 0..16_usize, with in "[a-z\\[\\]{}=\"'. 0-9]{0,12}") {
        let toml = with_canaries();
        let broken: Vec<String> = toml
            .lines()
            .enumerate()
            .map(|(index, text)| if index == line { format!("{with}{text}") } else { text.to_owned() })
            .collect();
        let found = faults(&[("p.toml", &broken.join("\n"))], &[]);
        prop_assert!(!found.is_empty());
        prop_assert!(!found.concat().contains(CANARY), "{:#?}", found);
    }
}
