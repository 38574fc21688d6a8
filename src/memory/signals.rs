//! Numbers of signals that have no name of their own.

use rustix::process::Signal;

/// The real-time signals that are a program's own: those below [`SIGRTMIN`](libc::SIGRTMIN) are
/// the C library's, which needs them for its threads.
pub fn real_time_signals() -> impl Iterator<Item = Signal> {
    let own = libc::SIGRTMIN()..=libc::SIGRTMAX();
    // SAFETY: a number that is not zero, of a signal which the C library, by naming these bounds,
    // says that it does not use itself.
    own.map(|number| unsafe { Signal::from_raw_unchecked(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_c_library_keeps_is_not_among_them() {
        let signals: Vec<_> = real_time_signals().collect();
        // glibc keeps two of the kernel's 33, musl three.
        assert!((30..=31).contains(&signals.len()), "{}", signals.len());
        assert!(signals.iter().all(|signal| (34..=64).contains(&signal.as_raw())));
        assert!(signals.iter().all(|signal| Signal::from_named_raw(signal.as_raw()).is_none()));
    }
}
