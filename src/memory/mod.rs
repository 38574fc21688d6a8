//! Where plaintext may live. The only folder with unsafe code.
//!
//! The rules:
//!
//! 1. What holds plaintext is a [`SecretBuf`]. It cannot be cloned, printed or serialized;
//!    reading it is one named act, [`SecretBuf::expose`], and dropping it wipes it.
//! 2. Its memory comes from an arena of secret pages (`memfd_secret`), which root does not read
//!    and a core dump does not hold; where the kernel has none, of locked pages; else of
//!    ordinary ones. [`arena_status`] says which.
//! 3. The fetch thread, whose libraries handle plaintext in HTTP, TLS and JSON buffers, has its
//!    whole heap and stack there ([`keep_thread_secret`]); so has the thread that makes keystores.
//!    Connections, whose buffers hold the tokens of callers, have their heap there, within bounds
//!    ([`InSecretMemory`]), and so have private keys that a library reads ([`in_secret_memory`]).
//! 4. The global allocator ([`WipingAllocator`]) wipes every block that it frees; what such a
//!    thread keeps of them for its next allocations is wiped.
//! 5. Threads clear registers and stack before they sleep ([`scrub`]), registers when a
//!    [`SecretBuf`] is finished or dropped, and both after each step of a login or a handshake
//!    of an ambassador, and of what looks after a program ([`scrubbed`]).
//! 6. Secrets that arrive by environment are taken out of it before any thread starts
//!    ([`take_env`], [`take_token`]); secrets that arrive by file are read straight into a [`SecretBuf`]
//!    ([`SecretBuf::read_file`]).
//! 7. The process is made undumpable before it has anything to dump ([`harden()`]).

#![allow(unsafe_code, reason = "the only folder that may; each block says why it is sound")]

mod alloc;
mod arena;
mod buf;
mod environment;
mod file;
mod harden;
mod magazine;
mod pages;
mod scrub;
mod signals;

pub use alloc::{InSecretMemory, WipingAllocator, in_ordinary_memory, in_secret_memory};
pub use arena::{
    ArenaStatus, arena_status, grow_arena, has_room_for, insist_on_secret_memory, room_for_values,
};
pub use buf::{SecretBuf, SecretWriter, SharedBuf};
pub use environment::{take_env, take_token};
pub(crate) use file::open_regular;
pub use harden::{Hardening, harden};
pub use pages::Tier;
pub use scrub::{keep_thread_secret, scrub, scrubbed};
pub use signals::real_time_signals;
