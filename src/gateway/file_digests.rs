//! Digests of the files that a configuration is made of. A change of a digest is a change of the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::settings::limited_file;
use crate::settings::{ServerTls, Settings};

/// Largest file that is digested, in bytes. The settings accept no larger file.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// SHA-256 of each file; `None` for one that cannot be read or is larger than 4 MiB. Times and sizes say too little where files are swapped by
/// links.
pub type FileDigests = BTreeMap<PathBuf, Option<[u8; 32]>>;

/// Digests files as they are now.
pub fn digests<'a>(paths: impl Iterator<Item = &'a Path>) -> FileDigests {
    let digest =
        |path| limited_file::read_limited(path, MAX_FILE).ok().map(|bytes| Sha256::digest(bytes).into());
    paths.map(|path| (path.to_owned(), digest(path))).collect()
}

/// All files that make another configuration when they change. Credential files are not among them: the users of a
/// credential read it again themselves.
pub fn sources(settings: &Settings) -> impl Iterator<Item = &Path> {
    settings.files.iter().map(PathBuf::as_path).chain(certificates(settings))
}

/// Files of certificates and their keys.
pub(super) fn certificates(settings: &Settings) -> impl Iterator<Item = &Path> {
    let authorities = settings.upstreams.values().filter_map(|upstream| upstream.ca_file.as_deref());
    settings.server.tls.iter().flat_map(tls_files).chain(authorities)
}

/// Files of the API listener's TLS.
pub(super) fn tls_files(tls: &ServerTls) -> impl Iterator<Item = &Path> {
    [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()]
        .into_iter()
        .flatten()
        .map(PathBuf::as_path)
}
