//! Tokens, identifiers and accessors: unguessable, in the shapes Vault gives them.

use std::io;

use ring::rand::{SecureRandom, SystemRandom};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// `length` letters and digits.
pub(super) fn base62(length: usize) -> io::Result<String> {
    // A byte above the last multiple of 62 would favor the first letters: draw again.
    let mut text = String::with_capacity(length);
    while text.len() < length {
        for byte in bytes::<64>()? {
            if byte < 248 && text.len() < length {
                text.push(letter(BASE62, usize::from(byte % 62)));
            }
        }
    }
    Ok(text)
}

/// `length` lower-case hex digits.
pub(super) fn hex(length: usize) -> io::Result<String> {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        for byte in bytes::<16>()? {
            if text.len() < length {
                text.push(letter(HEX, usize::from(byte % 16)));
            }
        }
    }
    Ok(text)
}

/// A random identifier in UUID form, as Vault's request, role and secret ids are.
pub(super) fn uuid() -> io::Result<String> {
    let hex = hex(32)?;
    let mut text = String::with_capacity(36);
    for (index, digit) in hex.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    Ok(text)
}

fn letter(alphabet: &[u8], index: usize) -> char {
    alphabet.get(index).copied().map_or('0', char::from)
}

fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("no system randomness"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        assert_eq!(base62(24).unwrap().len(), 24);
        assert_eq!(hex(33).unwrap().len(), 33);
        let uuid = uuid().unwrap();
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_ne!(base62(24).unwrap(), base62(24).unwrap());
    }
}
