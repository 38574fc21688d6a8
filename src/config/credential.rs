//! Tokens, and the files that hold credentials: what can be found wrong with them beforehand.

use std::path::PathBuf;

use super::error::{Located, Problem, Spot};
use super::file::warn_if_world_readable;
use super::load::Context;
use crate::memory::SecretBuf;

/// No token is longer.
const LONGEST_TOKEN: usize = 64 << 10;

/// Whether a header can carry `token` as it is: visible ASCII alone.
pub(crate) fn fits_header(token: &[u8]) -> bool {
    token.iter().all(u8::is_ascii_graphic)
}

/// Reports a token that nobody could ever send. It is not quoted.
pub(super) fn check_token(token: &SecretBuf, at: &Spot, context: &Context<'_>) {
    if !fits_header(token.expose()) {
        let message = "the token has characters that no HTTP header can carry";
        let hint = "visible ASCII alone: no white space inside, no control characters, no accents";
        context.report.problem(Problem::at(at, message).hint(hint));
    }
}

/// A file that is not there yet is left to its reader.
pub(super) fn check_file(file: &Located<PathBuf>, context: &Context<'_>) {
    let Located { value: path, at } = file;
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        let problem = Problem::at(at, format!("{} is not a regular file", path.display()));
        context.report.problem(
            problem.hint("it is read more than once, so a pipe or a terminal cannot be used"),
        );
    }
    warn_if_world_readable(file, context);
}

/// [`check_file`], and [`check_token`] of what it holds by now.
pub(super) fn check_token_file(file: &Located<PathBuf>, context: &Context<'_>) {
    check_file(file, context);
    if let Ok(token) = SecretBuf::read_file(&file.value, LONGEST_TOKEN) {
        check_token(&token, &file.at, context);
    }
}
