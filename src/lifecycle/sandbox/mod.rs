//! What the process may still do once it runs: read the files, talk to the ports and send the
//! signals that its configuration names, and nothing else.
//!
//! Two layers, each as far as the kernel has it: Landlock, taken on before any thread exists
//! because it holds for the calling thread and for those that it starts, and a filter of system
//! calls, taken on by all threads when everything is bound and started.

mod calls;
mod files;
mod reach;

pub use reach::Reach;

/// A layer, or why it is not in force as a whole.
pub type Outcome = Result<(), String>;

/// Takes on the Landlock rules: to be called before any thread is started. They cannot be
/// taken back.
pub fn restrict_reach(reach: &Reach) -> Outcome {
    files::restrict(reach)
}

/// Refuses, for all threads, the system calls that a running sidecar does not make.
pub fn restrict_calls(reach: &Reach) -> Outcome {
    calls::restrict_all_threads(reach)
}

/// The numbers of the system calls that are refused whatever their arguments, for tests.
#[doc(hidden)]
pub fn refused_calls() -> &'static [libc::c_long] {
    calls::REFUSED
}

/// What the two layers would give on this kernel: they are taken on by a thread that ends.
pub fn rehearse(reach: &Reach) -> [(&'static str, Outcome); 2] {
    std::thread::scope(|scope| {
        let rehearsal = scope.spawn(|| {
            let files = files::restrict(reach);
            [("files and ports", files), ("system calls", calls::restrict_this_thread(reach))]
        });
        rehearsal.join().unwrap_or_else(|_| {
            [("files and ports", Err("failed".into())), ("system calls", Err("failed".into()))]
        })
    })
}
