//! Canaries in every secret, on every surface: nothing that is logged, refused, counted or
//! printed may hold one. Also that unsafe code is where it belongs.
#![cfg(feature = "dev")]
#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a failed expectation fails")]
#![allow(missing_docs, unreachable_pub, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod commands;
mod debug;
mod doors;
mod source;
mod words;
