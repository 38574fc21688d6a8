//! Protects the process, reads the arguments, runs the command, maps its end to an exit status.

use std::io::Write as _;
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sidekey::cli::Cli;
use sidekey::memory::{self, WipingAllocator};

#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator;

fn main() -> ExitCode {
    let hardening = memory::harden();
    std::panic::set_hook(Box::new(|panic| {
        // The place alone: a panic's message can quote a value.
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tell(&format!("internal error at {place}"));
    }));
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    match sidekey::commands::run(cli, &hardening) {
        Ok(code) => code,
        Err(error) => {
            tell(&error.report());
            error.exit_code()
        }
    }
}

/// stderr may be gone, or nobody reads it; that is no reason to fail, or to wait for ever.
fn tell(text: &str) {
    let stderr = std::io::stderr();
    let mut polled = [PollFd::new(&stderr, PollFlags::OUT)];
    let patience = Timespec { tv_sec: 2, tv_nsec: 0 };
    if poll(&mut polled, Some(&patience)).is_ok_and(|ready| ready > 0) {
        let _ = writeln!(stderr.lock(), "{text}");
    }
}
