//! The PROXY protocol: whom a load balancer speaks for.
//!
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _};

mod v1;
mod v2;

pub(super) use v2::{Announcement, Tls};

/// The longest header of version 2 that is taken: addresses, and some KiB of what we do not read.
const LONGEST: usize = 4096;

/// Both ends of the connection that a load balancer forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Who connected.
    pub client: SocketAddr,
    /// What it connected to.
    pub server: SocketAddr,
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It forwards this connection.
    Forwarded(Ends),
    /// It speaks for itself, or of what is no IP address.
    Itself,
}

/// Not a header of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no PROXY header, or a malformed one")]
pub(super) struct Malformed;

/// Reads a header of version 1 or 2, and nothing behind it.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for anything else, and those of `stream`.
pub(super) async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Said> {
    let malformed = |_| io::Error::new(io::ErrorKind::InvalidData, Malformed);
    // The shortest header of version 1 is longer than the signature of version 2.
    let mut start = [0; v2::SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == v2::SIGNATURE {
        let mut fixed = [0; v2::FIXED];
        stream.read_exact(&mut fixed).await?;
        let length = v2::length(fixed);
        if length > LONGEST {
            return Err(malformed(Malformed));
        }
        let mut rest = vec![0; length];
        stream.read_exact(&mut rest).await?;
        return v2::parse(fixed, &rest).map_err(malformed);
    }
    if !start.starts_with(v1::START) {
        return Err(malformed(Malformed));
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= v1::LONGEST {
            return Err(malformed(Malformed));
        }
        line.push(stream.read_u8().await?);
    }
    v1::parse(&line).map_err(malformed)
}

/// What is at the start of `bytes`, and how long it is; for the fuzz target.
#[doc(hidden)]
pub fn parse_proxy_header(bytes: &[u8]) -> Option<(Said, usize)> {
    let mut rest = bytes;
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    let said = runtime.block_on(receive(&mut rest)).ok()?;
    Some((said, bytes.len() - rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Option<(Said, usize)> {
        parse_proxy_header(bytes)
    }

    fn forwarded(client: &str, server: &str) -> Said {
        let (client, server) = (client.parse().unwrap(), server.parse().unwrap());
        Said::Forwarded(Ends { client, server })
    }

    #[test]
    fn version_1() {
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\nrest";
        let said = forwarded("192.0.2.1:56324", "198.51.100.2:443");
        assert_eq!(read(line), Some((said, line.len() - 4)));
        let line = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 443\r\n";
        let said = forwarded("[2001:db8::1]:1", "[2001:db8::2]:443");
        assert_eq!(read(line), Some((said, line.len())));
        assert_eq!(read(b"PROXY UNKNOWN\r\n\x16"), Some((Said::Itself, 15)));
        assert_eq!(read(b"PROXY UNKNOWN a b c d\r\n"), Some((Said::Itself, 23)));
    }

    #[test]
    fn version_2() {
        for (client, server) in
            [("192.0.2.1:56324", "198.51.100.2:443"), ("[2001:db8::1]:1", "[::ffff:1.2.3.4]:443")]
        {
            let (client, server) = (client.parse().unwrap(), server.parse().unwrap());
            let ends = Ends { client, server };
            let announcement =
                Announcement { ends, alpn: None, server_name: Some("a.example"), tls: None };
            let mut bytes = announcement.header();
            let length = bytes.len();
            bytes.extend(b"\x16\x03\x01");
            assert_eq!(read(&bytes), Some((Said::Forwarded(ends), length)));
            for end in 0..length {
                assert_eq!(read(&bytes[..end]), None, "{end}");
            }
        }
    }

    #[test]
    fn a_health_check_speaks_for_itself() {
        let mut bytes = v2::SIGNATURE.to_vec();
        bytes.extend([0x20, 0x00, 0, 3, 1, 2, 3]);
        assert_eq!(read(&bytes), Some((Said::Itself, 19)));
        // Of a unix socket.
        let mut bytes = v2::SIGNATURE.to_vec();
        bytes.extend([0x21, 0x31, 0, 216]);
        bytes.extend([0; 216]);
        assert_eq!(read(&bytes), Some((Said::Itself, 232)));
    }

    #[test]
    fn nothing_else() {
        let v2 = |tail: &[u8]| [&v2::SIGNATURE[..], tail].concat();
        let long = format!("PROXY TCP4 {}\r\n", "1".repeat(120));
        for bytes in [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 65536\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 2001:db8::2 1 443\r\n".to_vec(),
            b"PROXY TCP4  192.0.2.1 198.51.100.2 1 443\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.1 198.51.100.2 1 443\r\n".to_vec(),
            long.into_bytes(),
            // Version 1 in the clothes of version 2, too short for its addresses, too long.
            v2(&[0x11, 0x11, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            v2(&[0x21, 0x11, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            v2(&[0x22, 0x11, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            v2(&[0x21, 0x41, 0, 0]),
            v2(&[0x21, 0x11, 0xff, 0xff]),
        ] {
            assert_eq!(read(&bytes), None, "{}", String::from_utf8_lossy(&bytes));
        }
    }
}
