//! The command line: settings, then telemetry, then the server; and the only exit codes.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::live::Live;
use crate::reload::Source;
use crate::run::Gateway;
use crate::settings::{self, Settings};
use crate::telemetry::{self, AccessLog, Lines};
use crate::{demo, openapi, support};

/// One conversations API over every vendor's dialect.
#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Configuration,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API (the default)
    Serve(Configuration),
    /// Say whether a configuration is right; every fault at once, each with its place
    Check(Configuration),
    /// Show what each vendor takes
    Vendors {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the OpenAPI document of the API
    Openapi,
    /// Print the JSON Schema of the configuration
    ConfigSchema,
    /// Run simulated vendors alone
    Sandbox {
        /// Port of the control endpoint; the vendors follow on the next five. 0 lets the system choose
        #[arg(long, default_value_t = 9100)]
        port: u16,
    },
    /// Run simulated vendors and a gateway over them: no account, no network, no file
    Demo {
        /// Update one conversation of each vendor, show what was sent and answered, and end
        #[arg(long)]
        once: bool,
    },
}

#[derive(Debug, Args)]
struct Configuration {
    /// A file in TOML, YAML or JSON; given more than once, later ones win. PARLANCE__… variables win over all
    #[arg(long = "config", value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// What ends the program other than well: lines for standard error.
#[derive(Debug)]
pub struct Failed(pub Vec<String>);

impl<E: std::fmt::Display> From<E> for Failed {
    fn from(error: E) -> Self {
        Failed(vec![error.to_string()])
    }
}

/// Runs the command line. Exit 0, or 1 with the reason on standard error; clap itself ends with 2 on wrong usage.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(lines)) => {
            let mut err = io::stderr().lock();
            for line in lines {
                // Where standard error is closed nobody can be told.
                let _ = writeln!(err, "{line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), Failed> {
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(configuration) => serve(source(configuration)),
        Command::Check(configuration) => check(source(configuration).load().map_err(Failed)?),
        Command::Vendors { json: true } => print(&format!("{:#}\n", support::json())),
        Command::Vendors { json: false } => print(&support::table()),
        Command::Openapi => print(&String::from_utf8_lossy(&openapi::document())),
        Command::ConfigSchema => print(&settings::schema()),
        Command::Sandbox { port } => runtime(None)?.block_on(demo::sandbox(port)),
        Command::Demo { once: true } => runtime(None)?.block_on(demo::once()),
        Command::Demo { once: false } => runtime(None)?.block_on(demo::run()),
    }
}

/// Writes to standard output.
pub fn print(text: &str) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // `parlance vendors | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Reads the environment, the one time that it is read.
fn source(configuration: Configuration) -> Source {
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Source::new(configuration.files, environment)
}

fn check(settings: Settings) -> Result<(), Failed> {
    let (upstreams, routes) = (settings.upstreams.len(), settings.routes.len());
    Live::new(settings).map_err(Failed)?;
    print(&format!("The configuration is right: {upstreams} upstreams, {routes} routes.\n"))
}

fn runtime(workers: Option<usize>) -> io::Result<Runtime> {
    match workers {
        // One worker needs no queue to steal from.
        Some(1) => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        Some(workers) => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()
        }
        None => tokio::runtime::Builder::new_multi_thread().enable_all().build(),
    }
}

fn serve(source: Source) -> Result<(), Failed> {
    let settings = source.load().map_err(Failed)?;
    let lines = Lines::start(io::stdout())?;
    telemetry::init(&lines, &settings.log.level)?;
    let access = if settings.log.access {
        AccessLog::new(Some(lines.clone()))
    } else {
        AccessLog::without_requests(lines.clone())
    };
    let runtime = runtime(settings.server.workers.map(usize::from))?;
    let served = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let mut hangup = signal(SignalKind::hangup())?;
        let live = Live::new(settings).map_err(Failed)?;
        let mut gateway = Gateway::start(live, access).await?;
        gateway.follow(source);
        loop {
            tokio::select! {
                () = signals.stop() => break,
                _ = hangup.recv() => gateway.reload(),
                () = gateway.ended() => return Err("a listener ended by a defect".into()),
            }
        }
        tokio::select! {
            finished = gateway.drain() => match finished {
                true => Ok(()),
                false => Err("connections were cut off: they took longer than server.drain_timeout".into()),
            },
            () = signals.stop() => Err("stopped by a second signal before requests in flight were finished".into()),
        }
    });
    // What still runs is no longer waited for.
    runtime.shutdown_background();
    lines.flush();
    served
}

/// SIGTERM and Ctrl-C.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes them over from the default, which is to die.
    pub fn new() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    pub async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
