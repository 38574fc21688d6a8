//! Whatever stands in the file, loading it ends with a configuration or with problems.

use proptest::prelude::*;

use super::super::file::read_text;
use super::*;

const COMPLETE: &str = include_str!("../../../examples/config/complete.toml");

/// Ends well, and an error says something.
fn survive(text: &str) {
    if let Err(error) = load_file(text) {
        assert!(!error.problems.is_empty());
        assert!(!error.to_string().is_empty());
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        survive(&text);
    }

    #[test]
    fn text_of_toml_pieces_never_panics(
        pieces in proptest::collection::vec(
            proptest::sample::select(vec![
                "[", "]", "[[", "]]", "{", "}", "=", ".", ",", "\n", "'", "\"", "\"\"\"", "#",
                " ", "auth", "secrets", "callers", "db", "path", "uid", "allow", "-1", "1.5",
                "true", "1979-05-27", "'{app}'", "0x", "é", "\0",
            ]),
            0..60,
        )
    ) {
        survive(&pieces.concat());
    }

    /// A piece of the complete example is replaced by another one.
    #[test]
    fn a_garbled_configuration_never_panics(
        from in 0..COMPLETE.len(), length in 0..200usize, source in 0..COMPLETE.len(),
        taken in 0..60usize,
    ) {
        let mut bytes = COMPLETE.as_bytes().to_vec();
        let piece: Vec<u8> = bytes.iter().copied().skip(source).take(taken).collect();
        let end = (from + length).min(bytes.len());
        bytes.splice(from..end, piece);
        survive(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        prop_assert_eq!(read_text(file.path()).is_ok(), std::str::from_utf8(&bytes).is_ok());
    }
}
