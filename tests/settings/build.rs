//! Faults of files that well-formed settings name. `parlance check` reports them with their place, as it does all others.

use std::fmt::Write as _;
use std::process::Command;

use crate::support::{UPSTREAM, files};

/// The report of `parlance check` on a configuration beside a file, without the directory of both.
#[track_caller]
fn refused(toml: &str, name: &str, content: &str) -> String {
    let (dir, paths) = files(&[("parlance.toml", ""), (name, content)]);
    let directory = format!("{}/", dir.path().display());
    let path = paths.first().unwrap();
    std::fs::write(path, toml.replace("DIR/", &directory)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_parlance"));
    let output = command.env_clear().arg("check").arg("--config").arg(path).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap().replace(&directory, "")
}

/// Text that looks like a certificate and a key.
const PEM: &str = "-----BEGIN CERTIFICATE-----\nMTIz\n-----END CERTIFICATE-----\n\
                   -----BEGIN PRIVATE KEY-----\nMTIz\n-----END PRIVATE KEY-----\n";

fn store(ca_file: &str) -> String {
    format!("{UPSTREAM}[idempotency]\nstore = \"rediss://127.0.0.1:1\"\nca_file = \"DIR/{ca_file}\"\n")
}

#[test]
fn a_ca_file_that_is_too_large_is_refused_not_cut() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let mut large = made.cert.pem();
    while large.len() <= 1024 * 1024 {
        writeln!(large, "# a comment").unwrap();
    }
    assert_eq!(
        refused(&store("ca.pem"), "ca.pem", &large),
        "parlance.toml:6:1: idempotency.ca_file: the file ca.pem is larger than 1024 KiB\n"
    );
}

#[test]
fn a_ca_file_that_does_not_parse_is_reported_at_its_key() {
    for content in ["!", "MTIz"] {
        let pem = format!("-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----\n");
        assert_eq!(
            refused(&store("ca.pem"), "ca.pem", &pem),
            "parlance.toml:6:1: idempotency.ca_file: the file ca.pem holds a certificate that cannot be used\n"
        );
    }
}

#[test]
fn files_of_listeners_and_upstreams_are_reported_with_file_and_line() {
    let listener = "[server.tls]\ncertificate = \"DIR/x.pem\"\nkey = \"DIR/x.pem\"\n";
    let table = [
        (format!("{UPSTREAM}ca_file = \"DIR/x.pem\"\n"), "parlance.toml:4:1: upstreams.sales.ca_file: "),
        (format!("{UPSTREAM}{listener}"), "parlance.toml:4:9: server.tls: "),
    ];
    for (toml, place) in table {
        let report = refused(&toml, "x.pem", PEM);
        assert!(report.starts_with(place), "{report}");
        assert_eq!(report.lines().count(), 1, "{report}");
    }
}
