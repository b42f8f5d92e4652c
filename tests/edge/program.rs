//! The program as it is shipped.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::bench::DEADLINE;

/// A running `parlance serve`.
pub(crate) struct Program {
    child: Child,
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
    lines: tokio::task::JoinHandle<Vec<String>>,
}

impl Program {
    pub(crate) async fn start(config: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_parlance"));
        command.env_clear().arg("--config").arg(config).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut api, mut admin) = (None, None);
        while api.is_none() || admin.is_none() {
            let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap();
            let line: Value = serde_json::from_str(&line.expect("it ended at once")).unwrap();
            let address = line["address"].as_str().and_then(|address| address.parse().ok());
            match line["listener"].as_str() {
                Some("api") => api = address,
                Some("admin") => admin = address,
                _ => {}
            }
        }
        let lines = tokio::spawn(async move {
            let mut all = Vec::new();
            while let Ok(Some(line)) = lines.next_line().await {
                all.push(line);
            }
            all
        });
        Program { child, api: api.unwrap(), admin: admin.unwrap(), lines }
    }

    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap();
        // A shell has `kill` built in; the program may not be there.
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().await.unwrap();
        assert!(sent.success());
    }

    pub(crate) async fn ended(mut self) -> (ExitStatus, String) {
        let status =
            tokio::time::timeout(DEADLINE, self.child.wait()).await.expect("it did not end").unwrap();
        let mut said = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut self.child.stderr.take().unwrap(), &mut said)
            .await
            .unwrap();
        self.lines.await.unwrap();
        (status, said)
    }
}

/// Starts the program and asks it to end so long after; gives how it ended and what it said on standard error.
pub(crate) async fn run_for(config: &Path, time: std::time::Duration) -> (ExitStatus, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parlance"));
    command.env_clear().arg("--config").arg(config).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    tokio::time::sleep(time).await;
    let id = child.id().unwrap();
    let sent = Command::new("sh").args(["-c", &format!("kill -TERM {id}")]).status().await.unwrap();
    assert!(sent.success());
    let output =
        tokio::time::timeout(DEADLINE, child.wait_with_output()).await.expect("it did not end").unwrap();
    (output.status, String::from_utf8(output.stderr).unwrap())
}
