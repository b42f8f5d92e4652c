//! Digests of the files that a configuration is made of. A change of a digest is a change of the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::settings::{ServerTls, Settings};

/// Bytes of a file that enter its digest: more than the settings accept of any file.
const MAX_FILE: u64 = 4 * 1024 * 1024 + 1;

/// SHA-256 of each file; `None` for one that cannot be read. Times and sizes say too little where files are swapped by
/// links.
pub type FileDigests = BTreeMap<PathBuf, Option<[u8; 32]>>;

/// Digests files as they are now.
pub fn digests<'a>(paths: impl Iterator<Item = &'a Path>) -> FileDigests {
    let digest = |path| {
        let mut bytes = Vec::new();
        File::open(path).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
        Some(Sha256::digest(bytes).into())
    };
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
