//! `SecretBuf`: the one owner of plaintext.

use std::alloc::Layout;
use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::ptr::NonNull;

use bytes::Bytes;
use subtle::ConstantTimeEq;

use super::alloc::wipe;
use super::arena;
use super::file::open_regular;
use super::scrub::clear_vector_registers;

/// Plaintext of a fixed length, wiped when dropped. It lives in the arena of secret pages as
/// long as that has room, else in the ordinary heap.
///
/// Deliberately without `Clone`, `Display`, `Serialize`, `PartialEq` or `Deref`: the content
/// leaves only through [`expose`](Self::expose).
pub struct SecretBuf {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a buffer owns its memory alone; shared references only read it.
unsafe impl Send for SecretBuf {}
// SAFETY: as above.
unsafe impl Sync for SecretBuf {}

impl SecretBuf {
    /// A buffer of `len` zero bytes, to be filled through [`expose_mut`](Self::expose_mut).
    pub fn zeroed(len: usize) -> Self {
        if len == 0 {
            return Self { start: NonNull::dangling(), len };
        }
        let layout = Self::layout(len);
        let start = arena::allocate(layout).unwrap_or_else(|| {
            // SAFETY: the size is not zero.
            let block = unsafe { std::alloc::alloc(layout) };
            NonNull::new(block).unwrap_or_else(|| std::alloc::handle_alloc_error(layout))
        });
        // SAFETY: a fresh block of `len` bytes.
        unsafe { start.write_bytes(0, len) };
        Self { start, len }
    }

    fn layout(len: usize) -> Layout {
        // Out of range only for more than the address space holds: nothing can be had then.
        Layout::array::<u8>(len)
            .unwrap_or_else(|_| std::alloc::handle_alloc_error(Layout::new::<u8>()))
    }

    /// It lies where the configuration insists that plaintext be.
    pub fn is_kept_as_required(&self) -> bool {
        is_kept_as_required(self.expose())
    }

    /// Copies `plaintext`; wiping the source remains with its owner.
    pub fn copy_from(plaintext: &[u8]) -> Self {
        let mut copy = Self::zeroed(plaintext.len());
        copy.expose_mut().copy_from_slice(plaintext);
        copy
    }

    /// Reads a whole file with `read(2)` straight into the buffer, without white space around it.
    ///
    /// # Errors
    /// Those of opening it, also when it is no regular file, or `InvalidData` when it is longer than `limit` bytes.
    pub fn read_file(path: &Path, limit: usize) -> io::Result<Self> {
        let mut file = open_regular(path)?;
        let mut buffer = SecretWriter::with_capacity(1024);
        loop {
            let mut chunk = Self::zeroed(1024);
            let read = match file.read(chunk.expose_mut()) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            buffer.push(chunk.expose().get(..read).unwrap_or_default());
            if buffer.len() > limit {
                let message = format!("longer than {limit} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
        let content = buffer.finish();
        Ok(Self::copy_from(content.expose().trim_ascii()))
    }

    /// The plaintext itself. Each caller is a place where it is used; keep them few.
    #[inline]
    pub fn expose(&self) -> &[u8] {
        // SAFETY: `len` initialized bytes of ours.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The plaintext, to write it in place.
    #[inline]
    pub fn expose_mut(&mut self) -> &mut [u8] {
        // SAFETY: `len` initialized bytes of ours, borrowed mutably with `self`.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for a buffer of length zero.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Compares in a time that depends on the lengths alone.
    pub fn constant_time_eq(&self, other: &[u8]) -> bool {
        if self.len() != other.len() {
            return false;
        }
        // Words at a time: a token is compared at every request.
        let (mine, my_rest) = self.expose().as_chunks();
        let (others, other_rest) = other.as_chunks();
        let word = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
        let pairs = mine.iter().zip(others);
        let equal = pairs.fold(my_rest.ct_eq(other_rest), |equal, (one, other)| {
            equal & word(one).ct_eq(&word(other))
        });
        equal.into()
    }

    /// The plaintext as response bytes, without a copy: the last holder's drop wipes it.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(Owned(self))
    }
}

impl Drop for SecretBuf {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        let layout = Self::layout(self.len);
        // SAFETY: our own block, from where its address tells; the global allocator wipes too.
        unsafe {
            wipe(self.start.as_ptr(), self.len);
            if arena::contains(self.start.as_ptr()) {
                arena::deallocate(self.start, layout, false);
            } else {
                std::alloc::dealloc(self.start.as_ptr(), layout);
            }
        }
        // What was copied to or from the buffer is there still, and a busy thread that does not
        // sleep would keep it.
        clear_vector_registers();
    }
}

/// Shows the length alone.
impl fmt::Debug for SecretBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[redacted {} bytes]", self.len())
    }
}

struct Owned(SecretBuf);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

/// A [`SecretBuf`] that is complete, and that answers are cut from.
pub struct SharedBuf(Bytes);

impl From<SecretBuf> for SharedBuf {
    fn from(buffer: SecretBuf) -> Self {
        Self(buffer.into_bytes())
    }
}

impl SharedBuf {
    /// `range` of it as response bytes, without a copy: they keep the buffer alive, and the last
    /// holder's drop wipes it. An out-of-bounds range is empty.
    pub fn share(&self, range: Range<usize>) -> Bytes {
        if range.end > self.len() || range.start >= range.end {
            return Bytes::new();
        }
        self.0.slice(range)
    }

    /// As of a [`SecretBuf`].
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True for a buffer of length zero.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// It lies where the configuration insists that plaintext be.
    pub fn is_kept_as_required(&self) -> bool {
        is_kept_as_required(self.expose())
    }
}

/// Shows the length alone.
impl fmt::Debug for SharedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[redacted {} bytes]", self.len())
    }
}

fn is_kept_as_required(plaintext: &[u8]) -> bool {
    let kept = || arena::contains(plaintext.as_ptr().cast_mut());
    plaintext.is_empty() || !arena::is_insisted() || kept()
}

/// Plaintext of a length not known beforehand: grows by moving to a larger [`SecretBuf`],
/// wiping the smaller one.
pub struct SecretWriter {
    buffer: SecretBuf,
    len: usize,
}

impl SecretWriter {
    /// An empty writer with room for `capacity` bytes before it has to grow.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { buffer: SecretBuf::zeroed(capacity), len: 0 }
    }

    /// Appends `plaintext`.
    pub fn push(&mut self, plaintext: &[u8]) {
        let end = self.len + plaintext.len();
        if end > self.buffer.len() {
            self.grow(end);
        }
        if let Some(room) = self.buffer.expose_mut().get_mut(self.len..end) {
            room.copy_from_slice(plaintext);
            self.len = end;
        }
    }

    fn grow(&mut self, at_least: usize) {
        let mut larger = SecretBuf::zeroed(at_least.max(self.buffer.len() * 2).max(64));
        let written = self.expose().len();
        if let Some(room) = larger.expose_mut().get_mut(..written) {
            room.copy_from_slice(self.expose());
        }
        self.buffer = larger;
    }

    /// What was written so far.
    pub fn expose(&self) -> &[u8] {
        self.buffer.expose().get(..self.len).unwrap_or_default()
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True while nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Ends the writing. The result has exactly the written length. Clears the vector
    /// registers, as every [`SecretBuf`] does when it is dropped.
    pub fn finish(self) -> SecretBuf {
        let finished = if self.len == self.buffer.len() {
            self.buffer
        } else {
            SecretBuf::copy_from(self.expose())
        };
        clear_vector_registers();
        finished
    }
}

/// So that `serde_json` and `write!` can render into it. Never fails.
impl io::Write for SecretWriter {
    fn write(&mut self, plaintext: &[u8]) -> io::Result<usize> {
        self.push(plaintext);
        Ok(plaintext.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_length_alone() {
        let buf = SecretBuf::copy_from(b"canary");
        assert_eq!(format!("{buf:?}"), "[redacted 6 bytes]");
        assert_eq!(format!("{:?}", SharedBuf::from(buf)), "[redacted 6 bytes]");
    }

    #[test]
    fn writer_keeps_what_it_grew_over() {
        let mut writer = SecretWriter::with_capacity(1);
        for n in 0..200u8 {
            writer.push(&[n]);
        }
        let all = writer.finish();
        assert!(all.expose().iter().copied().eq(0..200u8));
    }

    #[test]
    fn compares_content_and_length() {
        let buf = SecretBuf::copy_from(b"token");
        assert!(buf.constant_time_eq(b"token"));
        assert!(!buf.constant_time_eq(b"tokem"));
        assert!(!buf.constant_time_eq(b"toke"));
        let long = SecretBuf::copy_from(b"0123456789abcdef-rest");
        assert!(long.constant_time_eq(b"0123456789abcdef-rest"));
        for at in 0..long.len() {
            let mut other = *b"0123456789abcdef-rest";
            other[at] ^= 1;
            assert!(!long.constant_time_eq(&other), "{at}");
        }
    }

    #[test]
    fn shares_a_range_without_a_copy() {
        let buf = SharedBuf::from(SecretBuf::copy_from(b"0123456789"));
        let bytes = buf.share(2..5);
        assert_eq!(&bytes[..], b"234");
        assert!(std::ptr::eq(bytes.as_ptr(), buf.expose()[2..].as_ptr()));
        assert!(buf.share(5..11).is_empty());
    }

    #[test]
    fn reads_a_file_up_to_the_limit_and_trims_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "value\n").unwrap();
        assert_eq!(SecretBuf::read_file(file.path(), 16).unwrap().expose(), b"value");
        let error = SecretBuf::read_file(file.path(), 3).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
