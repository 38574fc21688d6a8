//! Whether the files behind a connection are still the ones that it was made with.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::refused::{Fingerprint, fingerprint};
use crate::config::VaultConfig;

/// The files of trust anchors and client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp(Vec<(Option<State>, PathBuf)>);

/// What changes when a file is replaced or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// Of what `config` names, now. Taken before the files are read, so that none is missed.
    pub(super) fn of(config: &VaultConfig) -> Self {
        let named = [&config.ca_cert, &config.client_cert, &config.client_key];
        let mut files: Vec<PathBuf> = named.into_iter().flatten().cloned().collect();
        if let Some(folder) = config.ca_path.as_ref().filter(|_| config.ca_cert.is_none()) {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            files.extend(entries.map(|entry| entry.path()));
            files.sort();
        }
        Self(files.into_iter().map(|file| (state(&file), file)).collect())
    }

    /// For comparisons with what is kept as one.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        fingerprint(format!("{:?}", self.0).as_bytes())
    }
}

/// `None` for a file that is not there.
fn state(file: &Path) -> Option<State> {
    let found = std::fs::metadata(file).ok()?;
    let modified = (found.mtime(), found.mtime_nsec());
    Some(State { inode: found.ino(), length: found.len(), modified })
}
