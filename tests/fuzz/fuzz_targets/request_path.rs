//! Any text as a path: refused, or with a reading that does not change when it is read again, and
//! that dots, slashes and a second decoding do not change either.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidekey::scope::{PathPattern, read_path};

fuzz_target!(|text: &str| {
    let _ = PathPattern::parse(text);
    let Ok(path) = read_path(text) else { return };
    assert!(path.starts_with('/') && !path.contains("//") && !path.contains(['\\', ';', '\0']));
    assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
    assert_eq!(path.matches('/').count(), text.matches('/').count());
    // Whatever can be decoded once more would have been refused.
    let bytes = path.as_bytes();
    let digits = |at: usize| bytes.get(at + 1..at + 3).is_some_and(|it| it.iter().all(u8::is_ascii_hexdigit));
    assert!((0..bytes.len()).all(|at| bytes[at] != b'%' || !digits(at)));
});
