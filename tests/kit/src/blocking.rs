//! Helpers for tests without a runtime of their own: a connection over a plain socket, and one program between a caller
//! and the simulated vendors.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use parlance_sandbox::Options;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::wait::PAUSE;
use crate::{Ended, PATIENCE, Program, Reply, Request, Sent, contract};

/// Waits until a condition holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// The end of reading a connection to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The other side has ended it.
    Fin,
    /// The other side has reset it.
    Reset,
    /// Nothing came for some time.
    Silence,
}

/// A connection on which requests follow each other.
#[derive(Debug)]
pub struct Connection(
    /// The socket below.
    pub TcpStream,
);

impl Connection {
    /// Connects over TCP.
    #[must_use]
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Connection(stream)
    }

    /// Writes these bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Writes a request and reads the reply to it.
    pub fn exchange(&mut self, request: &Request) -> Reply {
        self.write(&request.encode());
        self.read(request.method == "HEAD").unwrap_or_else(|e| panic!("{e} in the reply to {request:?}"))
    }

    /// Reads one reply to anything but HEAD, leaving what follows unread.
    pub fn reply(&mut self) -> Reply {
        self.try_reply().unwrap()
    }

    /// Reads one reply to anything but HEAD, leaving what follows unread.
    ///
    /// # Errors
    ///
    /// Fails when the connection ends before the reply does.
    pub fn try_reply(&mut self) -> io::Result<Reply> {
        self.read(false)
    }

    fn read(&mut self, of_head: bool) -> io::Result<Reply> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let mut reply = Reply::of_head(&String::from_utf8(head).unwrap());
        reply.body = vec![0; reply.length(of_head)];
        self.0.read_exact(&mut reply.body)?;
        Ok(reply)
    }

    /// Tells whether the other side ends the connection without another byte.
    pub fn ends(&mut self) -> bool {
        // A reset is an end as well: what was still to be read is not wanted any more.
        matches!(self.0.read(&mut [0]), Ok(0)) || self.0.peek(&mut [0]).is_err()
    }

    /// Reads until the connection ends or nothing comes for that time.
    pub fn read_to_end(&mut self, silence: Duration) -> (Vec<u8>, End) {
        self.0.set_read_timeout(Some(silence)).unwrap();
        let mut all = Vec::new();
        let mut piece = [0; 65536];
        loop {
            match self.0.read(&mut piece) {
                Ok(0) => return (all, End::Fin),
                Ok(read) => all.extend_from_slice(&piece[..read]),
                Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return (all, End::Silence);
                }
                Err(_) => return (all, End::Reset),
            }
        }
    }
}

/// Sends one request on a connection of its own.
#[must_use]
pub fn once(address: SocketAddr, request: &Request) -> Reply {
    Connection::open(address).exchange(request)
}

/// The simulated vendors, in a runtime of their own.
#[derive(Debug)]
pub struct Sandbox {
    inner: crate::Sandbox,
    runtime: Runtime,
}

impl std::ops::Deref for Sandbox {
    type Target = crate::Sandbox;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl Sandbox {
    /// Starts one with these options, but for the ports.
    #[must_use]
    pub fn with(options: Options) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Sandbox { inner: runtime.block_on(crate::Sandbox::with(options)), runtime }
    }

    /// Stops it and waits until all of it is gone.
    pub fn stop(self) {
        self.runtime.block_on(self.inner.stop());
    }

    /// Asks the control side; `body` is JSON or its text, and `null` for none.
    pub fn ask(&self, method: &str, path: &str, body: impl ToString) -> Reply {
        self.runtime.block_on(self.inner.ask(method, path, body))
    }

    /// Asks the control side for something that it can do; gives its answer.
    pub fn control(&self, method: &str, path: &str, body: impl ToString) -> Value {
        self.runtime.block_on(self.inner.control(method, path, body))
    }

    /// Adds a rule for what goes wrong next.
    pub fn fault(&self, rule: impl ToString) {
        self.runtime.block_on(self.inner.fault(rule));
    }

    /// Forgets rules and what was received.
    pub fn clear(&self) {
        self.runtime.block_on(async { tokio::join!(self.inner.faults_over(), self.inner.forget()) });
    }

    /// The requests that reached a vendor, in order.
    #[must_use]
    pub fn sent(&self, vendor: &str) -> Vec<Sent> {
        self.runtime.block_on(self.inner.sent(vendor))
    }
}

/// The program between a caller and the simulated vendors. Every reply is judged by [`contract`].
#[derive(Debug)]
pub struct Gateway {
    program: Program,
    secrets: Vec<String>,
    more: PathBuf,
    // Dropped in this order: the program is gone before its vendors are.
    sandbox: Sandbox,
    _files: TempDir,
}

impl std::ops::Deref for Gateway {
    type Target = Sandbox;

    fn deref(&self) -> &Self::Target {
        &self.sandbox
    }
}

impl Gateway {
    /// Starts the program at this path with two configuration files, their placeholders filled as [`crate::Sandbox::fill`]
    /// does.
    #[must_use]
    pub fn start(binary: &str, usual: &str, more: &str) -> Self {
        let sandbox = Sandbox::with(Options::default());
        let files = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = files.path().join(name);
            std::fs::write(&path, sandbox.fill(text)).unwrap();
            path
        };
        let (usual, more) = (write("usual.toml", usual), write("more.toml", more));
        let secrets = parlance_sandbox::vendors().iter().map(|vendor| sandbox.key(vendor)).collect();
        let program = Program::serve(binary, &[&usual, &more], &[]);
        Gateway { program, secrets, more, sandbox, _files: files }
    }

    /// The address of the API.
    #[must_use]
    pub fn api(&self) -> SocketAddr {
        self.program.api
    }

    /// The address of the admin listener.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.program.admin
    }

    /// Puts another second file in the place of the one that was given.
    pub fn change(&self, more: &str) {
        let beside = self.more.with_extension("new");
        std::fs::write(&beside, self.sandbox.fill(more)).unwrap();
        std::fs::rename(&beside, &self.more).unwrap();
    }

    /// The gateway with one more text that must stand in no reply and no log line.
    #[must_use]
    pub fn keeping(mut self, secret: &str) -> Self {
        self.secrets.push(secret.to_owned());
        self
    }

    /// Sends a request on a connection of its own and judges the reply.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Reply {
        self.send_on(&mut self.connect(), request)
    }

    /// Sends a request on this connection and judges the reply.
    #[track_caller]
    pub fn send_on(&self, connection: &mut Connection, request: &Request) -> Reply {
        let reply = connection.exchange(request);
        self.judge(request, &reply);
        reply
    }

    /// Judges a reply that was read by hand.
    #[track_caller]
    pub fn judge(&self, request: &Request, reply: &Reply) {
        contract::judge(request, reply);
        let shown = format!("{:?} {}", reply.headers, String::from_utf8_lossy(&reply.body));
        assert!(!self.secrets.iter().any(|secret| shown.contains(secret)), "a secret in {shown}");
    }

    /// Updates a conversation and judges the reply.
    #[track_caller]
    pub fn patch(&self, id: &str, body: &str) -> Reply {
        self.send(&Request::patch(id, body))
    }

    /// A connection to the API.
    #[must_use]
    pub fn connect(&self) -> Connection {
        Connection::open(self.program.api)
    }

    /// Asks the admin listener.
    #[must_use]
    pub fn ask_admin(&self, request: &Request) -> Reply {
        once(self.program.admin, request)
    }

    /// The only request that reached a vendor.
    #[track_caller]
    pub fn only(&self, vendor: &str) -> Sent {
        let mut sent = self.sent(vendor);
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    /// Asserts that nothing reached any vendor.
    #[track_caller]
    pub fn nothing_sent(&self) {
        for vendor in parlance_sandbox::vendors() {
            let sent = self.sent(vendor);
            assert!(sent.is_empty(), "{sent:?}");
        }
    }

    /// The first conversation that a vendor knows.
    #[must_use]
    pub fn conversation(&self, vendor: &str) -> String {
        self.sandbox.samples()[vendor].conversations[0].to_owned()
    }

    /// Sends a signal to the program, such as `TERM`.
    pub fn signal(&self, name: &str) {
        self.program.signal(name);
    }

    /// Waits for the end: it must be a good one, and the log without a secret.
    pub fn ended(self) -> Ended {
        let ended = self.program.wait();
        assert!(ended.status.success(), "{ended:?}");
        assert_eq!(ended.err, "", "standard error is for failures");
        for line in &ended.lines {
            let read: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            assert!(read.is_object(), "{line}");
            assert!(!self.secrets.iter().any(|secret| line.contains(secret)), "a secret in {line}");
        }
        ended
    }

    /// Stops the program; every test ends with this.
    pub fn finish(self) -> Ended {
        self.signal("TERM");
        self.ended()
    }
}
