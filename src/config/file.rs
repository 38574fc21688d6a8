//! The configuration file as text, and the look ahead for names of environment variables.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::environment::{SIDEKEY_TOKEN, VAULT_TOKEN, is_variable_name};
use super::error::{Located, Problem, Spot};
use super::load::Context;
use crate::memory::open_regular;

/// More than any sensible configuration, and little enough to read whole.
const LONGEST_FILE: u64 = 1 << 20;

/// The names of the environment variables that hold secrets: `VAULT_TOKEN`, `SIDEKEY_TOKEN`,
/// and what the `token_env` keys of `file` name.
///
/// For the start of the process, before threads run: each is to be taken out of the
/// environment and handed to [`load`](super::load()) in
/// [`Environment::secrets`](super::Environment). Reports nothing; what is wrong with the file,
/// `load` will say.
pub fn secret_variables(file: Option<&Path>) -> Vec<String> {
    let mut names = BTreeSet::from([VAULT_TOKEN.to_owned(), SIDEKEY_TOKEN.to_owned()]);
    if let Some(text) = file.and_then(|file| read_text(file).ok()) {
        let (tree, _) = DeTable::parse_recoverable(&text);
        let callers = tree.get_ref().get("callers").map(toml::Spanned::get_ref);
        for caller in callers.and_then(DeValue::as_array).into_iter().flatten() {
            let name = caller.get_ref().get("token_env").and_then(|name| name.get_ref().as_str());
            names.extend(name.filter(|name| is_variable_name(name)).map(str::to_owned));
        }
    }
    names.into_iter().collect()
}

/// The file's text, or why there is none.
pub(super) fn read_text(path: &Path) -> Result<String, Problem> {
    let spot = Spot::outside(&path.display().to_string());
    let unreadable = |error: io::Error| Problem::at(&spot, format!("cannot be read: {error}"));
    let file = open_regular(path).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => Problem::at(&spot, "is not a regular file")
            .hint("it is read again on SIGHUP, so a pipe or a terminal cannot be used"),
        _ => unreadable(error),
    })?;
    let mut bytes = Vec::new();
    file.take(LONGEST_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LONGEST_FILE) {
        return Err(Problem::at(&spot, format!("is longer than {LONGEST_FILE} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let newlines = error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count();
        Problem::at(&spot, format!("is not UTF-8 text from line {} on", newlines + 1))
    })
}

/// Warns of a credential's file that every user may read. A file that is not there yet is
/// left to its reader.
pub(super) fn warn_if_world_readable(file: &Located<PathBuf>, context: &Context<'_>) {
    const READ_BY_OTHERS: u32 = 0o004;
    let mode = std::fs::metadata(&file.value).map(|metadata| metadata.permissions().mode());
    if mode.is_ok_and(|mode| mode & READ_BY_OTHERS != 0) {
        context.report.warn(format!(
            "{}: every user may read {}; take that right away with chmod o-r",
            file.at.path,
            file.value.display()
        ));
    }
}
