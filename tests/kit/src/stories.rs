//! The stories: one exchange in one file, in the folder of its vendor.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Tree;

/// The stories that every vendor has.
pub const MANDATORY: &[&str] = &[
    "full",
    "minimal",
    "clear",
    "unsupported",
    "not_found",
    "unauthorized",
    "rate_limited",
    "server_error",
    "malformed",
];

/// One story.
#[derive(Debug)]
pub struct Story {
    /// The name of its file, without the extension.
    pub name: String,
    /// The exchange.
    pub told: Tree,
}

impl Story {
    /// Every story of the vendor, in the order of their names.
    #[must_use]
    pub fn of(vendor: &str) -> Vec<Story> {
        let folder = root().join(vendor);
        let files = names(&folder).into_iter().filter(|name| name.ends_with(".json"));
        files
            .map(|file| {
                let text = fs::read(folder.join(&file)).unwrap_or_else(|e| panic!("{vendor}/{file}: {e}"));
                let told = Tree::parse(&text).unwrap_or_else(|e| panic!("{vendor}/{file}: {e}"));
                Story { name: file.trim_end_matches(".json").to_owned(), told }
            })
            .collect()
    }
}

/// The folder of the stories.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../stories")
}

/// The names in a folder, in order.
#[must_use]
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The name of the upstream at which the stories of a vendor find their conversations.
#[must_use]
pub fn upstream(vendor: &str) -> String {
    let stories = Story::of(vendor);
    let full = stories.iter().find(|story| story.name == "full");
    let id = full.and_then(|story| story.told.get("id")?.text());
    id.and_then(|id| id.split_once(':'))
        .unwrap_or_else(|| panic!("{vendor}/full.json names no upstream"))
        .0
        .to_owned()
}
