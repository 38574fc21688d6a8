//! PKCS #12's own key derivation: RFC 7292, appendix B.2.

use ring::digest::{Algorithm, Context, digest};

use crate::memory::SecretBuf;

/// What the derived bytes are for: the ID of appendix B.3.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Key = 1,
    Iv = 2,
    Mac = 3,
}

/// Derives `len` bytes. `password` is a BMP string with the two zero bytes at its end.
pub(super) fn derive(
    hash: &'static Algorithm,
    purpose: Purpose,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
    len: usize,
) -> SecretBuf {
    let block = hash.block_len();
    let diversifier = vec![purpose as u8; block];
    let mut input = repeated(salt, password, block);
    let mut derived = SecretBuf::zeroed(len);
    for part in derived.expose_mut().chunks_mut(hash.output_len()) {
        let mut context = Context::new(hash);
        context.update(&diversifier);
        context.update(input.expose());
        let mut hashed = context.finish();
        for _ in 1..iterations {
            hashed = digest(hash, hashed.as_ref());
        }
        part.iter_mut().zip(hashed.as_ref()).for_each(|(to, from)| *to = *from);
        add(input.expose_mut(), hashed.as_ref(), block);
    }
    derived
}

/// Salt and password, each repeated up to whole blocks.
fn repeated(salt: &[u8], password: &[u8], block: usize) -> SecretBuf {
    let salt_len = salt.len().next_multiple_of(block);
    let password_len = password.len().next_multiple_of(block);
    let mut input = SecretBuf::zeroed(salt_len + password_len);
    let salts = salt.iter().cycle().take(salt_len);
    let passwords = password.iter().cycle().take(password_len);
    input.expose_mut().iter_mut().zip(salts.chain(passwords)).for_each(|(to, from)| *to = *from);
    input
}

/// Adds `hashed`, repeated up to a block, and one to each block of `input`, as a number.
fn add(input: &mut [u8], hashed: &[u8], block: usize) {
    let addend: Vec<u8> = hashed.iter().copied().cycle().take(block).collect();
    for number in input.chunks_exact_mut(block) {
        let mut carry = 1;
        for (digit, more) in number.iter_mut().zip(&addend).rev() {
            let [high, low] = (u16::from(*digit) + u16::from(*more) + carry).to_be_bytes();
            *digit = low;
            carry = u16::from(high);
        }
    }
}
