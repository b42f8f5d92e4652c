//! Files of limited size.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::value_error::ValueError;

/// Reads a file of at most `limit` bytes.
///
/// # Errors
///
/// The file cannot be read, or is larger.
pub fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, ValueError> {
    let unreadable = |error: &io::Error| ValueError::new(format!("cannot be read ({})", reason(error)));
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > limit {
        return Err(ValueError::new(format!("is larger than {} KiB", limit / 1024)));
    }
    Ok(bytes)
}

/// Reads a text file of at most `limit` bytes.
///
/// # Errors
///
/// The file cannot be read, is larger, or is not UTF-8.
pub(super) fn read_text(path: &Path, limit: u64) -> Result<String, ValueError> {
    String::from_utf8(read_limited(path, limit)?).map_err(|_| ValueError::new("is not UTF-8 text"))
}

/// The operating system's words, without its error number.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text.to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_above_the_limit_is_refused_and_not_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![b'x'; 1024]).unwrap();
        assert_eq!(read_limited(&path, 1024).map(|bytes| bytes.len()), Ok(1024));
        std::fs::write(&path, vec![b'x'; 1025]).unwrap();
        assert_eq!(read_limited(&path, 1024), Err(ValueError::new("is larger than 1 KiB")));
        std::fs::write(&path, [0xFF]).unwrap();
        assert_eq!(read_text(&path, 1024), Err(ValueError::new("is not UTF-8 text")));
        let missing = read_limited(&folder.path().join("none"), 1024).unwrap_err();
        assert_eq!(missing.to_string(), "cannot be read (no such file or directory)");
    }
}
