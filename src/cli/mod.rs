//! Command line: its commands and the exit codes of the program.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

mod demo;
mod serve;
mod terminal;
mod vendors;

use clap::{Args, Parser, Subcommand};

use self::serve::{runtime, serve};
use self::terminal::{CliError, print};
use crate::edge::openapi;
use crate::runtime::reload::Source;
use crate::settings;

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

/// Runs the command line. Exit 0, or 1 with the reason on standard error; clap itself ends with 2 on wrong usage.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(CliError(lines)) => {
            let mut err = io::stderr().lock();
            for line in lines {
                // A closed standard error leaves no way to report this.
                let _ = writeln!(err, "{line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), CliError> {
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(configuration) => serve(source(configuration)),
        Command::Check(configuration) => check(&source(configuration)),
        Command::Vendors { json: true } => print(&format!("{:#}\n", vendors::json())),
        Command::Vendors { json: false } => print(&vendors::table()),
        Command::Openapi => print(&String::from_utf8_lossy(&openapi::document())),
        Command::ConfigSchema => print(&settings::schema()),
        Command::Sandbox { port } => runtime(None)?.block_on(demo::sandbox(port)),
        Command::Demo { once: true } => runtime(None)?.block_on(demo::once()),
        Command::Demo { once: false } => runtime(None)?.block_on(demo::run()),
    }
}

/// Reads the environment. Only this function does.
fn source(configuration: Configuration) -> Source {
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Source::new(configuration.files, environment)
}

fn check(source: &Source) -> Result<(), CliError> {
    let settings = source.load().map_err(CliError::faults)?;
    let (upstreams, routes) = (settings.upstreams.len(), settings.routes.len());
    source.build(settings, None).map_err(CliError::faults)?;
    print(&format!("The configuration is right: {upstreams} upstreams, {routes} routes.\n"))
}
