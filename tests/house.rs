//! The house rules: what may use what, what stands where, and that what is generated is up to date.

// Always true here; it tells the lints that this is test code.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use parlance::edge::openapi;
use parlance::types::remedies;
use parlance_adapters::ALL;

/// What adapters may use: bytes, requests, and SIMD to read JSON. Nothing that does IO.
const ADAPTERS_MAY_USE: [&str; 4] = ["bytes", "http", "simdutf8", "wide"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every Rust file below a folder, as a path from the root, with its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().display().to_string(), text));
            }
        }
    }
    assert!(!found.is_empty(), "no source in {folder}");
    found.sort();
    found
}

/// The lines of code, numbered from 1, without what stands behind `//`.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line.split("//").next().unwrap_or_default()))
}

/// Whether a line names a path such as `std::fs` or a crate such as `tokio`, as a word of its own.
fn names(line: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + name.len()..].chars().next();
        !before.is_some_and(word) && !after.is_some_and(word)
    })
}

/// Whether a line names `std::{module}`, written out or in a list such as `use std::{fs, io}`.
fn names_std(line: &str, module: &str) -> bool {
    let listed = line.split_once("std::{").is_some_and(|(_, list)| {
        list.split(['{', ',', '}', ';']).any(|item| item.trim().split("::").next() == Some(module))
    });
    listed || names(line, &format!("std::{module}"))
}

/// The entries of one table of a manifest: names, and what stands behind them. A table of its own
/// (`[dependencies.name]`) is an entry too.
fn entries(manifest: &str, table: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            inside = header == table;
            if let Some(name) = header.strip_prefix(table).and_then(|rest| rest.strip_prefix('.')) {
                found.push((name.to_owned(), String::new()));
            }
        } else if inside && let Some(end) = line.find(['.', ' ', '=']) {
            found.push((line[..end].to_owned(), line[end..].to_owned()));
        }
    }
    found
}

#[track_caller]
fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// Lines of these files that break a rule, each with its place.
fn lines_that(files: &[(String, String)], breaks: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files {
        for (number, line) in code(text) {
            if breaks(path, line) {
                found.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    found
}

#[test]
fn adapters_depend_on_nothing_that_does_io() {
    let manifest = read("adapters/Cargo.toml");
    let used = ["dependencies", "build-dependencies"].iter().flat_map(|section| entries(&manifest, section));
    let strangers: Vec<String> =
        used.filter(|(name, _)| !ADAPTERS_MAY_USE.contains(&name.as_str())).map(|(name, _)| name).collect();
    none(&format!("adapters/Cargo.toml may name {ADAPTERS_MAY_USE:?} only, but names"), &strangers);
    assert!(!manifest.contains("[target."), "adapters have no dependencies of single platforms");
}

#[test]
fn adapters_are_arithmetic() {
    let files = sources("adapters/src");
    let modules = ["env", "fs", "net", "process", "thread"];
    let rest = [
        "SystemTime",
        "Instant",
        "tokio",
        "hyper",
        "tower",
        "rustls",
        "config",
        "tracing",
        "println",
        "eprintln",
    ];
    let found = lines_that(&files, |_, line| {
        modules.iter().any(|module| names_std(line, module)) || rest.iter().any(|name| names(line, name))
    });
    none("adapters do no IO, ask for no time, and log nothing", &found);
}

#[test]
fn no_vendor_is_named_in_the_gateway() {
    let vendors: Vec<String> = ALL
        .iter()
        .flat_map(|adapter| [adapter.spec().vendor.to_owned(), adapter.spec().title.to_lowercase()])
        .collect();
    let mut found = Vec::new();
    for (path, text) in sources("src") {
        // Comments count as well: whoever reads the gateway should not have to know one vendor.
        for (at, line) in text.lines().enumerate() {
            let lower = line.to_lowercase();
            if vendors.iter().any(|vendor| lower.contains(vendor.as_str())) {
                found.push(format!("{path}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    none("src/ knows vendors only through parlance_adapters::ALL, but names one in", &found);
}

#[test]
fn a_vendors_file_names_no_other_vendor() {
    let mut found = Vec::new();
    for (folder, whole) in [("adapters/src/vendors", false), ("sandbox/src/vendors", true)] {
        for (path, text) in sources(folder) {
            let Some(own) = ALL.iter().find(|it| path.ends_with(&format!("/{}.rs", it.spec().vendor))) else {
                continue;
            };
            for other in ALL.iter().filter(|it| it.spec().vendor != own.spec().vendor) {
                let (name, title) = (other.spec().vendor, other.spec().title);
                let named = text.lines().any(|line| {
                    let line = line.to_lowercase();
                    names(&line, name) || names(&line, &title.to_lowercase())
                });
                if named {
                    found.push(format!("{path} names {name}"));
                }
            }
            assert!(
                whole || text.contains("impl Adapter for"),
                "{path} is a vendor's file without an adapter"
            );
        }
    }
    none("a vendor lives in one file and knows no other", &found);
}

#[test]
fn every_vendor_has_one_file_in_each_place() {
    let mut missing = Vec::new();
    for adapter in ALL {
        let vendor = adapter.spec().vendor;
        for path in [format!("adapters/src/vendors/{vendor}.rs"), format!("sandbox/src/vendors/{vendor}.rs")]
        {
            if !root().join(&path).is_file() {
                missing.push(path);
            }
        }
        let stories =
            testkit::stories::MANDATORY.iter().map(|name| format!("tests/stories/{vendor}/{name}.json"));
        missing.extend(stories.filter(|path| !root().join(path).is_file()));
    }
    none("write what is missing", &missing);
}

/// A response other than a success is made by [`Problem`](parlance::types::problem::Problem) alone: where responses are
/// made, only 200, 204 and 304 are named.
#[test]
fn the_status_of_a_problem_is_known_in_one_file() {
    let found = lines_that(&sources("src"), |path, line| {
        let makes =
            ["src/edge/", "src/gateway/", "src/idempotency/answer"].iter().any(|it| path.starts_with(it));
        let named = |behind: &str| {
            ["OK", "NO_CONTENT", "NOT_MODIFIED", "{", ","].iter().any(|it| behind.starts_with(it))
        };
        makes && line.split("StatusCode::").skip(1).any(|behind| !named(behind))
    });
    none("make a Problem; types/code.rs says which status it has", &found);
}

/// Documentation says what a thing is; it begins with no question.
#[test]
fn comments_begin_with_no_question_word() {
    let words = ["What", "How", "Whether", "When", "Where", "Who", "Why"];
    let mut found = Vec::new();
    for (path, text) in ["src", "adapters/src"].into_iter().flat_map(sources) {
        for (at, line) in text.lines().enumerate() {
            let comment = line.trim_start().strip_prefix("/// ").or(line.trim_start().strip_prefix("//! "));
            let first = comment.and_then(|text| text.split([' ', ',', '.', ':', '?', '\'']).next());
            if first.is_some_and(|first| words.contains(&first)) {
                found.push(format!("{path}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    none("begin with a noun phrase or a third-person verb", &found);
}

/// Layers of `src`, from the top: a module imports only modules of the layers below its own.
const LAYERS: &[&[&str]] = &[
    &["cli"],
    &["runtime"],
    &["admin"],
    &["edge"],
    &["gateway"],
    &["upstream"],
    &["telemetry", "server", "idempotency"],
    &["settings"],
    &["types"],
];

#[test]
fn modules_import_only_lower_layers() {
    let layer = |name: &str| LAYERS.iter().position(|names| names.contains(&name));
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let own = path.split('/').nth(1).unwrap_or_default().trim_end_matches(".rs");
        let Some(from) = layer(own) else {
            assert!(matches!(own, "lib" | "main"), "{own} has no layer in LAYERS");
            continue;
        };
        for (number, line) in code(&text) {
            assert!(!line.contains("crate::{"), "{path}:{number}: one path for each use");
            for behind in line.split("crate::").skip(1) {
                let other =
                    behind.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                if other != own && layer(other).is_none_or(|to| to <= from) {
                    wrong.push(format!("{path}:{number}: {own} -> {other}"));
                }
            }
        }
    }
    none("move what is shared to a lower layer", &wrong);
}

/// The modules of a crate by path, such as `upstream::retry`, each with those that its `use` lines name.
fn imports(folder: &str) -> BTreeMap<String, BTreeSet<String>> {
    let name = |path: &str| {
        let path = path.trim_start_matches(folder).trim_matches('/').trim_end_matches(".rs");
        path.trim_end_matches("/mod").replace('/', "::")
    };
    let files: BTreeMap<String, String> =
        sources(folder).into_iter().map(|(path, text)| (name(&path), text)).collect();
    let used = |own: &str, line: &str| {
        let path = line.trim().trim_start_matches("pub ").strip_prefix("use ")?.trim_start_matches("self::");
        let parent = own.rsplit_once("::").map_or("", |(parent, _)| parent);
        let path = match path.split_once("::")? {
            ("crate", rest) => rest.to_owned(),
            ("super", rest) => format!("{parent}::{rest}"),
            (child, _) if files.contains_key(&format!("{own}::{child}")) => format!("{own}::{path}"),
            _ => return None,
        };
        let names: Vec<&str> = path.trim_matches([':', ';']).split("::").collect();
        // The longest beginning of the path that is a module.
        (1..=names.len()).rev().map(|n| names[..n].join("::")).find(|it| it != own && files.contains_key(it))
    };
    let own = |(own, text): (&String, &String)| {
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        (own.clone(), code(text).filter_map(|(_, line)| used(own, line)).collect())
    };
    files.iter().map(own).collect()
}

#[test]
fn modules_import_each_other_in_no_circle() {
    for folder in ["src", "adapters/src"] {
        let mut left = imports(folder);
        // Whoever imports nothing that is left cannot be in a circle.
        while let Some(free) = left.iter().find(|(_, to)| to.is_empty()).map(|(name, _)| name.clone()) {
            left.remove(&free);
            left.values_mut().for_each(|to| {
                to.remove(&free);
            });
        }
        let circle: Vec<String> = left.iter().map(|(name, to)| format!("{name} -> {to:?}")).collect();
        none(&format!("{folder}: these modules are in circles, or import one that is"), &circle);
    }
}

#[test]
fn the_environment_is_read_in_one_file() {
    let found = lines_that(&sources("src"), |path, line| {
        names_std(line, "env") && path != "src/cli/mod.rs" && !line.contains("env!")
    });
    none("the environment is read in cli/mod.rs alone", &found);
}

#[test]
fn every_dependency_says_why() {
    let manifest = read("Cargo.toml");
    let (_, behind) = manifest.split_once("[workspace.dependencies]").unwrap();
    let section = behind.split("\n[").next().unwrap();
    let silent: Vec<String> = section
        .lines()
        // Our own crates need no reason.
        .filter(|line| line.contains('=') && !line.starts_with('#') && !line.starts_with("parlance-"))
        .filter(|line| line.rsplit_once('#').is_none_or(|(_, why)| why.trim().len() < 3))
        .map(str::to_owned)
        .collect();
    none("say behind each dependency why it is there: `name = \"1\" # why`", &silent);
}

#[test]
fn members_take_versions_from_the_workspace() {
    let mut own = Vec::new();
    for path in [
        "Cargo.toml",
        "adapters/Cargo.toml",
        "sandbox/Cargo.toml",
        "benches/translate/Cargo.toml",
        "tests/kit/Cargo.toml",
    ] {
        let manifest = read(path);
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, rest) in entries(&manifest, section) {
                if !rest.replace(' ', "").contains("workspace=true") {
                    own.push(format!("{path}: {section}.{name}"));
                }
            }
        }
        let lints = entries(&manifest, "lints");
        assert!(lints.iter().any(|(name, _)| name == "workspace"), "{path}: [lints] workspace = true");
    }
    none("every version stands in [workspace.dependencies]", &own);
}

#[test]
fn no_lint_is_switched_off_for_good() {
    let mut files = Vec::new();
    for folder in ["src", "tests", "adapters", "sandbox", "benches"] {
        files.extend(sources(folder));
    }
    // In two pieces, so that this file does not find itself.
    let words = [concat!("#[", "allow("), concat!("#![", "allow(")];
    let found = lines_that(&files, |_, line| words.iter().any(|word| line.contains(word)));
    none("write #[expect(.., reason = \"…\")], which goes when its reason goes", &found);
}

/// What the program prints.
fn printed(command: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_parlance")).env_clear().arg(command).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Compares a file with what it should hold; with `UPDATE_GENERATED=1` writes it instead.
fn up_to_date(path: &str, fresh: &str) {
    let file = root().join(path);
    let stored = fs::read_to_string(&file).unwrap_or_default();
    if stored == fresh {
        return;
    }
    if std::env::var_os("UPDATE_GENERATED").is_some_and(|value| value == "1") {
        fs::write(&file, fresh).unwrap_or_else(|e| panic!("{path}: {e}"));
        return;
    }
    let at = stored.lines().zip(fresh.lines()).take_while(|(a, b)| a == b).count() + 1;
    panic!("{path} is out of date from line {at} on. Update it: UPDATE_GENERATED=1 cargo test --test house");
}

#[test]
fn generated_documents_are_up_to_date() {
    up_to_date("docs/openapi.json", &printed("openapi"));
    up_to_date("config/parlance.schema.json", &printed("config-schema"));
}

/// Judges, as [`up_to_date`] does, the part of a file between the lines `<!-- name -->` and `<!-- /name -->`.
fn part_up_to_date(path: &str, name: &str, fresh: &str) {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let text = read(path);
    let parts = text.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let Some((before, behind)) = parts else {
        panic!("{path} needs the lines {begin:?} and {end:?}; what is generated stands between them");
    };
    up_to_date(path, &format!("{before}{begin}{fresh}{end}{behind}"));
}

#[test]
fn generated_parts_of_pages_are_up_to_date() {
    part_up_to_date("README.md", "matrix", &printed("vendors"));
    part_up_to_date("docs/api.md", "compatibility", openapi::COMPATIBILITY);
    part_up_to_date("docs/api.md", "headers", &openapi::headers::markdown());
    part_up_to_date("docs/api.md", "problems", &remedies::markdown());
}

#[test]
fn nothing_refers_to_what_is_not_there() {
    // Links of Markdown files to files of the project.
    let mut broken = Vec::new();
    for path in markdown() {
        let text = fs::read_to_string(&path).unwrap();
        for piece in text.split("](").skip(1) {
            let target = piece.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.contains(char::is_whitespace) {
                continue;
            }
            if !path.parent().unwrap().join(target).exists() {
                broken.push(format!("{}: {target}", path.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    none("links lead nowhere", &broken);
}

/// Every Markdown file of the project.
fn markdown() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let ours = !name.starts_with('.') && name != "target" && name != "node_modules";
            if path.is_dir() && ours {
                folders.push(path);
            } else if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found
}
