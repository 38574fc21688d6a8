//! With the protection, and without it by means that only tests have.
#![allow(unsafe_code, reason = "an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use clap::Parser as _;
use sidekey::memory::{WipingAllocator, harden};

use super::support::sidecar::{Builder, clean};

/// How a sidecar is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As it is meant to be: nothing may be found.
    Protected,
    /// The same code inside this test's own binary, with an allocator that keeps what is freed
    /// and no memory that could be locked: everything has to be found, or the search is blind to it.
    Unprotected,
}

impl Mode {
    pub fn builder(self) -> Builder {
        self.builder_of("serve")
    }

    /// Another of its commands.
    pub fn builder_of(self, subcommand: &str) -> Builder {
        match self {
            Self::Protected => Builder::of(subcommand),
            Self::Unprotected => {
                let mut command = clean(std::env::current_exe().unwrap());
                command.arg("helper=sidekey");
                Builder::by(command, subcommand).uid(65534).memlock(0)
            }
        }
    }

    /// What the allocator of this process does with what is freed from now on.
    pub fn apply(self) {
        let on_free = if self == Self::Protected { WIPE } else { KEEP };
        ON_FREE.store(on_free, Ordering::Relaxed);
    }
}

/// Does what `main` does, in a process whose allocator keeps what it should wipe.
pub fn run_sidekey() -> ExitCode {
    Mode::Unprotected.apply();
    let hardening = harden();
    let args = std::env::args().filter(|arg| arg != "helper=sidekey");
    match sidekey::commands::run(sidekey::cli::Cli::parse_from(args), &hardening) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("{}", error.report());
            error.exit_code()
        }
    }
}

/// The allocator of this binary and of the helpers it starts.
pub struct Switched;

static ON_FREE: AtomicU8 = AtomicU8::new(FREE);
const FREE: u8 = 0;
/// The sidecar's own allocator.
const WIPE: u8 = 1;
/// What is freed stays as it was, and nothing takes its place.
const KEEP: u8 = 2;

/// So that the process stays of a size that can be searched.
const KEPT_BLOCK: usize = 16 << 10;
const KEPT_IN_ALL: usize = 128 << 20;
static KEPT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: both get their ordinary blocks from `System`, so that either may free them; blocks of
// the arena are there only when the wiping one allocates, and it stays in force.
unsafe impl GlobalAlloc for Switched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's guarantees are passed on.
        unsafe {
            match ON_FREE.load(Ordering::Relaxed) {
                WIPE => WipingAllocator.alloc(layout),
                _ => System.alloc(layout),
            }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let size = layout.size();
        // SAFETY: the caller's guarantees are passed on.
        unsafe {
            match ON_FREE.load(Ordering::Relaxed) {
                WIPE => WipingAllocator.dealloc(block, layout),
                KEEP if size <= KEPT_BLOCK
                    && KEPT.fetch_add(size, Ordering::Relaxed) < KEPT_IN_ALL => {}
                _ => System.dealloc(block, layout),
            }
        }
    }
}
