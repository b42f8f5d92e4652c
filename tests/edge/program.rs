//! The program as it is shipped.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::bench::DEADLINE;

/// A running `parlance serve`.
pub(crate) struct Program {
    child: Child,
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
    lines: Arc<Mutex<Vec<Value>>>,
    reading: tokio::task::JoinHandle<()>,
}

impl Program {
    pub(crate) async fn start(config: &Path) -> Self {
        Program::start_with(config, &[]).await
    }

    /// With these variables and no others.
    pub(crate) async fn start_with(config: &Path, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_parlance"));
        command.env_clear().envs(environment.iter().copied());
        command.arg("--config").arg(config).stdin(Stdio::null());
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
        let kept = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&kept);
        let reading = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let line = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
                all.lock().unwrap().push(line);
            }
        });
        Program { child, api: api.unwrap(), admin: admin.unwrap(), lines: kept, reading }
    }

    /// What it logged since it listened.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.lines.lock().unwrap().clone()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub(crate) async fn signal(&self, name: &str) {
        let id = self.id();
        // A shell has `kill` built in; the program may not be there.
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().await.unwrap();
        assert!(sent.success());
    }

    /// The end, without a farewell.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    pub(crate) async fn ended(mut self) -> (ExitStatus, String) {
        let status =
            tokio::time::timeout(DEADLINE, self.child.wait()).await.expect("it did not end").unwrap();
        let mut said = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut self.child.stderr.take().unwrap(), &mut said)
            .await
            .unwrap();
        self.reading.await.unwrap();
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
