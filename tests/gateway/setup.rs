//! The program with the upstreams of the stories.

use std::process::{Command, Output};

use testkit::blocking::Gateway;
use testkit::stories;

const BINARY: &str = env!("CARGO_BIN_EXE_parlance");

/// Listeners on any port; nothing but a test decides how often a vendor may fail.
const BEFORE: &str = r#"
[server]
listen = "127.0.0.1:0"
drain_delay = "0s"
[admin]
listen = "127.0.0.1:0"
[defaults]
rate_limit = "off"
circuit = { failures = 0, success_rate = 0.0 }
"#;

/// The usual configuration: one upstream for each vendor, named as in its stories.
pub(crate) fn usual() -> Gateway {
    with("")
}

/// The usual configuration under a second file.
pub(crate) fn with(more: &str) -> Gateway {
    let mut text = BEFORE.to_owned();
    for spec in parlance_adapters::ALL.iter().map(|adapter| adapter.spec()) {
        let (vendor, name) = (spec.vendor, stories::upstream(spec.vendor));
        text += &format!("[upstreams.{name}]\nvendor = \"{vendor}\"\nbase_url = \"${{{vendor}}}\"\n");
        text += &format!("credential = {{ value = \"${{{vendor}_key}}\" }}\n");
        for (setting, value) in spec.example.settings {
            text += &format!("{setting} = \"{value}\"\n");
        }
    }
    Gateway::start(BINARY, &text, more)
}

/// The program with an environment of its own.
pub(crate) fn program() -> Command {
    testkit::command(BINARY)
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}
