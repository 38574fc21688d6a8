//! Canaries in every secret, on every surface: nothing that is logged, refused, counted or
//! printed may hold one. Also that unsafe code is where it belongs.
#![cfg(feature = "dev")]
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failed expectation fails the test"
)]

#[path = "../support/mod.rs"]
mod support;

mod commands;
mod debug;
mod doors;
mod source;
mod words;
