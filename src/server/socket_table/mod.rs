//! Who owns the other end of a loopback TCP connection, from the kernel's socket table.
//!
//! One `SOCK_DIAG_BY_FAMILY` request names the peer's socket exactly: its local address is our
//! remote one. What counts is that it belongs to a process still, which its inode says: of an
//! orphan, and of what is left of one (`TIME_WAIT`), the kernel reports root as the owner. So one
//! that has sent its end of the stream counts (`FIN_WAIT1`, `FIN_WAIT2`, each reached from
//! `ESTABLISHED` alone), as long as a process holds it.
//!
//! Addresses alone would not tell it from a later one: a peer that resets its connection leaves
//! what it sent for us to read, and its port to whoever comes next, who may be somebody else. So
//! our own socket is looked for after that, by its inode. The kernel takes it out of the table
//! when it is reset, never puts it back, and has room for one connection between two addresses:
//! while ours is there, the other end is the one that it was made with.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use tokio::net::TcpStream;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const HEADER: usize = 16;

/// States of the kernel's `enum tcp_state` in which a peer was connected to us, and has at most
/// said that it will send no more.
const ESTABLISHED: u8 = 1;
const FIN_WAIT1: u8 = 4;
const FIN_WAIT2: u8 = 5;

/// Netlink answered once, so that "not found" means what it says. Before that it may also mean
/// that the kernel lacks the module.
static ANSWERED: AtomicBool = AtomicBool::new(false);

/// Our end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnSocket {
    /// Its address.
    pub(super) local: SocketAddr,
    /// As it stands in the table, which has 32 bits for it.
    inode: u32,
}

impl OwnSocket {
    pub(super) fn of(stream: &TcpStream) -> io::Result<Self> {
        let local = stream.local_addr()?;
        let inode = u32::try_from(rustix::fs::fstat(stream)?.st_ino).unwrap_or_default();
        Ok(Self { local, inode })
    }
}

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    state: u8,
    uid: u32,
    inode: u32,
}

impl Entry {
    /// Whose it is, if it is somebody's and was connected.
    fn owner(self) -> Option<u32> {
        let connected = [ESTABLISHED, FIN_WAIT1, FIN_WAIT2].contains(&self.state);
        (connected && self.inode != 0).then_some(self.uid)
    }
}

/// The uid that owns the socket bound to `peer` and connected to `own`; `None` when there is
/// none, when no process holds it any more, or when `own` is not connected any more.
///
/// # Errors
/// When the kernel could not be asked, as where there is no file descriptor left to ask it with.
pub(super) fn owner(peer: SocketAddr, own: OwnSocket) -> io::Result<Option<u32>> {
    match by_netlink(peer, own) {
        Ok(found) => {
            ANSWERED.store(true, Ordering::Relaxed);
            Ok(found)
        }
        Err(Errno::NOENT) if ANSWERED.load(Ordering::Relaxed) => Ok(None),
        Err(_) => by_proc(peer, own),
    }
}

/// The peer first, then ourselves: see above.
fn by_netlink(peer: SocketAddr, own: OwnSocket) -> Result<Option<u32>, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let netlink = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        flags,
        Some(SOCK_DIAG),
    )?;
    let Some(uid) = look_up(&netlink, peer, own.local)?.and_then(Entry::owner) else {
        return Ok(None);
    };
    let ours = look_up(&netlink, own.local, peer)?;
    Ok(ours.filter(|entry| is_own(*entry, own)).map(|_| uid))
}

fn is_own(entry: Entry, own: OwnSocket) -> bool {
    own.inode != 0 && entry.inode == own.inode
}

/// The socket bound to `from` and connected to `to`.
fn look_up(netlink: &OwnedFd, from: SocketAddr, to: SocketAddr) -> Result<Option<Entry>, Errno> {
    let kernel = SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(netlink, &request(from, to), SendFlags::empty(), &kernel)?;
    // The kernel has answered before `sendto` returns.
    let mut answer = [0; 512];
    let (_, len) = rustix::net::recv(netlink, &mut answer[..], RecvFlags::empty())?;
    let answer = answer.get(..len).ok_or(Errno::MSGSIZE)?;
    parse(answer, from, to)
}

/// `nlmsghdr` and `inet_diag_req_v2`, for one socket.
fn request(peer: SocketAddr, local: SocketAddr) -> Vec<u8> {
    let family = if peer.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let mut message = Vec::with_capacity(72);
    message.extend_from_slice(&72_u32.to_ne_bytes());
    message.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    message.extend_from_slice(&[0; 8]); // sequence, port

    let tcp = 6;
    let family = u8::try_from(family.as_raw()).unwrap_or_default();
    message.extend_from_slice(&[family, tcp, 0, 0]);
    message.extend_from_slice(&u32::MAX.to_ne_bytes()); // any state
    message.extend_from_slice(&peer.port().to_be_bytes());
    message.extend_from_slice(&local.port().to_be_bytes());
    message.extend_from_slice(&address(peer.ip()));
    message.extend_from_slice(&address(local.ip()));
    message.extend_from_slice(&[0; 4]); // any interface
    message.extend_from_slice(&[0xff; 8]); // no cookie
    message
}

fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V6(ip) => ip.octets(),
        IpAddr::V4(ip) => {
            let mut octets = [0; 16];
            octets.iter_mut().zip(ip.octets()).for_each(|(to, from)| *to = from);
            octets
        }
    }
}

/// Reads `nlmsghdr` and `inet_diag_msg`, and believes nothing but the socket asked for.
fn parse(answer: &[u8], peer: SocketAddr, local: SocketAddr) -> Result<Option<Entry>, Errno> {
    let short = || Errno::BADMSG;
    let kind = u16::from_ne_bytes(take(answer, 4).ok_or_else(short)?);
    if kind == NLMSG_ERROR {
        let code = i32::from_ne_bytes(take(answer, HEADER).ok_or_else(short)?);
        return Err(Errno::from_raw_os_error(code.saturating_neg()));
    }
    if kind != SOCK_DIAG_BY_FAMILY {
        return Err(Errno::BADMSG);
    }
    let [family, state] = take(answer, HEADER).ok_or_else(short)?;
    let ports = [take(answer, HEADER + 4), take(answer, HEADER + 6)];
    let ports = ports.map(|port| port.map(u16::from_be_bytes));
    let source = ip(family, take(answer, HEADER + 8).ok_or_else(short)?);
    let destination = ip(family, take(answer, HEADER + 24).ok_or_else(short)?);
    let uid = u32::from_ne_bytes(take(answer, HEADER + 64).ok_or_else(short)?);
    let inode = u32::from_ne_bytes(take(answer, HEADER + 68).ok_or_else(short)?);

    let exact = ports == [Some(peer.port()), Some(local.port())]
        && source == peer.ip().to_canonical()
        && destination == local.ip().to_canonical();
    Ok(exact.then_some(Entry { state, uid, inode }))
}

fn take<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..at + N)?.try_into().ok()
}

/// An IPv6 socket that talks IPv4 (as a JVM's do) counts by its IPv4 address.
fn ip(family: u8, octets: [u8; 16]) -> IpAddr {
    if u16::from(family) == AddressFamily::INET6.as_raw() {
        return Ipv6Addr::from(octets).to_canonical();
    }
    let [a, b, c, d, ..] = octets;
    Ipv4Addr::new(a, b, c, d).into()
}

/// For where netlink is refused (a seccomp filter, gVisor): the same table as text.
fn by_proc(peer: SocketAddr, own: OwnSocket) -> io::Result<Option<u32>> {
    let Some(uid) = in_proc(peer, own.local)?.and_then(Entry::owner) else { return Ok(None) };
    let ours = in_proc(own.local, peer)?;
    Ok(ours.filter(|entry| is_own(*entry, own)).map(|_| uid))
}

/// The socket bound to `from` and connected to `to`.
fn in_proc(from: SocketAddr, to: SocketAddr) -> io::Result<Option<Entry>> {
    let mapped = |addr: SocketAddr| match addr.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), addr.port()),
        IpAddr::V6(_) => addr,
    };
    let in_table = |path: &str, from: SocketAddr, to: SocketAddr| {
        match std::fs::read_to_string(path) {
            Ok(table) => Ok(find_in_table(&table, from, to)),
            // A kernel without that kind of sockets.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    };
    if from.is_ipv4()
        && let Some(found) = in_table("/proc/net/tcp", from, to)?
    {
        return Ok(Some(found));
    }
    in_table("/proc/net/tcp6", mapped(from), mapped(to))
}

/// Finds the line of the socket: `sl local remote state queues timer retransmits uid timeout
/// inode`.
fn find_in_table(table: &str, from: SocketAddr, to: SocketAddr) -> Option<Entry> {
    let (from, to) = (in_proc_form(from), in_proc_form(to));
    table.lines().skip(1).find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        if words.next()? != from || words.next()? != to {
            return None;
        }
        let state = u8::from_str_radix(words.next()?, 16).ok()?;
        let uid = words.nth(3)?.parse().ok()?;
        let inode = words.nth(1)?.parse().ok()?;
        Some(Entry { state, uid, inode })
    })
}

/// Each 32-bit word of the address as this machine reads it, then the port.
fn in_proc_form(addr: SocketAddr) -> String {
    let octets = match addr.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = octets.chunks_exact(4).filter_map(|word| word.try_into().ok());
    let mut form = String::with_capacity(37);
    for word in words.map(u32::from_ne_bytes) {
        // A String takes everything.
        let _ = write!(form, "{word:08X}");
    }
    let _ = write!(form, ":{:04X}", addr.port());
    form
}

#[cfg(test)]
mod tests;
