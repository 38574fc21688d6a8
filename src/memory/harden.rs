//! The process protects itself, first thing in `main`.

use std::io;

/// What was asked of the kernel, and what it said.
#[derive(Debug)]
pub struct Hardening {
    /// `RLIMIT_CORE` is zero: no core file is written.
    pub no_core_file: io::Result<()>,
    /// `PR_SET_DUMPABLE` is off: no core to a handler either, no ptrace and no
    /// `/proc/PID/mem` for other processes of the same user.
    pub not_dumpable: io::Result<()>,
    /// `PR_SET_NO_NEW_PRIVS` is set: nothing this process executes gains privileges.
    pub no_new_privileges: io::Result<()>,
    /// Whether that was so before: whoever started the process asked for it.
    pub inherited_no_new_privileges: bool,
}

impl Hardening {
    /// Each protection with its name and its outcome, for logs and `sidekey check`.
    pub fn list(&self) -> [(&'static str, &io::Result<()>); 3] {
        [
            ("no core file", &self.no_core_file),
            ("not dumpable", &self.not_dumpable),
            ("no new privileges", &self.no_new_privileges),
        ]
    }
}

/// Turns core dumps, dumpability and new privileges off for this process. Call it before
/// anything secret is read and before any thread starts.
pub fn harden() -> Hardening {
    let zero = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain system calls on integers and one live struct.
    unsafe {
        Hardening {
            // Before it is set: fields are evaluated in this order.
            inherited_no_new_privileges: libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1,
            no_core_file: outcome(libc::setrlimit(libc::RLIMIT_CORE, &raw const zero)),
            not_dumpable: outcome(libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0)),
            no_new_privileges: outcome(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)),
        }
    }
}

fn outcome(returned: libc::c_int) -> io::Result<()> {
    if returned == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
