//! The stories: one exchange in one file, in the folder of its vendor.

use std::fs;
use std::path::{Path, PathBuf};

use super::Tree;

/// One story.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) name: String,
    pub(crate) told: Tree,
}

impl Story {
    /// Every story of the vendor, in the order of their names.
    pub(crate) fn of(vendor: &str) -> Vec<Story> {
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

/// Folder of the stories.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/stories")
}

/// Names in a folder, in order.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
