//! The configuration: what it accepts, what it says about what it does not, and what it never shows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parlance::settings::{self, Credential, Diagnostic, OnStoreFailure, Settings, Store, TokenStyle};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

type Env = BTreeMap<String, String>;

fn env(pairs: &[(&str, &str)]) -> Env {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A directory with files in it.
fn files(contents: &[(&str, &str)]) -> (TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let paths = contents
        .iter()
        .map(|(name, content)| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        })
        .collect();
    (dir, paths)
}

fn load(contents: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<Settings, Vec<Diagnostic>> {
    let (_dir, paths) = files(contents);
    settings::load(&paths, &env(variables))
}

fn good(toml: &str) -> Settings {
    load(&[("parlance.toml", toml)], &[]).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

/// The faults as they are shown, without the directory of the file.
fn faults(contents: &[(&str, &str)], variables: &[(&str, &str)]) -> Vec<String> {
    let (dir, paths) = files(contents);
    let directory = format!("{}/", dir.path().display());
    match settings::load(&paths, &env(variables)) {
        Ok(_) => Vec::new(),
        Err(found) => found.iter().map(|fault| fault.to_string().replace(&directory, "")).collect(),
    }
}

/// One upstream without a fault, for tests of everything else.
const UPSTREAM: &str = "[upstreams.sales]\nvendor = \"kakiyo\"\ncredential = { value = \"k\" }\n";

#[test]
fn the_words_of_faults() {
    // Each stands in front of or behind one good upstream, which takes three lines.
    let cases: &[(&str, &[&str])] = &[
        // Types, strictly.
        ("default_upstream = 5\n", &["parlance.toml:1:1: default_upstream: is a whole number, but text in quotes is expected"]),
        ("[server]\nmax_connections = \"12\"\n", &["parlance.toml:5:1: server.max_connections: is text, but a whole number without quotes is expected"]),
        ("[server]\nmax_connections = 1.9\n", &["parlance.toml:5:1: server.max_connections: is a fraction, but a whole number without quotes is expected"]),
        ("[server]\nmax_connections = -1\n", &["parlance.toml:5:1: server.max_connections: must be a whole number, 0 or more"]),
        ("[log]\naccess = \"on\"\n", &["parlance.toml:5:1: log.access: is text, but true or false without quotes is expected"]),
        ("[server]\nheader_timeout = 5\n", &["parlance.toml:5:1: server.header_timeout: is a whole number, but a duration such as \"250ms\", \"2s\", \"5m\" or \"24h\" is expected"]),
        ("[server]\nheader_timeout = \"5 s\"\n", &["parlance.toml:5:1: server.header_timeout: \"5 s\" is not a duration such as \"250ms\", \"2s\", \"5m\" or \"24h\""]),
        ("[server]\nmax_body = \"1MB\"\n", &["parlance.toml:5:1: server.max_body: \"1MB\" is not a size such as \"512B\", \"256KiB\", \"8MiB\" or \"1GiB\""]),
        ("routes = \"sales\"\n", &["parlance.toml:1:1: routes: is text, but a list is expected"]),
        ("server = 5\n", &["parlance.toml:1:1: server: is a whole number, but a table is expected"]),
        ("[idempotency]\non_store_failure = \"ignore\"\n", &["parlance.toml:5:1: idempotency.on_store_failure: must be one of: refuse, proceed"]),
        ("[defaults]\nrate_limit = \"fast\"\n", &["parlance.toml:5:1: defaults.rate_limit: \"fast\" is not a rate such as \"300/60s\", or \"off\""]),
        // Unknown keys.
        ("[server]\nlisten_on = \"127.0.0.1:80\"\n", &["parlance.toml:5:1: server.listen_on: is no known key; did you mean 'listen'?"]),
        ("[sever]\nlisten = \"127.0.0.1:80\"\n", &["parlance.toml:4:2: sever: is no known key; did you mean 'server'?"]),
        ("[log]\nformat = \"json\"\n", &["parlance.toml:5:1: log.format: is no known key; known: access, level"]),
        ("[upstreams.a]\nvendor = \"chatling\"\ncredential = { value = \"k\" }\nchatbotid = \"1\"\n", &["parlance.toml:7:1: upstreams.a.chatbotid: is no known key; did you mean 'chatbot_id'?"]),
        ("\"server.listen\" = \"127.0.0.1:80\"\n", &["parlance.toml:1:1: server.listen: is no known key: dots and brackets cannot stand in a key here, use a table"]),
        // Ranges.
        ("[server]\nheader_timeout = \"0s\"\n", &["parlance.toml:5:1: server.header_timeout: must be longer than nothing"]),
        ("[server]\nmax_body = \"0B\"\n", &["parlance.toml:5:1: server.max_body: must be at least 1B"]),
        ("[server]\nmax_body = \"1GiB\"\n", &["parlance.toml:5:1: server.max_body: is 1GiB, but at most 64MiB is allowed"]),
        ("[defaults]\ntimeout = \"2h\"\n", &["parlance.toml:5:1: defaults.timeout: is 2h, but at most 1h is allowed"]),
        ("[defaults]\nmax_attempts = 0\n", &["parlance.toml:5:1: defaults.max_attempts: is 0, but must be from 1 to 10"]),
        ("[defaults.circuit]\nsuccess_rate = 1.5\n", &["parlance.toml:5:1: defaults.circuit.success_rate: must be from 0.0 to 1.0"]),
        ("[defaults.circuit]\nopen_for = \"1m\"\nopen_for_max = \"2s\"\n", &["parlance.toml:5:1: defaults.circuit.open_for: is 1m, longer than open_for_max (2s)"]),
        ("[defaults]\nconnect_timeout = \"5s\"\ntimeout = \"2s\"\n", &["parlance.toml:5:1: defaults.connect_timeout: is 5s, longer than timeout (2s), which covers connecting too"]),
        ("[idempotency]\nlease = \"9s\"\n", &["parlance.toml:5:1: idempotency.lease: is 9s, but must be longer than the longest timeout of an upstream (10s), else a request that still runs could be done twice"]),
        ("[log]\nlevel = \"inof\"\n", &["parlance.toml:5:1: log.level: 'inof' is no level; did you mean 'info'?"]),
        // Listeners.
        ("[server]\nlisten = \"localhost\"\n", &["parlance.toml:5:1: server.listen: 'localhost' is no address and port such as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080"]),
        ("[server]\nlisten = \"0.0.0.0:8080\"\n", &["parlance.toml:5:1: server.listen: 0.0.0.0:8080 can be reached from other machines, so callers must be known: add [[callers]] or server.tls.client_ca, or listen on 127.0.0.1"]),
        ("[admin]\nlisten = \"0.0.0.0:8080\"\n", &["parlance.toml:5:1: admin.listen: 0.0.0.0:8080 is taken by server.listen (127.0.0.1:8080): choose another port"]),
        ("[server.tls]\ncertificate = \"/nowhere/tls.crt\"\n", &[
            "parlance.toml:4:9: server.tls.key: is missing: the file, in PEM",
            "parlance.toml:5:1: server.tls.certificate: the file /nowhere/tls.crt cannot be read (no such file or directory)",
        ]),
        ("[admin]\ntoken = \"t0ps3cret\"\n", &["parlance.toml:5:1: admin.token: is text, but a table with one of env, file and value, such as { env = \"CLIENT_SECRET\" } is expected"]),
        // Upstreams.
        ("[upstreams.a]\nvendor = \"kakyo\"\ncredential = { value = \"k\" }\n", &["parlance.toml:5:1: upstreams.a.vendor: 'kakyo' is no known vendor; did you mean 'kakiyo'?"]),
        ("[upstreams.a]\ncredential = { value = \"k\" }\n", &["parlance.toml:4:12: upstreams.a.vendor: is missing; known: kakiyo, chatling, sigmamind, cuadra, agentphone"]),
        ("[upstreams.a]\nvendor = \"kakiyo\"\n", &["parlance.toml:4:12: upstreams.a.credential: is missing: such as { env = \"SALES_API_KEY\" } or { file = \"/run/secrets/sales\" }"]),
        ("[upstreams.A]\nvendor = \"kakiyo\"\ncredential = { value = \"k\" }\n", &["parlance.toml:4:12: upstreams.A: is no name of an upstream: 1 to 64 lower-case letters, digits, '_' and '-', a letter or digit first"]),
        ("[upstreams.a]\nvendor = \"kakiyo\"\ncredential = \"hunter2\"\n", &["parlance.toml:6:1: upstreams.a.credential: is text, but a table with one of env, file, value and oauth2, such as { env = \"SALES_API_KEY\" } is expected"]),
        ("[upstreams.a]\nvendor = \"kakiyo\"\ncredential = {}\n", &["parlance.toml:6:1: upstreams.a.credential: must have one of env, file, value and oauth2, such as { env = \"SALES_API_KEY\" } or { file = \"/run/secrets/sales\" }"]),
        ("[upstreams.a]\nvendor = \"kakiyo\"\ncredential = { env = \"A\", value = \"b\" }\n", &["parlance.toml:6:1: upstreams.a.credential: must have exactly one of env, file, value and oauth2"]),
        ("[upstreams.a]\nvendor = \"kakiyo\"\ncredential = { env = \"NO_SUCH\" }\n", &["parlance.toml:6:16: upstreams.a.credential.env: the environment variable NO_SUCH is not set or empty"]),
        ("[upstreams.a]\nvendor = \"kakiyo\"\ncredential = { env = \"SPACED\" }\n", &["parlance.toml:6:16: upstreams.a.credential.env: the value of the environment variable SPACED holds a blank, a line break or another character that no header can carry (character 8 of 9)"]),
        ("[upstreams.a]\nvendor = \"kakiyo\"\ncredential = { file = \"/nowhere/key\" }\n", &["parlance.toml:6:16: upstreams.a.credential.file: the file /nowhere/key cannot be read (no such file or directory)"]),
        ("[upstreams.a]\nvendor = \"kakiyo\"\ncredential = { value = \"\" }\n", &["parlance.toml:6:16: upstreams.a.credential.value: is empty"]),
        ("[upstreams.a]\nvendor = \"sigmamind\"\ncredential.oauth2 = { token_url = \"https://t.example/x\", client_id = \"c\", client_secret = { value = \"s\" } }\n", &["parlance.toml:6:12: upstreams.a.credential.oauth2: cannot be used: sigmamind takes a key in x-api-key, no token"]),
        ("[upstreams.a]\nvendor = \"cuadra\"\ncredential.oauth2 = { token_url = \"http://t.example/x\" }\n", &[
            "parlance.toml:6:12: upstreams.a.credential.oauth2.client_id: is missing",
            "parlance.toml:6:12: upstreams.a.credential.oauth2.client_secret: is missing: such as { env = \"SALES_API_KEY\" } or { file = \"/run/secrets/sales\" }",
            "parlance.toml:6:23: upstreams.a.credential.oauth2.token_url: sends the credential to t.example over plain http, where it can be read on the way: use https, or set allow_plain_http = true",
        ]),
        ("[upstreams.a]\nvendor = \"kakiyo\"\nbase_url = \"http://api.example.com\"\ncredential = { value = \"k\" }\n", &["parlance.toml:6:1: upstreams.a.base_url: sends the credential to api.example.com over plain http, where it can be read on the way: use https, or set allow_plain_http = true"]),
        ("[upstreams.a]\nvendor = \"kakiyo\"\nbase_url = \"https://user:pa55@api.example.com\"\ncredential = { value = \"k\" }\n", &["parlance.toml:6:1: upstreams.a.base_url: must not contain a user name or password"]),
        ("[upstreams.a]\nvendor = \"kakiyo\"\nbase_url = \"https://api.example.com/?x=1\"\ncredential = { value = \"k\" }\n", &["parlance.toml:6:1: upstreams.a.base_url: must not have a query or a fragment"]),
        ("[upstreams.a]\nvendor = \"kakiyo\"\nbase_url = \"ftp://api.example.com\"\ncredential = { value = \"k\" }\n", &["parlance.toml:6:1: upstreams.a.base_url: has the scheme 'ftp', but only http and https are known"]),
        ("[upstreams.a]\nvendor = \"kakiyo\"\nchatbot_id = \"1\"\ncredential = { value = \"k\" }\n", &["parlance.toml:6:1: upstreams.a.chatbot_id: is a setting of chatling only, not of kakiyo"]),
        ("[upstreams.a]\nvendor = \"chatling\"\nchatbot_id = 976\ncredential = { value = \"k\" }\n", &["parlance.toml:6:1: upstreams.a.chatbot_id: must be text in quotes, so that no digit of it is lost"]),
        ("[upstreams.a]\nvendor = \"chatling\"\nchatbot_id = \"..\"\ncredential = { value = \"k\" }\n", &["parlance.toml:6:1: upstreams.a.chatbot_id: must be an id that can stand in a path: 1 to 512 bytes, not '.' or '..'"]),
        // References.
        ("default_upstream = \"salse\"\n", &["parlance.toml:1:1: default_upstream: 'salse' is no upstream; did you mean 'sales'?"]),
        ("[[routes]]\nid = \"x\"\nupstream = \"nowhere\"\n", &["parlance.toml:6:1: routes[0].upstream: 'nowhere' is no upstream; known: sales"]),
        ("[[routes]]\nupstream = \"sales\"\n", &["parlance.toml:4:1: routes[0]: names neither id nor headers and would match every conversation; for those that no rule matches there is default_upstream"]),
        ("[[routes]]\nid = \"sales:*\"\nupstream = \"sales\"\n", &["parlance.toml:5:1: routes[0].id: never matches: ids that begin with 'sales:' go to that upstream without any rule"]),
        ("[[routes]]\nheaders = { \"x y\" = \"1\" }\nupstream = \"sales\"\n", &["parlance.toml:5:13: routes[0].headers.x y: 'x y' is no name of a header"]),
        ("[[routes]]\nid = \"x\"\n", &["parlance.toml:4:1: routes[0].upstream: is missing: where conversations go that match this rule"]),
        // Callers.
        ("[[callers]]\nname = \"crm\"\n", &["parlance.toml:4:1: callers[0]: needs key_sha256 (printf %s \"$KEY\" | sha256sum) or certificate_names"]),
        ("[[callers]]\nname = \"crm\"\nkey_sha256 = \"my-plain-key\"\n", &["parlance.toml:6:1: callers[0].key_sha256: must be 64 hexadecimal digits: printf %s \"$KEY\" | sha256sum"]),
        ("[[callers]]\nname = \"crm\"\nkey_sha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\n", &["parlance.toml:6:1: callers[0].key_sha256: is the hash of an empty key: the variable was not set when it was made"]),
        ("[[callers]]\nname = \"crm\"\ncertificate_names = [\"crm\"]\n", &["parlance.toml:6:1: callers[0].certificate_names: needs server.tls.client_ca, without which no certificate is asked for"]),
        // The store.
        ("[idempotency]\nstore = \"postgres://u:pa55@h/db\"\n", &["parlance.toml:5:1: idempotency.store: must be \"memory\" or the URL of a Valkey or Redis such as redis://host:6379/0 or, with TLS, rediss://host:6379/0"]),
    ];
    for (toml, expected) in cases {
        // A key of the root must come first, a table may come last.
        let text = if toml.starts_with('[') { format!("{UPSTREAM}{toml}") } else { format!("{toml}{UPSTREAM}") };
        assert_eq!(faults(&[("parlance.toml", &text)], &[("SPACED", "hunter2 x")]), *expected, "{text}");
    }
}

#[test]
fn faults_that_are_no_keys() {
    assert_eq!(
        faults(&[], &[]),
        [
            "there is no configuration: name a file, as in 'parlance --config parlance.toml', or try 'parlance demo', \
          which needs none"
        ]
    );
    assert_eq!(
        faults(&[("parlance.toml", "")], &[]),
        [
            "parlance.toml: upstreams: there is none: add a table [upstreams.<name>] with vendor (kakiyo, chatling, \
          sigmamind, cuadra, agentphone) and credential, or try 'parlance demo', which needs none"
        ]
    );
    let named = "has a name that does not tell its format: it must end in .toml, .yaml, .yml or .json";
    assert_eq!(faults(&[("parlance.ini", "")], &[]), [format!("parlance.ini: {named}")]);
    assert_eq!(
        settings::load(&["nowhere.toml".into()], &Env::new()).unwrap_err().first().unwrap().to_string(),
        "nowhere.toml: cannot be read (no such file or directory)"
    );
    for (file, text, expected) in [
        ("p.toml", "a = \n", "p.toml:1:5: is not valid TOML: "),
        ("p.json", "{\"a\": 1,}", "p.json:1:9: is not valid JSON: "),
        ("p.json", "{\"log\": {}, \"log\": {}}", "p.json:1:13: is not valid JSON: a member is given twice"),
        ("p.json", "[]", "p.json: cannot be used: "),
        ("p.yaml", "a: [\n", "p.yaml:2:1: is not valid YAML: "),
        ("p.yaml", "log: {}\nlog: {}\n", "p.yaml:2:1: is not valid here: the key 'log' is given twice"),
    ] {
        let found = faults(&[(file, text)], &[]);
        assert!(found.first().is_some_and(|fault| fault.starts_with(expected)), "{found:?}");
    }
    let large = format!("#{}\n", "x".repeat(1024 * 1024));
    assert_eq!(faults(&[("p.toml", &large)], &[]), ["p.toml: is larger than 1024 KiB"]);
}

#[test]
fn a_file_with_ten_faults_reports_ten() {
    let toml = r#"
default_upstream = "nobody"
[server]
listen = "here"
max_body = 5
colour = "red"
[defaults]
timeout = "soon"
[upstreams.sales]
vendor = "kakyo"
credential = { env = "NO_SUCH" }
base_url = "http://api.example.com"
[upstreams.sms]
vendor = "agentphone"
credential = 12345
[[routes]]
id = 7
upstream = "sms"
[[routes]]
id = "b"
upstream = "smss"
[log]
access = "yes"
"#;
    let found = faults(&[("parlance.toml", toml)], &[]);
    let lines: Vec<&str> = found.iter().map(|fault| fault.split(':').nth(1).unwrap()).collect();
    assert_eq!(lines, ["2", "4", "5", "6", "8", "10", "11", "12", "15", "17", "21", "23"], "{found:#?}");
    assert!(!found.concat().contains("12345"));
}

#[test]
fn what_follows_from_a_fault_is_no_second_one() {
    // The route's upstream exists, although it cannot be used; the list of callers is there, although one is wrong.
    let toml = "server.listen = \"0.0.0.0:80\"\nupstreams.sms = 5\n[[routes]]\nid = \"a\"\nupstream = \"sms\"\n[[callers]]\nname = \"a\"\nkey_sha256 = 5\n";
    assert_eq!(
        faults(&[("p.toml", &format!("{toml}{UPSTREAM}"))], &[]),
        [
            "p.toml:2:11: upstreams.sms: is a whole number, but a table with vendor and credential is expected",
            "p.toml:8:1: callers[0].key_sha256: is a whole number, but 64 hexadecimal digits in quotes, or a list of two such texts is expected",
        ]
    );
    // Items of lists keep their index.
    let toml = format!("routes = [1, {{ id = \"a\", upstream = \"nowhere\" }}]\n{UPSTREAM}[[callers]]\nname = \"c\"\nkey_sha256 = \"{HASH}\"\nupstreams = [1, \"nobody\"]\n");
    assert_eq!(
        faults(&[("p.toml", &toml)], &[]),
        [
            "p.toml:1:11: routes[0]: is a whole number, but a table with id or headers, and upstream is expected",
            "p.toml:1:28: routes[1].upstream: 'nowhere' is no upstream; known: sales",
            "p.toml:8:14: callers[0].upstreams[0]: is a whole number, but text in quotes is expected",
            "p.toml:8:17: callers[0].upstreams[1]: 'nobody' is no upstream; known: sales",
        ]
    );
}

const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn callers_must_be_told_apart() {
    let toml = format!(
        "{UPSTREAM}[[callers]]\nname = \"a\"\nkey_sha256 = \"{HASH}\"\n[[callers]]\nname = \"a\"\nkey_sha256 = [\"{}\"]\n",
        HASH.to_uppercase()
    );
    assert_eq!(
        faults(&[("p.toml", &toml)], &[]),
        [
            "p.toml:8:1: callers[1].name: is the same as callers[0].name: callers could not be told apart",
            "p.toml:9:15: callers[1].key_sha256[0]: is the same key as callers[0].key_sha256: callers could not be told apart",
        ]
    );
}

#[test]
fn the_environment_comes_last() {
    let settings = load(
        &[("parlance.toml", &format!("{UPSTREAM}[server]\nmax_connections = 5\n"))],
        &[
            ("PARLANCE__SERVER__MAX_CONNECTIONS", "7"),
            ("PARLANCE__LOG__ACCESS", "false"),
            ("PARLANCE__LOG__LEVEL", ""),
            ("PARLANCE__DEFAULTS__CIRCUIT__SUCCESS_RATE", "0.25"),
            ("PARLANCE__UPSTREAMS__SALES__BASE_URL", "http://127.0.0.1:9"),
            ("PARLANCE__UPSTREAMS__BOT__VENDOR", "chatling"),
            ("PARLANCE__UPSTREAMS__BOT__CHATBOT_ID", "0123"),
            ("PARLANCE__UPSTREAMS__BOT__CREDENTIAL__ENV", "BOT"),
            ("PARLANCE_PORT", "tcp://10.0.0.1:80"),
            ("PARLANCE_SERVER__LISTEN", "ignored"),
            ("BOT", "bot-key"),
        ],
    )
    .unwrap();
    assert_eq!(settings.server.max_connections, 7);
    assert!(!settings.log.access);
    assert_eq!(settings.log.level, "info");
    let sales = &settings.upstreams["sales"];
    assert_eq!(sales.circuit.success_rate, 0.25);
    assert_eq!(sales.adapter.origin.authority().as_str(), "127.0.0.1:9");
    assert!(sales.allow_private);
    let bot = &settings.upstreams["bot"];
    assert_eq!(bot.adapter.setting("chatbot_id"), Some("0123"));
    assert_eq!(bot.credential.initial().unwrap().expose(), "bot-key");
    assert!(!bot.allow_private);
}

#[test]
fn the_environment_alone_is_a_configuration() {
    let settings = load(
        &[],
        &[
            ("PARLANCE__UPSTREAMS__SALES__VENDOR", "kakiyo"),
            ("PARLANCE__UPSTREAMS__SALES__CREDENTIAL__VALUE", "0042"),
        ],
    )
    .unwrap();
    assert_eq!(settings.upstreams["sales"].credential.initial().unwrap().expose(), "0042");
}

#[test]
fn faults_of_the_environment_name_the_variable() {
    let with = |variables: &[(&str, &str)]| faults(&[("p.toml", UPSTREAM)], variables);
    assert_eq!(
        with(&[("PARLANCE__SERVER__MAX_BODY", "12")]),
        ["PARLANCE__SERVER__MAX_BODY: server.max_body: \"12\" is not a size such as \"512B\", \"256KiB\", \"8MiB\" or \"1GiB\""]
    );
    assert_eq!(
        with(&[("PARLANCE__LOG__ACCESS", "on")]),
        ["PARLANCE__LOG__ACCESS: log.access: is text, but true or false without quotes is expected"]
    );
    assert_eq!(
        with(&[("PARLANCE__SERVR__LISTEN", "x"), ("PARLANCE__SERVR__MAX_BODY", "x")]),
        [
            "PARLANCE__SERVR__LISTEN: servr.listen: 'servr' is no known key; did you mean 'server'?",
            "PARLANCE__SERVR__MAX_BODY: servr.max_body: 'servr' is no known key; did you mean 'server'?",
        ]
    );
    assert_eq!(
        with(&[("PARLANCE__SERVER__LISTN", "x")]),
        ["PARLANCE__SERVER__LISTN: server.listn: is no known key; did you mean 'listen'?"]
    );
    assert_eq!(
        with(&[("PARLANCE__SERVER", "x"), ("PARLANCE__SERVER__LISTEN", "127.0.0.1:1")]),
        ["PARLANCE__SERVER: sets a value where PARLANCE__SERVER__LISTEN needs a table; give only one of them"]
    );
    assert_eq!(
        with(&[("PARLANCE__ROUTES__0__ID", "x")]),
        ["environment: routes: is a table, but a list is expected (lists can be set in files only, not in the environment)"]
    );
    for odd in ["PARLANCE__", "PARLANCE__SERVER__", "PARLANCE____LISTEN", "PARLANCE__ROUTES[0]__ID"] {
        assert_eq!(
            with(&[(odd, "x")]),
            [format!("{odd}: names no key: two underscores stand between levels, as in PARLANCE__SERVER__LISTEN")]
        );
    }
}

#[test]
fn later_files_win_table_by_table() {
    let base = format!("{UPSTREAM}timeout = \"3s\"\n[server]\nmax_connections = 5\n[[routes]]\nid = \"a\"\nupstream = \"sales\"\n[[routes]]\nid = \"b\"\nupstream = \"sales\"\n");
    let over = "upstreams:\n  sales:\n    max_attempts: 1\n    timeout: null\nroutes:\n- id: c\n  upstream: sales\n";
    let settings = load(&[("base.toml", &base), ("over.yaml", over)], &[]).unwrap();
    assert_eq!(settings.upstreams["sales"].max_attempts, 1);
    assert_eq!(settings.upstreams["sales"].timeout, Duration::from_secs(10), "a null takes a value back");
    assert_eq!(settings.server.max_connections, 5);
    assert_eq!(settings.routes.iter().map(|r| r.id.as_ref().unwrap().as_str()).collect::<Vec<_>>(), ["c"]);
    assert_eq!(settings.files.len(), 2);
    // A fault is shown in the file that its value comes from.
    assert_eq!(
        faults(&[("base.toml", &base), ("over.yaml", "routes:\n- id: c\n  upstream: nobody\n")], &[]),
        ["over.yaml:3:3: routes[0].upstream: 'nobody' is no upstream; known: sales"]
    );
}

#[test]
fn the_three_formats_are_equal() {
    let toml = format!(
        "default_upstream = \"a\"\n[server]\nmax_body = \"1KiB\"\n[upstreams.a]\nvendor = \"chatling\"\nchatbot_id = \"007\"\ncredential.value = \"k\"\nhttp2 = false\ncircuit.success_rate = 0.75\n[[routes]]\nid = \"x*\"\nheaders = {{ x-a = \"1\" }}\nupstream = \"a\"\n[[callers]]\nname = \"c\"\nkey_sha256 = [\"{HASH}\"]\n"
    );
    let yaml = format!(
        "default_upstream: a\nserver:\n  max_body: 1KiB\nupstreams:\n  a:\n    vendor: chatling\n    chatbot_id: '007'\n    credential: {{ value: k }}\n    http2: false\n    circuit: {{ success_rate: 0.75 }}\nroutes:\n- id: x*\n  headers: {{ x-a: '1' }}\n  upstream: a\ncallers:\n- name: c\n  key_sha256: [\"{HASH}\"]\nadmin:\n"
    );
    let json = json!({
        "$schema": "x.json", "default_upstream": "a", "server": { "max_body": "1KiB" },
        "upstreams": { "a": { "vendor": "chatling", "chatbot_id": "007", "credential": { "value": "k" }, "http2": false,
            "circuit": { "success_rate": 0.75 } } },
        "routes": [{ "id": "x*", "headers": { "x-a": "1" }, "upstream": "a" }],
        "callers": [{ "name": "c", "key_sha256": [HASH] }], "log": null,
    })
    .to_string();
    let shown = |name: &str, text: &str| {
        let mut shown = settings::redacted(&load(&[(name, text)], &[]).unwrap());
        shown["files"] = Value::Null;
        shown
    };
    let expected = shown("p.toml", &toml);
    assert_eq!(expected["upstreams"]["a"]["chatbot_id"], "007");
    assert_eq!(shown("p.yaml", &yaml), expected);
    assert_eq!(shown("p.yml", &yaml), expected);
    assert_eq!(shown("p.json", &json), expected);
}
