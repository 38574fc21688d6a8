//! Version 1: a line of text.

use std::net::{IpAddr, SocketAddr};

use super::{Ends, Malformed, Said};

pub(super) const START: &[u8] = b"PROXY ";
/// With its line end.
pub(super) const LONGEST: usize = 107;

/// A whole line.
pub(super) fn parse(line: &[u8]) -> Result<Said, Malformed> {
    let line = line.strip_prefix(START).and_then(|line| line.strip_suffix(b"\r\n"));
    let line = std::str::from_utf8(line.ok_or(Malformed)?).map_err(|_| Malformed)?;
    let mut words = line.split(' ');
    let is_v4 = match words.next() {
        Some("TCP4") => true,
        Some("TCP6") => false,
        Some("UNKNOWN") => return Ok(Said::Itself),
        _ => return Err(Malformed),
    };
    let mut word = || words.next().ok_or(Malformed);
    let (client, server) = (address(word()?, is_v4)?, address(word()?, is_v4)?);
    let (from, to) = (port(word()?)?, port(word()?)?);
    if words.next().is_some() {
        return Err(Malformed);
    }
    let (client, server) = (SocketAddr::new(client, from), SocketAddr::new(server, to));
    Ok(Said::Forwarded(Ends { client, server }))
}

fn address(text: &str, is_v4: bool) -> Result<IpAddr, Malformed> {
    text.parse::<IpAddr>().ok().filter(|address| address.is_ipv4() == is_v4).ok_or(Malformed)
}

fn port(text: &str) -> Result<u16, Malformed> {
    let digits = text.bytes().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(Malformed)
}
