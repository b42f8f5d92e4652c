//! The program as it is shipped: started, watched, stopped.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use serde_json::Value;

use crate::PATIENCE;
use crate::blocking::eventually;

/// The program with an environment of its own. `binary` is its path: cargo gives it to the tests of the root crate only.
#[must_use]
pub fn command(binary: &str) -> Command {
    let mut command = Command::new(binary);
    command.env_clear().stdin(Stdio::null());
    command
}

/// A running process and all that it writes.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    out: Option<JoinHandle<()>>,
    err: Option<JoinHandle<String>>,
}

/// The remains of a process.
#[derive(Debug)]
pub struct Ended {
    /// The exit status.
    pub status: ExitStatus,
    /// The lines of standard output.
    pub lines: Vec<String>,
    /// The whole of standard error.
    pub err: String,
}

impl Process {
    /// Starts a process.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
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

    /// The lines on standard output so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The lines on standard output so far, each of them JSON.
    #[must_use]
    pub fn log(&self) -> Vec<Value> {
        let read = |line: &String| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.lines.lock().unwrap().iter().map(read).collect()
    }

    /// The id of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Makes the process stand still; its connections stay open.
    pub fn freeze(&self) {
        freeze(self.id());
    }

    /// Lets the process go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Ends the process at once.
    pub fn kill(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until the process has ended by itself.
    #[must_use]
    pub fn wait(mut self) -> Ended {
        let mut status = None;
        eventually("the process has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        self.out.take().unwrap().join().unwrap();
        let err = self.err.take().unwrap().join().unwrap();
        Ended { status: status.unwrap(), lines: self.lines(), err }
    }

    /// Waits as [`Process::wait`] does, while the runtime goes on.
    pub async fn ended(self) -> Ended {
        tokio::task::spawn_blocking(|| self.wait()).await.unwrap()
    }

    /// Asks the process to end and waits until it has.
    #[must_use]
    pub fn terminate(self) -> Ended {
        self.signal("TERM");
        self.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Where a test failed, nobody waits for a gentle end. A process that stands still dies of this too.
        self.kill();
    }
}

/// A running `parlance serve`.
#[derive(Debug)]
pub struct Program {
    process: Process,
    /// The address of the API.
    pub api: SocketAddr,
    /// The address of the admin listener.
    pub admin: SocketAddr,
}

impl Program {
    /// Starts `serve` with these files and these variables; waits until both listeners are there.
    #[must_use]
    pub fn serve(binary: &str, files: &[&Path], environment: &[(&str, &str)]) -> Self {
        let mut command = command(binary);
        command.envs(environment.iter().copied()).arg("serve");
        for file in files {
            command.arg("--config").arg(file);
        }
        let mut process = Process::start(command);
        let (mut api, mut admin) = (None, None);
        eventually("both listeners are there", || {
            for line in process.log().iter().filter(|line| line["message"] == "listening") {
                let address = line["address"].as_str().map(|address| address.parse().unwrap());
                match line["listener"].as_str() {
                    Some("api") => api = address,
                    Some("admin") => admin = address,
                    other => panic!("an unknown listener {other:?}"),
                }
            }
            if let Some(status) = process.child.try_wait().unwrap() {
                panic!("it ended with {status}: {}", process.err.take().unwrap().join().unwrap());
            }
            api.is_some() && admin.is_some()
        });
        Program { process, api: api.unwrap(), admin: admin.unwrap() }
    }

    /// Waits until the program has ended by itself.
    #[must_use]
    pub fn wait(self) -> Ended {
        self.process.wait()
    }

    /// Waits as [`Program::wait`] does, while the runtime goes on.
    pub async fn ended(self) -> Ended {
        self.process.ended().await
    }
}

impl Deref for Program {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Program {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Sends a signal to a process.
pub fn signal(id: u32, name: &str) {
    // A shell has `kill` built in; the program may not be there.
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().unwrap();
    assert!(sent.success(), "{name} could not be sent to {id}");
}

/// Makes a process stand still; when this returns, all its threads do. The signal alone leaves a busy thread time.
pub fn freeze(id: u32) {
    signal(id, "STOP");
    let stands = |thread: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat"));
        // A thread that has just ended has none.
        stat.map_or(true, |stat| stat.rsplit(')').next().unwrap().trim_start().starts_with('T'))
    };
    let end = Instant::now() + PATIENCE;
    while !std::fs::read_dir(format!("/proc/{id}/task")).unwrap().all(stands) {
        assert!(Instant::now() < end, "the process does not stop");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
