//! The command line: what it prints and how it ends.

use std::net::TcpListener;
use std::process::Output;

use parlance_adapters::ALL;
use serde_json::Value;
use testkit::Process;
use testkit::blocking::eventually;

use crate::setup::{program, run};

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Exit 0 and nothing on standard error.
#[track_caller]
fn good(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""), "{arguments:?}");
    out(&output)
}

/// Exit 1, the reason on standard error and nothing on standard output.
#[track_caller]
fn refused(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(
        (output.status.code(), out(&output).as_str()),
        (Some(1), ""),
        "{arguments:?}: {}",
        err(&output)
    );
    err(&output)
}

const ONE: &str = "[upstreams.sales]\nvendor = \"kakiyo\"\ncredential = { value = \"k\" }\n";

fn file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("parlance.toml");
    std::fs::write(&path, text).unwrap();
    let shown = path.display().to_string();
    (folder, shown)
}

#[test]
fn wrong_usage_is_2() {
    for arguments in [
        &["nonsense"][..],
        &["--nonsense"],
        &["serve", "--nonsense"],
        &["serve", "--config"],
        &["vendors", "--xml"],
        &["check", "extra"],
        &["sandbox", "--port", "70000"],
        &["sandbox", "--port", "x"],
        &["demo", "--twice"],
        &["openapi", "--json"],
        &["--config", "x.toml", "vendors"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!err(&output).is_empty() && output.stdout.is_empty(), "{arguments:?}: {output:?}");
    }
}

#[test]
fn help_and_version_are_0() {
    for command in ["serve", "demo", "sandbox", "check", "vendors", "openapi", "config-schema"] {
        assert!(good(&["--help"]).contains(command), "{command}");
        assert!(good(&[command, "--help"]).contains("Usage"), "{command}");
    }
    assert!(good(&["--version"]).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn vendors_is_the_field_table() {
    let table = good(&["vendors"]);
    let json: Value = serde_json::from_str(&good(&["vendors", "--json"])).unwrap();
    assert_eq!(json["vendors"].as_array().map(Vec::len), Some(ALL.len()));
    for (adapter, shown) in ALL.iter().zip(json["vendors"].as_array().unwrap()) {
        let spec = adapter.spec();
        assert_eq!(shown["vendor"], spec.vendor);
        assert!(table.lines().next().unwrap().contains(spec.vendor));
        for field in parlance_adapters::fields() {
            let wire = spec.row(field).map(|row| row.wire);
            assert_eq!(
                shown["members"][field.name()]["wire"].as_str(),
                wire,
                "{} {}",
                spec.vendor,
                field.name()
            );
        }
    }
    for field in parlance_adapters::fields() {
        assert!(table.contains(&format!("| `{}` |", field.name())), "{table}");
    }
    // Every line of the table has as many cells.
    let cells: Vec<usize> = table.lines().map(|line| line.matches(" | ").count()).collect();
    assert!(table.lines().all(|line| line.starts_with('|') && line.ends_with('|')), "{cells:?}");
}

#[test]
fn documents_are_printed() {
    let openapi: Value = serde_json::from_str(&good(&["openapi"])).unwrap();
    assert!(openapi["openapi"].as_str().unwrap().starts_with("3.1."));
    let schema: Value = serde_json::from_str(&good(&["config-schema"])).unwrap();
    assert!(jsonschema::validator_for(&schema).is_ok());
    for key in ["server", "admin", "defaults", "upstreams", "routes", "callers", "idempotency", "log"] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
}

#[test]
fn check_says_right_or_every_fault_with_its_place() {
    let (_folder, right) = file(ONE);
    assert!(good(&["check", "--config", &right]).contains("right"));

    let (_folder, wrong) = file(
        "default_upstream = \"nobody\"\n\
         [server]\n\
         listen = \"0.0.0.0:80\"\n\
         max_bdy = \"1KiB\"\n\
         [upstreams.sales]\n\
         vendor = \"kakyo\"\n\
         credential = { value = \"k\" }\n\
         [upstreams.voice]\n\
         vendor = \"sigmamind\"\n\
         credential = { env = \"NOT_THERE\" }\n\
         [upstreams.Bad]\n\
         vendor = \"sigmamind\"\n\
         credential = { value = \"k\" }\n\
         [[routes]]\n\
         id = \"*\"\n\
         upstream = \"also-nobody\"\n",
    );
    let keys = [
        ":1:1: default_upstream:",
        ":4:1: server.max_bdy:",
        ":6:1: upstreams.sales.vendor:",
        ": upstreams.voice.credential",
        ": upstreams.Bad:",
        ": routes[0].upstream:",
    ];
    // `check` and `serve` refuse for the same reasons; `serve` is the default.
    for arguments in
        [&["check", "--config", &wrong][..], &["serve", "--config", &wrong], &["--config", &wrong]]
    {
        let said = refused(arguments);
        for key in keys {
            assert!(said.contains(key), "{key} is missing in:\n{said}");
        }
        assert!(said.lines().all(|line| line.starts_with(&wrong) || line.starts_with(' ')), "{said}");
    }
    assert!(refused(&["check", "--config", "/nowhere/parlance.toml"]).contains("/nowhere/parlance.toml"));
    let (_folder, broken) = file("[server\n");
    assert!(refused(&["check", "--config", &broken]).contains(&broken));
    assert!(!refused(&["check"]).is_empty(), "without an upstream there is nothing to serve");
}

#[test]
fn the_environment_wins_over_files() {
    let (_folder, path) = file(ONE);
    let mut command = program();
    command.args(["check", "--config", &path]).env("PARLANCE__UPSTREAMS__SALES__VENDOR", "nobody");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("PARLANCE__UPSTREAMS__SALES__VENDOR"), "{}", err(&output));

    let mut command = program();
    command
        .arg("check")
        .env("PARLANCE__UPSTREAMS__SALES__VENDOR", "kakiyo")
        .env("PARLANCE__UPSTREAMS__SALES__CREDENTIAL__ENV", "THE_KEY")
        .env("THE_KEY", "the-key-itself")
        // A Service of that name makes Kubernetes set this in every pod.
        .env("PARLANCE_PORT", "tcp://10.0.0.1:80");
    let output = command.output().unwrap();
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
    assert!(!out(&output).contains("the-key-itself"));
}

#[test]
fn a_port_that_is_taken_is_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (_folder, path) =
        file(&format!("[server]\nlisten = \"{address}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n{ONE}"));
    let output = run(&["serve", "--config", &path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains(&address.to_string()), "{}", err(&output));
    // The vendors take the ports behind that of the control endpoint.
    let said = refused(&["sandbox", "--port", &address.port().to_string()]);
    assert!(said.contains(&address.to_string()), "{said}");
}

#[test]
fn the_sandbox_runs_until_it_is_told_to_stop() {
    let mut command = program();
    command.args(["sandbox", "--port", "0"]);
    let process = Process::start(command);
    eventually("every vendor's address is printed", || {
        let lines = process.lines().join("\n");
        ALL.iter().all(|adapter| lines.contains(adapter.spec().vendor))
    });
    let ended = process.terminate();
    assert_eq!((ended.status.code(), ended.err.as_str()), (Some(0), ""));
}

#[test]
fn the_demo_updates_one_conversation_of_each_vendor() {
    let shown = good(&["demo", "--once"]);
    for adapter in ALL {
        let spec = adapter.spec();
        assert!(shown.contains(spec.title), "{}", spec.title);
        assert!(shown.contains(&format!("PATCH /conversations/{}:{}", spec.vendor, spec.example.id)));
    }
}
