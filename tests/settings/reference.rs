//! The reference, the examples and the JSON Schema say the same as the loader.

use std::collections::BTreeMap;
use std::path::Path;

use parlance::settings::{self, Credential, TokenStyle};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{files, load};

/// The reference with every key switched on.
fn uncommented() -> String {
    let lines = settings::REFERENCE.lines();
    lines
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.starts_with([' ', ':']) && !key.is_empty() => key,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Reads a configuration as a bare tree.
fn tree(text: &str, format: config::FileFormat) -> Value {
    let source = config::File::from_str(text, format);
    config::Config::builder().add_source(source).build().unwrap().try_deserialize().unwrap()
}

/// The files that the reference and the examples name, made in a directory of the test.
fn with_files(text: &str) -> (TempDir, String) {
    let (dir, _) = files(&[
        ("tls.crt", "-----BEGIN CERTIFICATE-----\n"),
        ("tls.key", "-----BEGIN PRIVATE KEY-----\n"),
        ("ca.crt", "-----BEGIN CERTIFICATE-----\n"),
        ("company-ca.pem", "-----BEGIN CERTIFICATE-----\n"),
    ]);
    for name in ["chatling", "sales", "support", "sms", "admin-token"] {
        std::fs::write(dir.path().join(name), "key-from-file\n").unwrap();
    }
    let here = format!("{}/", dir.path().display());
    let text = ["/etc/parlance/tls/", "/etc/parlance/", "/run/secrets/parlance/"]
        .iter()
        .fold(text.to_owned(), |text, place| text.replace(place, &here));
    (dir, text)
}

const KEYS: &[(&str, &str)] = &[
    ("KAKIYO_API_KEY", "k"),
    ("SIGMAMIND_API_KEY", "s"),
    ("CUADRA_SECRET", "c"),
    ("CUADRA_API_KEY", "c"),
    ("CUADRA_STAGING_API_KEY", "c"),
    ("PARLANCE_ADMIN_TOKEN", "a"),
    ("STORE_URL", "redis://:pa55@valkey:6379/0"),
];

#[test]
fn the_reference_is_valid_as_it_is_and_with_every_key_switched_on() {
    let settings = load(&[("parlance.toml", settings::REFERENCE)], KEYS).unwrap();
    assert_eq!(settings.upstreams.len(), 1);
    let (_dir, text) = with_files(&uncommented());
    let settings = load(&[("parlance.toml", &text)], KEYS).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!(settings.upstreams.len(), 5);
    assert_eq!((settings.routes.len(), settings.callers.len()), (1, 1));
    let Credential::OAuth2(oauth2) = &settings.upstreams["planning"].credential else { panic!("no OAuth") };
    assert_eq!((oauth2.style, oauth2.client_secret.initial().unwrap().expose()), (TokenStyle::Json, "c"));
}

/// Every key of the schema below `at`, names of upstreams as `*` and items of lists as `[]`, with its default.
fn schema_keys(root: &Value, at: &Value, path: &str, keys: &mut BTreeMap<String, Option<Value>>) {
    // Whether a secret is found by env, file or value is told once.
    if let Some(reference) = at["$ref"].as_str().filter(|to| !to.ends_with("/SecretSource")) {
        schema_keys(root, root.pointer(reference.trim_start_matches('#')).unwrap(), path, keys);
    }
    for variant in at["anyOf"].as_array().into_iter().flatten() {
        schema_keys(root, variant, path, keys);
    }
    for (name, member) in at["properties"].as_object().into_iter().flatten() {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        keys.insert(key.clone(), member.get("default").cloned());
        schema_keys(root, member, &key, keys);
    }
    if at["additionalProperties"].is_object() {
        schema_keys(root, &at["additionalProperties"], &format!("{path}.*"), keys);
    }
    if at["items"].is_object() {
        schema_keys(root, &at["items"], &format!("{path}[]"), keys);
    }
}

fn tree_keys(tree: &Value, path: &str, keys: &mut BTreeMap<String, Value>) {
    for (name, member) in tree.as_object().into_iter().flatten() {
        let name = if path == "upstreams" { "*" } else { name };
        let key = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        keys.insert(key.clone(), member.clone());
        tree_keys(member, &key, keys);
    }
    for item in tree.as_array().into_iter().flatten() {
        tree_keys(item, &format!("{path}[]"), keys);
    }
}

#[test]
fn the_reference_has_every_key_of_the_schema_with_its_default() {
    let schema: Value = serde_json::from_str(&settings::schema()).unwrap();
    let (mut known, mut shown) = (BTreeMap::new(), BTreeMap::new());
    schema_keys(&schema, &schema, "", &mut known);
    tree_keys(&tree(&uncommented(), config::FileFormat::Toml), "", &mut shown);
    known.remove("$schema");
    // The circuit of one upstream is written short; its keys stand under [defaults].
    let missing: Vec<&String> = known
        .keys()
        .filter(|key| !shown.contains_key(*key) && !key.starts_with("upstreams.*.circuit."))
        .collect();
    assert!(missing.is_empty(), "config/parlance.toml lacks {missing:?}");
    assert!(known.len() > 90, "the walk over the schema found only {}", known.len());
    let mut compared = 0;
    for (key, default) in &known {
        let default = default.as_ref().filter(|default| !default.is_object() && !default.is_array());
        if let Some(default) = default.filter(|_| !key.starts_with("upstreams")) {
            assert_eq!(&shown[key], default, "{key}");
            compared += 1;
        }
    }
    assert!(compared > 30, "{compared}");
}

#[test]
fn the_loader_fills_in_the_defaults_of_the_reference() {
    let reference = tree(&uncommented(), config::FileFormat::Toml);
    let least = "[upstreams.sales]\nvendor = \"kakiyo\"\ncredential = { value = \"k\" }\n";
    let shown = settings::redacted(&load(&[("parlance.toml", least)], &[]).unwrap());
    let mut compared = 0;
    for (at, given) in [
        ("/defaults", "/upstreams/sales"),
        ("/defaults/circuit", "/upstreams/sales/circuit"),
        ("/server", "/server"),
        ("/admin", "/admin"),
        ("/idempotency", "/idempotency"),
        ("/log", "/log"),
    ] {
        for (key, default) in reference.pointer(at).unwrap().as_object().unwrap() {
            // The reference shows an example where there is no default, or where it is the vendor's.
            let example = matches!(
                key.as_str(),
                "workers" | "tls" | "token" | "ca_file" | "rate_limit" | "retry_unknown" | "circuit"
            );
            if !example {
                let filled = shown.pointer(given).and_then(|table| table.get(key));
                assert_eq!(filled, Some(default), "{at}/{key}");
                compared += 1;
            }
        }
    }
    assert!(compared > 30, "{compared}");
}

#[test]
fn the_schema_file_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/parlance.schema.json");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == settings::schema(),
        "config/parlance.schema.json is old: parlance config-schema > config/parlance.schema.json"
    );
}

#[test]
fn examples_load_and_fit_the_schema() {
    let schema: Value = serde_json::from_str(&settings::schema()).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let mut seen = 0;
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let written = std::fs::read_to_string(&path).unwrap();
        let format = match path.extension().unwrap().to_str().unwrap() {
            "toml" => config::FileFormat::Toml,
            "yaml" => config::FileFormat::Yaml,
            _ => config::FileFormat::Json,
        };
        let (_dir, text) = with_files(&written);
        load(&[(&name, &text)], KEYS).unwrap_or_else(|faults| panic!("{name}: {faults:#?}"));
        let found: Vec<String> =
            validator.iter_errors(&tree(&written, format)).map(|e| e.to_string()).collect();
        assert!(found.is_empty(), "{name}: {found:?}");
        seen += 1;
    }
    assert!(seen >= 5);
    let reference = tree(&uncommented(), config::FileFormat::Toml);
    let found: Vec<String> = validator.iter_errors(&reference).map(|e| e.to_string()).collect();
    assert!(found.is_empty(), "{found:?}");
    // And it refuses what the loader refuses.
    for wrong in [
        json!({ "sever": {} }),
        json!({ "server": { "max_body": 5 } }),
        json!({ "server": { "max_body": "5MB" } }),
        json!({ "upstreams": { "a": { "vendor": "nobody", "credential": { "env": "A" } } } }),
        json!({ "upstreams": { "a": { "vendor": "kakiyo" } } }),
        json!({ "upstreams": { "a": { "vendor": "kakiyo", "credential": { "env": "A", "value": "b" } } } }),
        json!({ "upstreams": { "A": { "vendor": "kakiyo", "credential": { "env": "A" } } } }),
        json!({ "routes": [{ "upstream": "a" }] }),
        json!({ "callers": [{ "name": "a" }] }),
    ] {
        assert!(!validator.is_valid(&wrong), "{wrong}");
    }
}
