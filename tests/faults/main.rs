//! The real binary in front of a Vault that fails on a script: what the application sees, that
//! an old value is served and marked until `max_stale` and never after, that Vault is not
//! stormed.
#![cfg(feature = "dev")]
#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a failed expectation fails")]
#![allow(missing_docs, unreachable_pub, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod abandoned;
mod answers;
mod case;
mod certificates;
mod denied;
mod moved;
mod refused;
mod reload;
mod standby;
mod start;
mod storm;
mod tls;
