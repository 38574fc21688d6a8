//! Protects the process, reads the arguments, runs the command, maps its end to an exit status.

use std::io::Write as _;
use std::process::ExitCode;

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

/// stderr may be gone; that is no reason to fail.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
