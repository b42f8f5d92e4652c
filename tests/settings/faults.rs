//! Every fault at once, and none that only follows from another.

use parlance::settings;
use proptest::prelude::*;

use crate::support::{Env, HASH, UPSTREAM, faults, files, good, load, vendors};

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
        [format!(
            "parlance.toml: upstreams: there is none: add a table [upstreams.<name>] with vendor ({}) and credential, \
             or try 'parlance demo', which needs none",
            vendors()
        )]
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
        ("p.json", "[]", "p.json: must hold a table of keys, nothing else"),
        ("p.yaml", "- a\n", "p.yaml: must hold a table of keys, nothing else"),
        ("p.yaml", "a: .inf\n", "p.yaml: cannot be used: "),
        ("p.toml", "a = 99999999999999999999\n", "p.toml: cannot be used: "),
        ("p.yaml", "a: [\n", "p.yaml:2:1: is not valid YAML: "),
        ("p.yaml", "log: {}\nlog: {}\n", "p.yaml:2:1: is not valid here: the key 'log' is given twice"),
    ] {
        let found = faults(&[(file, text)], &[]);
        assert!(found.first().is_some_and(|fault| fault.starts_with(expected)), "{found:?}");
    }
    // A file of nothing but comments is no fault of its own.
    for (file, text) in [("p.yaml", "# nothing\n"), ("p.json", "{}"), ("p.toml", "# nothing\n")] {
        assert!(faults(&[(file, text)], &[]).concat().contains("upstreams: there is none"), "{file}");
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
fn a_file_of_something_else_is_left_alone_soon() {
    let keys: String = (0..20_000).map(|number| format!("key{number} = {number}\n")).collect();
    let started = std::time::Instant::now();
    let found = faults(&[("p.toml", &keys)], &[]);
    assert_eq!(found.len(), 100);
    assert!(found.iter().all(|fault| fault.contains("is no known key")));
    assert!(started.elapsed() < std::time::Duration::from_secs(20));
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
    let toml = format!(
        "routes = [1, {{ id = \"a\", upstream = \"nowhere\" }}]\n{UPSTREAM}[[callers]]\nname = \"c\"\nkey_sha256 = \"{HASH}\"\nupstreams = [1, \"nobody\"]\n"
    );
    assert_eq!(
        faults(&[("p.toml", &toml)], &[]),
        [
            "p.toml:1:11: routes[0]: is a whole number, but a table with upstream and id or headers is expected",
            "p.toml:1:26: routes[1].upstream: 'nowhere' is no upstream; known: sales",
            "p.toml:8:14: callers[0].upstreams[0]: is a whole number, but text in quotes is expected",
            "p.toml:8:17: callers[0].upstreams[1]: 'nobody' is no upstream; known: sales",
        ]
    );
}

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
fn tls_files_must_hold_what_they_should() {
    let (dir, _) = files(&[
        ("c.pem", "-----BEGIN CERTIFICATE-----\n"),
        ("k.pem", "-----BEGIN PRIVATE KEY-----\nhunter2"),
    ]);
    let dir = dir.path().display();
    let toml = |certificate: &str, key: &str| {
        format!(
            "{UPSTREAM}[server]\nlisten = \"0.0.0.0:80\"\n[server.tls]\ncertificate = \"{dir}/{certificate}\"\nkey = \"{dir}/{key}\"\nclient_ca = \"{dir}/c.pem\"\n\
             [[callers]]\nname = \"crm\"\ncertificate_names = [\"crm\"]\n"
        )
    };
    let settings = good(&toml("c.pem", "k.pem"));
    assert!(settings.server.tls.is_some_and(|tls| tls.client_ca.is_some()));
    let found = faults(&[("p.toml", &toml("k.pem", "c.pem"))], &[]);
    assert_eq!(
        found,
        [
            format!(
                "p.toml:7:1: server.tls.certificate: the file {dir}/k.pem holds no certificate in PEM form"
            ),
            format!("p.toml:8:1: server.tls.key: the file {dir}/c.pem holds no private key in PEM form"),
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_loader_panic(text in "[a-z\\[\\]{}:=\"',.#0-9 \\n-]{0,80}", format in 0..3_usize) {
        let name = ["p.toml", "p.yaml", "p.json"][format];
        prop_assert!(load(&[(name, &text)], &[]).is_err() || !text.is_empty());
    }

    #[test]
    fn every_fault_of_a_key_has_its_key_and_place(key in 0..6_usize, value in prop_oneof!["[1-9][0-9]{0,2}", "\"[a-z]{1,6}\"", Just("[]".to_owned()), Just("true".to_owned())]) {
        let name = ["header_timeout", "max_body", "listen", "workers", "tls", "colour"][key];
        let found = load(&[("p.toml", &format!("{UPSTREAM}[server]\n{name} = {value}\n"))], &[]);
        for fault in found.err().into_iter().flatten() {
            prop_assert!(fault.key.starts_with(&format!("server.{name}")), "{}", fault);
            prop_assert_eq!(fault.line, Some((5, 1)));
        }
    }

    #[test]
    fn variables_never_make_the_loader_panic(name in "[A-Z_.\\[\\]0-9-]{0,24}", value in ".{0,12}") {
        let _ = load(&[("p.toml", UPSTREAM)], &[(&format!("PARLANCE__{name}"), &value)]);
    }
}
