//! A vendor's own client library against the sandbox.

// Always true here; it tells the lints that this is test code.
#![cfg(test)]

mod common;

use std::process::Command;

use common::Rig;

#[test]
#[ignore = "needs Python with agentphone==0.20.3; SANDBOX_PYTHON names the interpreter"]
fn agentphone_python() {
    let rig = Rig::new();
    let python = std::env::var("SANDBOX_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk/agentphone_sdk.py");
    let url = rig.url("agentphone").unwrap();
    let out =
        Command::new(python).args([script, &url, &rig.key("agentphone"), "conv_def456"]).output().unwrap();
    assert!(
        out.status.success(),
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}
