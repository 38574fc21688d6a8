//! Version 2: a binary header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Ends, Malformed, Said};

pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version and command, family and protocol, and the length of the rest.
pub(super) const FIXED: usize = 4;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_COMMON_NAME: u8 = 0x22;
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERT_CONN: u8 = 0x02;

/// How much follows.
pub(super) fn length([.., high, low]: [u8; FIXED]) -> usize {
    usize::from(u16::from_be_bytes([high, low]))
}

/// `rest` has the length that `fixed` says.
pub(super) fn parse(fixed: [u8; FIXED], rest: &[u8]) -> Result<Said, Malformed> {
    let [command, family, ..] = fixed;
    match (command, family) {
        (PROXY, TCP4) => ends::<4, Ipv4Addr>(rest),
        (PROXY, TCP6) => ends::<16, Ipv6Addr>(rest),
        // Its own; and what is unspecified, UDP or of unix sockets: nothing that we could tell the
        // application.
        (LOCAL, _) | (PROXY, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => Ok(Said::Itself),
        _ => Err(Malformed),
    }
}

/// Two addresses of `N` bytes, and two ports. What follows them is not for us.
fn ends<const N: usize, A: From<[u8; N]> + Into<IpAddr>>(rest: &[u8]) -> Result<Said, Malformed> {
    let (client, rest) = rest.split_first_chunk::<N>().ok_or(Malformed)?;
    let (server, rest) = rest.split_first_chunk::<N>().ok_or(Malformed)?;
    let (from, rest) = rest.split_first_chunk::<2>().ok_or(Malformed)?;
    let (to, _) = rest.split_first_chunk::<2>().ok_or(Malformed)?;
    let address = |ip: &[u8; N], port: &[u8; 2]| {
        SocketAddr::new(A::from(*ip).into(), u16::from_be_bytes(*port))
    };
    Ok(Said::Forwarded(Ends { client: address(client, from), server: address(server, to) }))
}

/// What the application is told about a connection.
#[derive(Debug)]
pub(in super::super) struct Announcement<'a> {
    pub(in super::super) ends: Ends,
    /// The protocol that was agreed on.
    pub(in super::super) alpn: Option<&'a [u8]>,
    /// The name that the client asked for.
    pub(in super::super) server_name: Option<&'a str>,
    /// How TLS was spoken.
    pub(in super::super) tls: Option<Tls<'a>>,
}

/// How TLS was spoken.
#[derive(Debug)]
pub(in super::super) struct Tls<'a> {
    /// As in `TLSv1.3`.
    pub(in super::super) version: &'a str,
    /// Whether the client showed a good certificate, and the common name in it.
    pub(in super::super) client: Option<&'a str>,
}

impl Announcement<'_> {
    /// The header.
    pub(in super::super) fn header(&self) -> Vec<u8> {
        let mut rest = Vec::with_capacity(128);
        let Ends { client, server } = self.ends;
        let family = match (client.ip(), server.ip()) {
            (IpAddr::V4(client), IpAddr::V4(server)) => {
                rest.extend(client.octets());
                rest.extend(server.octets());
                TCP4
            }
            (client, server) => {
                rest.extend(in_v6(client).octets());
                rest.extend(in_v6(server).octets());
                TCP6
            }
        };
        rest.extend(client.port().to_be_bytes());
        rest.extend(server.port().to_be_bytes());
        if let Some(protocol) = self.alpn {
            push(&mut rest, ALPN, protocol);
        }
        if let Some(name) = self.server_name {
            push(&mut rest, AUTHORITY, name.as_bytes());
        }
        if let Some(tls) = &self.tls {
            push(&mut rest, SSL, &tls.value());
        }
        let mut header = SIGNATURE.to_vec();
        header.extend([PROXY, family]);
        header.extend(u16::try_from(rest.len()).unwrap_or(u16::MAX).to_be_bytes());
        header.extend(rest);
        header
    }
}

impl Tls<'_> {
    fn value(&self) -> Vec<u8> {
        let shown = if self.client.is_some() { CLIENT_CERT_CONN } else { 0 };
        let mut value = vec![CLIENT_SSL | shown];
        // Zero for a certificate that was found good; others do not get here.
        value.extend(u32::from(self.client.is_none()).to_be_bytes());
        push(&mut value, SSL_VERSION, self.version.as_bytes());
        if let Some(name) = self.client.filter(|name| !name.is_empty()) {
            push(&mut value, SSL_COMMON_NAME, name.as_bytes());
        }
        value
    }
}

/// Type, length and value. Names are shorter than what would not fit.
fn push(to: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let value = value.get(..1024).unwrap_or(value);
    to.push(kind);
    to.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    to.extend(value);
}

fn in_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_says_how_tls_was_spoken() {
        let ends = Ends {
            client: "192.0.2.1:1".parse().unwrap(),
            server: "198.51.100.2:443".parse().unwrap(),
        };
        let tls = Some(Tls { version: "TLSv1.3", client: Some("app") });
        let alpn = Some(&b"h2"[..]);
        let header = Announcement { ends, alpn, server_name: Some("a.b"), tls }.header();
        let expected = [
            &SIGNATURE[..],
            &[0x21, 0x11, 0, 47],
            &[192, 0, 2, 1, 198, 51, 100, 2, 0, 1, 1, 187],
            &[0x01, 0, 2],
            b"h2",
            &[0x02, 0, 3],
            b"a.b",
            &[0x20, 0, 21, 0x03, 0, 0, 0, 0, 0x21, 0, 7],
            b"TLSv1.3",
            &[0x22, 0, 3],
            b"app",
        ]
        .concat();
        assert_eq!(header, expected);
    }
}
