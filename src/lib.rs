//! A credential-serving localhost sidecar for HashiCorp Vault: a URL instead of a file.
//!
//! `sidekey` shares the network namespace of one application, fetches that application's
//! secrets from Vault, keeps them in memory that is wiped, and serves them on loopback to
//! callers that it knows.
//!
//! # The flow of a secret
//!
//! The modules stand in the order in which a secret meets them:
//!
//! 1. [`config`]: what the operator asked for, validated as a whole.
//! 2. [`vault`]: the upstream. One thread, the fetch thread, does everything that touches
//!    Vault: log in, stay logged in, read.
//! 3. [`lease`]: how long a value is good for, and when to act on it.
//! 4. [`memory`]: where plaintext may live. [`memory::SecretBuf`] is its one owner.
//! 5. [`secret`]: a secret as it was read, rendered once into one buffer; [`certificate`]: a
//!    certificate as it was issued, made, inspected and rendered likewise.
//! 6. [`cache`]: what is ready to serve, and how fresh it is.
//! 7. [`server`]: the local door: listeners, the guard chain, answers, health.
//! 8. [`notify`]: telling the application that something rotated.
//! 9. [`adapter`]: other ways to hand a credential over than the URL; [`scope`]: which methods
//!    and paths they let through. `crypto`: what TLS is spoken with.
//! 10. [`lifecycle`]: start, ready, stop.
//! 11. [`container`]: the container it finds itself in, inspected from inside.
//! 12. [`observe`]: what may be said about it: logs, metrics, audit.
//!
//! [`app`] wires a sidecar; `sidekey exec` and `sidekey check --online`, which serve nobody, wire
//! the few parts that they need. `cli`, `commands` and `error` belong to the binary.
//!
//! # Embedding
//!
//! [`app::App`] runs a whole sidecar inside another program; `examples/embed.rs` shows it.

pub mod config;
pub mod vault;
pub mod lease;
pub mod memory;
pub mod secret;
pub mod certificate;
pub mod cache;
pub mod server;
pub mod notify;
pub mod scope;
pub mod adapter;
pub mod lifecycle;
pub mod container;
pub mod observe;

mod crypto;

pub mod app;
pub mod cli;
pub mod commands;
pub mod error;

/// A Vault-compatible server in memory, for `sidekey dev` and for tests.
#[cfg(feature = "dev")]
pub mod dev;
