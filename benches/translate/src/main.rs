//! Repeated translations, for a program that counts instructions: see `guard` beside this crate.
//!
//! ```text
//! parlance-translate vendors
//! parlance-translate encode VENDOR TIMES
//! parlance-translate decode VENDOR TIMES KILOBYTES
//! ```

use std::hint::black_box;
use std::io::Write;
use std::process::ExitCode;

use parlance_adapters::{ALL, Adapter};
use parlance_translate::{Decode, Encode};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words == ["vendors"] {
        return list_vendors();
    }
    if run(&words).is_some() { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

/// Prints the name of each vendor on a line of its own.
fn list_vendors() -> ExitCode {
    let names: String = ALL.iter().map(|adapter| format!("{}\n", adapter.spec().vendor)).collect();
    if std::io::stdout().write_all(names.as_bytes()).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a job; `None` for unknown words.
fn run(words: &[&str]) -> Option<()> {
    let (job, vendor, rest) = (words.first()?, words.get(1)?, words.get(2..)?);
    let adapter: &'static dyn Adapter = *ALL.iter().find(|adapter| adapter.spec().vendor == *vendor)?;
    let times: usize = rest.first()?.parse().ok()?;
    match (*job, rest.get(1)) {
        ("encode", None) => {
            let job = Encode::new(adapter);
            (0..times).for_each(|_| drop(black_box(job.run())));
        }
        ("decode", Some(kilobytes)) => {
            let job = Decode::new(adapter, kilobytes.parse::<usize>().ok()? * 1024);
            (0..times).for_each(|_| drop(black_box(job.run())));
        }
        _ => return None,
    }
    Some(())
}
