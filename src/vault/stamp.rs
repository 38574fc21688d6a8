//! Whether the files behind a connection are still the ones that it was made with.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::refused::{Fingerprint, fingerprint};
use crate::config::VaultConfig;

/// Inode, length and time of change of trust anchors and client certificate; `None` for a file
/// that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp(Vec<(PathBuf, Option<(u64, u64, i64, i64)>)>);

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
        Self(files.into_iter().map(|file| (file.clone(), stamp(&file))).collect())
    }

    /// For comparisons with what is kept as one.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        fingerprint(format!("{:?}", self.0).as_bytes())
    }
}

fn stamp(file: &Path) -> Option<(u64, u64, i64, i64)> {
    let found = std::fs::metadata(file).ok()?;
    Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}
