//! Configurations in temporary files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use parlance::settings::{self, Diagnostic, Settings};
use tempfile::TempDir;

pub(crate) type Env = BTreeMap<String, String>;

pub(crate) fn env(pairs: &[(&str, &str)]) -> Env {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A directory with files in it.
pub(crate) fn files(contents: &[(&str, &str)]) -> (TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let paths = contents
        .iter()
        .map(|(name, content)| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        })
        .collect();
    (dir, paths)
}

pub(crate) fn load(
    contents: &[(&str, &str)],
    variables: &[(&str, &str)],
) -> Result<Settings, Vec<Diagnostic>> {
    let (_dir, paths) = files(contents);
    settings::load(&paths, &env(variables))
}

pub(crate) fn good(toml: &str) -> Settings {
    load(&[("parlance.toml", toml)], &[]).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

/// The faults as they are shown, without the directory of the file.
pub(crate) fn faults(contents: &[(&str, &str)], variables: &[(&str, &str)]) -> Vec<String> {
    let (dir, paths) = files(contents);
    let directory = format!("{}/", dir.path().display());
    match settings::load(&paths, &env(variables)) {
        Ok(_) => Vec::new(),
        Err(found) => found.iter().map(|fault| fault.to_string().replace(&directory, "")).collect(),
    }
}

/// The names of all vendors, as sentences list them.
pub(crate) fn vendors() -> String {
    let names: Vec<&str> = parlance_adapters::ALL.iter().map(|adapter| adapter.spec().vendor).collect();
    names.join(", ")
}

/// One upstream without a fault, for tests of everything else.
pub(crate) const UPSTREAM: &str = "[upstreams.sales]\nvendor = \"kakiyo\"\ncredential = { value = \"k\" }\n";

/// The SHA-256 of no known key.
pub(crate) const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
