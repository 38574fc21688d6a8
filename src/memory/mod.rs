//! Where plaintext may live. The only folder with unsafe code.
//!
//! The rules:
//!
//! 1. What holds plaintext is a [`SecretBuf`]. It cannot be cloned, printed or serialized;
//!    reading it is one named act, [`SecretBuf::expose`], and dropping it wipes it.
//! 2. The global allocator ([`WipingAllocator`]) wipes every block that it frees, so buffers
//!    of libraries that once held plaintext (HTTP, TLS, JSON) do not leave it behind.
//! 3. Secrets that arrive by environment are taken out of it before any thread starts
//!    ([`take_env`]); secrets that arrive by file are read straight into a [`SecretBuf`]
//!    ([`SecretBuf::read_file`]).
//! 4. The process is made undumpable before it has anything to dump ([`harden`]).

#![allow(unsafe_code, reason = "the only folder that may; each block says why it is sound")]

mod alloc;
mod buf;
mod environment;
mod harden;

pub use alloc::WipingAllocator;
pub use buf::{SecretBuf, SecretWriter};
pub use environment::take_env;
pub use harden::{Hardening, harden};
