//! Files and environment, layered by the `config` crate into one tree.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use config::{Config, ConfigError, Environment, File, FileFormat, Source as _};
use serde_json::Value;

use super::check::check;
use super::checked::Settings;
use super::diagnose::{Diagnostic, Faults, Source, TRY_DEMO};
use super::limited_file::read_text;
use super::places;
use super::typed;
use crate::types::build_error::BuildError;

/// Prefix of every variable that sets a key. A single underscore would catch the variables that Kubernetes
/// makes for a Service called parlance (`PARLANCE_PORT`).
const PREFIX: &str = "PARLANCE__";

/// The largest configuration file.
const MAX_FILE: u64 = 1024 * 1024;

/// Reads the configuration: built-in defaults, then the files in their order, then the environment's variables
/// (`PARLANCE__SERVER__LISTEN=…`). Tables are merged, lists replaced; an empty variable and a null count as not given.
///
/// # Errors
///
/// Every fault, not only the first. Only a file that cannot be read as TOML, YAML or JSON at all ends the
/// search early, because everything else would follow from it; and so do a hundred keys that nobody knows.
pub fn load(files: &[PathBuf], env: &BTreeMap<String, String>) -> Result<Settings, Vec<Diagnostic>> {
    let mut faults = Faults::default();
    let variables = environment(env, &mut faults);
    if files.is_empty() && variables.is_empty() && faults.is_empty() {
        faults.push(Diagnostic {
            file: None,
            key: String::new(),
            line: None,
            message: format!(
                "there is no configuration: name a file, as in 'parlance --config parlance.toml'{TRY_DEMO}"
            ),
        });
        return Err(faults.into_sorted());
    }
    let Some(mut tree) = layers(files, variables, &mut faults) else { return Err(faults.into_sorted()) };
    without_nulls(&mut tree);
    let extras = typed::take_settings(&mut tree);
    let raw = typed::read(tree, &mut faults);
    let settings = raw.and_then(|raw| check(raw, &extras, files, env, &mut faults));
    match settings {
        Some(settings) if faults.is_empty() => Ok(settings),
        _ => Err(faults.into_sorted()),
    }
}

/// Adds places to errors that were found after loading. Places are not kept in the settings, so the files are read again.
pub fn diagnose(
    files: &[PathBuf],
    env: &BTreeMap<String, String>,
    errors: Vec<BuildError>,
) -> Vec<Diagnostic> {
    let mut faults = Faults::default();
    let variables = environment(env, &mut faults);
    layers(files, variables, &mut faults);
    for error in errors {
        faults.add(&error.key, error.message);
    }
    faults.into_sorted()
}

/// One tree out of all layers; none where a file cannot be read.
fn layers(files: &[PathBuf], variables: HashMap<String, String>, faults: &mut Faults) -> Option<Value> {
    let mut builder = Config::builder();
    let mut readable = true;
    for path in files {
        match read(path) {
            Ok((source, file, odd)) => {
                faults.sources.push(source);
                for key in odd {
                    faults.add(
                        &key,
                        "is no known key: dots and brackets cannot stand in a key here, use a table",
                    );
                }
                builder = builder.add_source(file);
            }
            Err(found) => {
                readable = false;
                faults.sources.push(Source { file: path.display().to_string(), places: BTreeMap::new() });
                found.into_iter().for_each(|fault| faults.push(fault));
            }
        }
    }
    if !readable {
        return None;
    }
    let environment = Environment::with_prefix(PREFIX.trim_end_matches('_'))
        .prefix_separator("__")
        .separator("__")
        .source(Some(variables));
    match builder.add_source(environment).build().and_then(Config::try_deserialize) {
        Ok(tree) => Some(tree),
        Err(error) => {
            faults.add("", format!("the layers do not fit together: {}", cause(&error)));
            None
        }
    }
}

type Readable = (Source, File<config::FileSourceString, FileFormat>, Vec<String>);

/// Reads one file, and the keys at its top that `config` would take for paths.
fn read(path: &Path) -> Result<Readable, Vec<Diagnostic>> {
    let name = path.display().to_string();
    let fault =
        |line, message: String| Diagnostic { file: Some(name.clone()), key: String::new(), line, message };
    let format = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => FileFormat::Toml,
        Some("yaml" | "yml") => FileFormat::Yaml,
        Some("json") => FileFormat::Json,
        _ => {
            let message =
                "has a name that does not tell its format: it must end in .toml, .yaml, .yml or .json";
            return Err(vec![fault(None, message.to_owned())]);
        }
    };
    let text = read_text(path, MAX_FILE).map_err(|error| vec![fault(None, error.into())])?;
    let places = places::read(format, &text)
        .map_err(|found| found.into_iter().map(|(line, what)| fault(line, what)).collect::<Vec<_>>())?;
    let file = File::from_str(&text, format);
    let top = file.collect().map_err(|error| vec![fault(None, cause(&error))])?;
    let odd = top.into_keys().filter(|key| key.contains(['.', '['])).collect();
    Ok((Source { file: name, places }, file, odd))
}

/// Message of an error, without the "in …" that `config` adds for a file that it does not know, and without the value
/// that it repeats when a file holds no table.
fn cause(error: &ConfigError) -> String {
    match error {
        ConfigError::FileParse { cause, .. } => match cause.to_string() {
            text if text.starts_with("invalid type") => "must hold a table of keys, nothing else".to_owned(),
            text => format!("cannot be used: {text}"),
        },
        other => other.to_string(),
    }
}

/// The variables that set keys. They are separated here, because `config` ignores what it cannot place.
fn environment(env: &BTreeMap<String, String>, faults: &mut Faults) -> HashMap<String, String> {
    let mut given = HashMap::new();
    let about = |variable: &str, message: String| Diagnostic {
        file: Some(variable.to_owned()),
        key: String::new(),
        line: None,
        message,
    };
    for (variable, value) in env {
        let Some(path) = variable.strip_prefix(PREFIX).filter(|_| !value.is_empty()) else { continue };
        let key = path.to_lowercase().replace("__", ".");
        let plain = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        };
        if !key.split('.').all(plain) {
            let message =
                "names no key: two underscores stand between levels, as in PARLANCE__SERVER__LISTEN";
            faults.push(about(variable, message.to_owned()));
            continue;
        }
        if let Some(other) = faults.variables.insert(key, variable.clone()) {
            faults.push(about(variable, format!("sets the same key as {other}")));
        }
        given.insert(variable.clone(), value.clone());
    }
    let tables: Vec<(String, String)> = faults
        .variables
        .iter()
        .filter_map(|(key, variable)| {
            let inner = format!("{key}.");
            let (_, other) =
                faults.variables.range(inner.clone()..).next().filter(|(k, _)| k.starts_with(&inner))?;
            Some((variable.clone(), other.clone()))
        })
        .collect();
    for (variable, other) in tables {
        faults.push(about(
            &variable,
            format!("sets a value where {other} needs a table; give only one of them"),
        ));
        given.remove(&variable);
    }
    given
}

/// A null counts as not given, as an empty variable does.
fn without_nulls(tree: &mut Value) {
    match tree {
        Value::Object(table) => {
            table.retain(|_, value| !value.is_null());
            table.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}
