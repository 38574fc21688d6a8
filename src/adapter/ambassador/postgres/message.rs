//! Messages with a type, as far as a login has them, and those that we write ourselves.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// No message of a login is longer.
const LONGEST: usize = 64 << 10;

/// A message, as it came.
pub(super) struct Message {
    /// With type and length.
    pub(super) whole: Vec<u8>,
}

impl Message {
    /// Reads exactly one.
    ///
    /// # Errors
    /// The stream's own, and `InvalidData` for one that is too long or impossible.
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut head = [0; 5];
        stream.read_exact(&mut head).await?;
        let [_, length @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if !(4..=LONGEST).contains(&length) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut whole = vec![0; length + 1];
        let (start, body) = whole.split_at_mut_checked(5).ok_or(io::ErrorKind::InvalidData)?;
        start.copy_from_slice(&head);
        stream.read_exact(body).await?;
        Ok(Self { whole })
    }

    pub(super) fn tag(&self) -> u8 {
        self.whole.first().copied().unwrap_or_default()
    }

    pub(super) fn body(&self) -> &[u8] {
        self.whole.get(5..).unwrap_or_default()
    }

    /// The `SQLSTATE` of an error.
    pub(super) fn sqlstate(&self) -> Option<&[u8]> {
        let fields = self.body().split(|byte| *byte == 0);
        fields.filter_map(|field| field.split_first()).find(|(kind, _)| **kind == b'C').map(|f| f.1)
    }
}

/// `ErrorResponse` that ends a session.
pub(super) fn fatal(sqlstate: &str, text: &str, detail: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in
        [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', sqlstate), (b'M', text), (b'D', detail)]
    {
        if !value.is_empty() {
            body.push(kind);
            body.extend_from_slice(value.as_bytes());
            body.push(0);
        }
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).unwrap_or_default().to_be_bytes();
    [&b"E"[..], &length, &body].concat()
}

/// `AuthenticationOk`.
pub(super) const AUTHENTICATED: [u8; 9] = [b'R', 0, 0, 0, 8, 0, 0, 0, 0];

/// `Terminate`.
pub(super) const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_can_be_read() {
        let bytes = fatal("57P01", "terminating", "");
        let message = Message::read(&mut &bytes[..]).await.unwrap();
        assert_eq!((message.tag(), message.sqlstate()), (b'E', Some(&b"57P01"[..])));
        assert_eq!(message.whole, bytes);
    }

    #[tokio::test]
    async fn impossible_lengths() {
        for length in [0_u32, 3, 70_000, u32::MAX] {
            let bytes = [&b"E"[..], &length.to_be_bytes()].concat();
            assert!(Message::read(&mut &bytes[..]).await.is_err(), "{length}");
        }
    }
}
