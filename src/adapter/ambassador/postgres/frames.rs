//! Where messages begin and end in a stream of them, without keeping any: a type, a length, and
//! as many bytes.

/// The place in one direction's stream.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; 5],
    /// Bytes of the head seen so far.
    seen: usize,
    /// Bytes of the body still to come.
    left: usize,
    /// The first byte of the body.
    first: Option<u8>,
}

/// A length that none can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of an impossible length")]
pub(super) struct Impossible;

impl Frames {
    /// Goes on by `bytes`; `ended` is told the type and the first byte of each message that ends
    /// in them.
    pub(super) fn pass(
        &mut self,
        mut bytes: &[u8],
        mut ended: impl FnMut(u8, Option<u8>),
    ) -> Result<(), Impossible> {
        while let Some((byte, rest)) = bytes.split_first() {
            if let Some(place) = self.head.get_mut(self.seen) {
                *place = *byte;
                self.seen += 1;
                bytes = rest;
                if self.seen == self.head.len() {
                    self.left = self.body()?;
                }
            } else {
                self.first = self.first.or(Some(*byte));
                let passed = self.left.min(bytes.len());
                self.left -= passed;
                bytes = bytes.get(passed..).unwrap_or_default();
            }
            if self.seen == self.head.len() && self.left == 0 {
                let [tag, ..] = self.head;
                ended(tag, self.first);
                *self = Self::default();
            }
        }
        Ok(())
    }

    /// Between two messages.
    pub(super) fn is_between(&self) -> bool {
        self.seen == 0
    }

    fn body(&self) -> Result<usize, Impossible> {
        let [_, length @ ..] = self.head;
        let length = usize::try_from(i32::from_be_bytes(length)).map_err(|_| Impossible)?;
        length.checked_sub(4).ok_or(Impossible)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn passed(pieces: &[&[u8]]) -> Vec<(u8, Option<u8>)> {
        let (mut frames, mut all) = (Frames::default(), Vec::new());
        for piece in pieces {
            frames.pass(piece, |tag, first| all.push((tag, first))).unwrap();
        }
        assert!(frames.is_between());
        all
    }

    #[test]
    fn any_cut_gives_the_same_messages() {
        let stream = b"Z\0\0\0\x05IS\0\0\0\x04D\0\0\0\x08abcd";
        let expected = [(b'Z', Some(b'I')), (b'S', None), (b'D', Some(b'a'))];
        assert_eq!(passed(&[stream]), expected);
        for at in 0..stream.len() {
            assert_eq!(passed(&[&stream[..at], &stream[at..]]), expected, "{at}");
        }
        let bytes: Vec<_> = stream.chunks(1).collect();
        assert_eq!(passed(&bytes), expected);
    }

    #[test]
    fn impossible_lengths() {
        for length in [0_i32, 3, -1, i32::MIN] {
            let head = [&b"Q"[..], &length.to_be_bytes()].concat();
            assert_eq!(Frames::default().pass(&head, |_, _| {}), Err(Impossible), "{length}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(pieces: Vec<Vec<u8>>) {
            let mut frames = Frames::default();
            for piece in &pieces {
                if frames.pass(piece, |_, _| {}).is_err() {
                    break;
                }
            }
        }
    }
}
