//! Standard output, errors that end the program, and signals.

use std::io::{self, Write};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Error that ends the program: lines for standard error.
#[derive(Debug)]
pub(super) struct CliError(pub Vec<String>);

impl<E: std::fmt::Display> From<E> for CliError {
    fn from(error: E) -> Self {
        CliError(vec![error.to_string()])
    }
}

impl CliError {
    /// Creates an error of one line for each fault.
    pub(super) fn faults(faults: Vec<impl std::fmt::Display>) -> Self {
        CliError(faults.into_iter().map(|fault| fault.to_string()).collect())
    }
}

/// Writes to standard output.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A reader such as `head` may close the pipe early.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Receiver of SIGTERM and SIGINT.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Installs the handlers, which replace the default action of ending the process.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal.
    pub(super) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
