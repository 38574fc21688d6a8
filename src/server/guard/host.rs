//! A request must be addressed to us by one of our own loopback names: a web page that had its
//! own name resolve to loopback (DNS rebinding) sends that name.

use std::net::SocketAddr;

use super::super::head::Single;
use super::{Candidate, Denied};

/// The `Host` values that one listener goes by.
#[derive(Debug)]
pub(crate) struct OwnNames(Vec<Box<str>>);

impl OwnNames {
    /// The address itself and `localhost`, with the port; on port 80 also without.
    pub(crate) fn tcp(addr: SocketAddr) -> Self {
        let port = addr.port();
        let ip = if addr.is_ipv6() { format!("[{}]", addr.ip()) } else { addr.ip().to_string() };
        let mut names: Vec<Box<str>> =
            vec![format!("{ip}:{port}").into(), format!("localhost:{port}").into()];
        if port == 80 {
            names.extend([ip.into(), "localhost".into()]);
        }
        Self(names)
    }

    /// `localhost`, and what the TCP listeners go by.
    pub(crate) fn unix<'n>(tcp: impl IntoIterator<Item = &'n Self>) -> Self {
        let others = tcp.into_iter().flat_map(|names| names.0.iter().cloned());
        Self(std::iter::once("localhost".into()).chain(others).collect())
    }

    /// Names compare without regard to case, as host names do, and otherwise exactly.
    fn contain(&self, name: &[u8]) -> bool {
        self.0.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(name))
    }
}

/// Exactly one `Host`, and it is ours; the authority of an absolute target likewise.
pub(super) fn host(candidate: &mut Candidate<'_>) -> Result<(), Denied> {
    let own = candidate.peer.own_names();
    let Single::One(host) = candidate.head.host else { return Err(Denied::Host) };
    let uri = candidate.head.uri;
    let addressed_to_us = own.contain(host.as_bytes())
        && uri.authority().is_none_or(|authority| own.contain(authority.as_str().as_bytes()))
        && uri.scheme_str().is_none_or(|scheme| scheme == "http");
    if addressed_to_us { Ok(()) } else { Err(Denied::Host) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_goes_by_its_address_and_localhost() {
        let names = OwnNames::tcp("127.0.0.1:7433".parse().unwrap());
        assert!(names.contain(b"127.0.0.1:7433") && names.contain(b"LocalHost:7433"));
        for foreign in [
            "",
            "localhost",
            "127.0.0.1",
            "localhost.:7433",
            "localhost:7434",
            "127.0.0.2:7433",
            "[::1]:7433",
            "user@localhost:7433",
            "localhost:07433",
            "localhost:7433 ",
            "127.1:7433",
            "evil.example:7433",
            "localhost:7433,evil.example",
        ] {
            assert!(!names.contain(foreign.as_bytes()), "{foreign}");
        }
        assert!(OwnNames::tcp("[::1]:80".parse().unwrap()).contain(b"[::1]"));
        let unix = OwnNames::unix([&names]);
        assert!(unix.contain(b"localhost") && unix.contain(b"127.0.0.1:7433"));
    }
}
