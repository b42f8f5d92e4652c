//! The program as it is shipped: started, watched, stopped.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Generous: other tests may be using the same processors.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The program with an environment of its own.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parlance"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !so() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A running `parlance serve`, or another command that runs until it is told to stop.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    out: Option<JoinHandle<()>>,
    err: Option<JoinHandle<String>>,
}

/// What a process left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) lines: Vec<String>,
    pub(crate) err: String,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let kept = Arc::clone(&lines);
        let out = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                kept.lock().unwrap().push(line.unwrap());
            }
        });
        let err = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        Process { child, lines, out: Some(out), err: Some(err) }
    }

    /// `serve` with these files; waits until both listeners are there.
    pub(crate) fn serve(files: &[&Path]) -> (Self, SocketAddr, SocketAddr) {
        let mut command = program();
        command.arg("serve");
        for file in files {
            command.arg("--config").arg(file);
        }
        let mut process = Process::start(command);
        let (mut api, mut admin) = (None, None);
        eventually("both listeners are there", || {
            for line in process.lines() {
                let line: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
                if line["message"] == "listening" {
                    let address = line["address"].as_str().map(|address| address.parse().unwrap());
                    match line["listener"].as_str() {
                        Some("api") => api = address,
                        Some("admin") => admin = address,
                        other => panic!("an unknown listener {other:?}"),
                    }
                }
            }
            if let Some(status) = process.child.try_wait().unwrap() {
                panic!("it ended with {status}: {}", process.err.take().unwrap().join().unwrap());
            }
            api.is_some() && admin.is_some()
        });
        (process, api.unwrap(), admin.unwrap())
    }

    /// The lines on standard output so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id();
        // A shell has `kill` built in; the program may not be there.
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().unwrap();
        assert!(sent.success(), "{name} could not be sent to {id}");
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(mut self) -> Ended {
        let mut status = None;
        eventually("the process has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        self.out.take().unwrap().join().unwrap();
        let err = self.err.take().unwrap().join().unwrap();
        Ended { status: status.unwrap(), lines: self.lines(), err }
    }

    pub(crate) fn terminate(self) -> Ended {
        self.signal("TERM");
        self.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Where a test failed, nobody waits for a gentle end. An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
