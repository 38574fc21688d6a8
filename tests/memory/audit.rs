//! What Vault itself writes down: every token that it gave out.

use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;

use super::stage::Stage;
use super::support::vault::{Real, TestVault};

/// A raw audit log, in which nothing is hashed.
pub struct RawAudit {
    log: PathBuf,
    root: String,
    _folder: TempDir,
}

impl RawAudit {
    pub fn start(vault: &Real) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("audit.log");
        let options = json!({ "file_path": log, "log_raw": "true", "mode": "0600" });
        vault.set_up("POST", "sys/audit/file", json!({ "type": "file", "options": options }));
        Self { log, root: vault.root_token(), _folder: folder }
    }

    /// Has `stage` search for every token so far, but root's.
    pub fn learn_tokens(&self, stage: &Stage) {
        let text = std::fs::read_to_string(&self.log).unwrap();
        let mut tokens: Vec<&str> = text
            .split("\"client_token\":\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .filter(|token| token.starts_with("hvs.") && *token != self.root)
            .collect();
        tokens.sort_unstable();
        tokens.dedup();
        assert!(!tokens.is_empty(), "no login in the audit log");
        for token in tokens {
            stage.needles.borrow_mut().add("Vault token", token.as_bytes());
        }
    }
}
