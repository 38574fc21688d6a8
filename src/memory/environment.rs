//! Secrets that arrive by environment: copied, then overwritten where they came from.

use std::ffi::{CStr, c_char};

use zeroize::Zeroize;

use super::SecretBuf;

unsafe extern "C" {
    static environ: *const *mut c_char;
}

/// Copies the value of `name` and overwrites it with zeros in the process's environment
/// block, so that neither a search of the memory nor `/proc/PID/environ` shows it afterwards.
/// The variable stays set, to the empty string. An unset or empty variable is `None`.
///
/// Call it before any thread is started: another thread could read the environment at the same
/// time, so with more than one thread the value is copied and not overwritten.
pub fn take_env(name: &str) -> Option<SecretBuf> {
    if !is_single_threaded() {
        #[expect(clippy::disallowed_methods, reason = "the one reader of secret variables")]
        let value = std::env::var_os(name)?;
        let taken = SecretBuf::copy_from(value.as_encoded_bytes());
        return (!taken.is_empty()).then_some(taken);
    }
    // SAFETY: this is the only thread, so nothing reads or changes the environment meanwhile.
    unsafe { take(environ, name) }
}

/// [`take_env`] for a token: without white space around it, as [`SecretBuf::read_file`] has it.
/// Whoever sets a variable from a file has its newline in it.
pub fn take_token(name: &str) -> Option<SecretBuf> {
    take_env(name).and_then(trimmed)
}

fn trimmed(value: SecretBuf) -> Option<SecretBuf> {
    let token = value.expose().trim_ascii();
    match token.len() {
        0 => None,
        len if len == value.len() => Some(value),
        _ => Some(SecretBuf::copy_from(token)),
    }
}

fn is_single_threaded() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

/// # Safety
/// `entry` is null, or points to a NULL-terminated array of NUL-terminated strings, which no
/// other thread reads or changes meanwhile.
unsafe fn take(mut entry: *const *mut c_char, name: &str) -> Option<SecretBuf> {
    let mut first = None;
    // SAFETY: the caller's guarantee.
    unsafe {
        while !entry.is_null() && !(*entry).is_null() {
            if let Some(value) = value_of(*entry, name) {
                // A name may stand there twice: the first one counts, and all are wiped.
                first.get_or_insert_with(|| SecretBuf::copy_from(value));
                value.zeroize();
            }
            entry = entry.add(1);
        }
        first.filter(|taken| !taken.is_empty())
    }
}

/// The value part of a `NAME=value` string when its name is `name`.
///
/// # Safety
/// `entry` must be a writable NUL-terminated string that nothing else reads or writes while
/// the returned slice lives.
unsafe fn value_of<'a>(entry: *mut c_char, name: &str) -> Option<&'a mut [u8]> {
    // SAFETY: the caller's guarantee.
    let bytes = unsafe {
        let len = CStr::from_ptr(entry).count_bytes();
        std::slice::from_raw_parts_mut(entry.cast::<u8>(), len)
    };
    let (key, value) = bytes.split_at_mut_checked(name.len())?;
    if key != name.as_bytes() {
        return None;
    }
    let (equals, value) = value.split_first_mut()?;
    (*equals == b'=').then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_stands_twice_is_wiped_twice() {
        let (mut one, mut two) = (*b"TOKEN=canary\0", *b"TOKEN=other!\0");
        let block = [one.as_mut_ptr().cast(), two.as_mut_ptr().cast(), std::ptr::null_mut()];
        // SAFETY: arrays of this test's own, ended as they have to be.
        let taken = unsafe { take(block.as_ptr(), "TOKEN") };
        assert_eq!(taken.unwrap().expose(), b"canary");
        assert_eq!((&one, &two), (b"TOKEN=\0\0\0\0\0\0\0", b"TOKEN=\0\0\0\0\0\0\0"));
    }

    #[test]
    fn finds_the_value_of_the_exact_name_alone() {
        let mut entry = *b"TOKEN=canary\0";
        let start = entry.as_mut_ptr().cast::<c_char>();
        // SAFETY: a NUL-terminated array of this test's own.
        unsafe {
            assert!(value_of(start, "TOKE").is_none());
            assert!(value_of(start, "TOKENS").is_none());
            assert_eq!(value_of(start, "TOKEN").unwrap(), b"canary");
        }
    }

    #[test]
    fn white_space_around_a_token_is_not_part_of_it() {
        let trimmed = |value: &str| trimmed(SecretBuf::copy_from(value.as_bytes()));
        for (given, taken) in [("a\n", "a"), (" \ta b\r\n", "a b"), ("a", "a")] {
            assert_eq!(trimmed(given).unwrap().expose(), taken.as_bytes());
        }
        assert!(trimmed(" \n").is_none() && trimmed("").is_none());
    }
}
