//! How connections of applications end that do not end in order. The names are stable: metrics use
//! them, as they do for TCP.

use std::error::Error as _;
use std::io;

use super::body::BodyError;

/// Nothing was asked for in time.
pub(super) const IDLE: &str = "idle_timeout";

pub(super) fn word(error: &hyper::Error) -> &'static str {
    let source = error.source();
    let body = source.and_then(|source| source.downcast_ref::<BodyError>());
    let io = source.and_then(|source| source.downcast_ref::<io::Error>());
    match (body, io) {
        (Some(BodyError::Stalled), _) => "answer_timeout",
        _ if error.is_parse() => "malformed",
        _ if error.is_timeout() => IDLE,
        // A write made no progress.
        (_, Some(io)) if io.kind() == io::ErrorKind::TimedOut => "stuck",
        _ => "broken",
    }
}
