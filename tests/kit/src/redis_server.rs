//! A Redis of a test's own: its port, its directory, its end.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::blocking::eventually;
use crate::{freeze, signal};

/// A running `redis-server`.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    options: Vec<String>,
    directory: TempDir,
    child: Option<Child>,
}

impl Redis {
    /// Starts one without persistence, unless the options say otherwise.
    #[must_use]
    pub fn start(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut redis = Redis { port, options, directory, child: None };
        redis.run();
        redis
    }

    /// Starts it again, with what it kept.
    pub fn run(&mut self) {
        let child = Command::new("redis-server")
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .arg("--dir")
            .arg(self.directory.path())
            .args(&self.options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap_or_else(|error| {
            panic!("redis-server cannot be started ({error}): apt-get install redis-server")
        }));
        eventually("redis-server listens", || {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "redis-server ended: {ended:?}");
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The setting that names it.
    #[must_use]
    pub fn setting(&self) -> String {
        format!("store = \"redis://127.0.0.1:{}/0\"", self.port)
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Makes it stand still; its connections stay open.
    pub fn freeze(&self) {
        freeze(self.id());
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        signal(self.id(), "CONT");
    }

    /// Sends a command past the gateway.
    pub fn ask<T: redis::FromRedisValue>(&self, words: &[&[u8]]) -> T {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/0", self.port)).unwrap();
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(10)).unwrap();
        let mut command = redis::Cmd::new();
        words.iter().for_each(|word| {
            command.arg(*word);
        });
        command.query(&mut connection).unwrap()
    }

    /// Tells whether something was sent to it that it has not read.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        let mine = format!(":{:04X}", self.port);
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        table.lines().skip(1).any(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (_, unread) = columns[4].split_once(':').unwrap();
            // 01: a connection.
            columns[1].ends_with(&mine) && columns[3] == "01" && unread != "00000000"
        })
    }

    /// The keys of all records.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.ask(&[b"KEYS", b"parlance:v2:*"])
    }
}

/// A port that nobody has, and that the system gives nobody who does not ask for it: a store that was killed finds it
/// free again.
#[must_use]
pub fn free_port() -> u16 {
    loop {
        let random = RandomState::new().build_hasher().finish() % 20_000;
        let port = 10_000 + u16::try_from(random).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A process that stands still dies of this too.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
