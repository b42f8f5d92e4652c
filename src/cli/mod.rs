//! Command line: its commands and the exit codes of the program.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

#[cfg(feature = "demo")]
mod demo;
mod serve;
mod terminal;
mod vendors;

use clap::{Args, Parser, Subcommand};

use self::serve::serve;
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
    /// Check a configuration and report all its faults, each with its place
    Check(Configuration),
    /// Show the members that each vendor supports
    Vendors {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the OpenAPI document of the API
    Openapi,
    /// Print the JSON Schema of the configuration
    ConfigSchema,
    /// Run the simulated vendors only
    #[cfg(feature = "demo")]
    Sandbox {
        /// Port of the control endpoint; the vendors are on the ports after it. 0 lets the system choose
        #[arg(long, default_value_t = 9100)]
        port: u16,
    },
    /// Run simulated vendors and a gateway in front of them: no account, no network, no file
    #[cfg(feature = "demo")]
    Demo {
        /// Update one conversation of each vendor, show every request and answer, and end
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

/// Runs the command line. Exits with 0, or with 1 and the reason on standard error; clap exits with 2 on wrong usage.
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
        #[cfg(feature = "demo")]
        Command::Sandbox { port } => serve::runtime(None)?.block_on(demo::sandbox(port)),
        #[cfg(feature = "demo")]
        Command::Demo { once: true } => serve::runtime(None)?.block_on(demo::once()),
        #[cfg(feature = "demo")]
        Command::Demo { once: false } => serve::runtime(None)?.block_on(demo::run()),
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
