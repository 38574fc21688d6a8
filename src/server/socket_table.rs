//! Who owns the other end of a loopback TCP connection, from the kernel's socket table.
//!
//! One `SOCK_DIAG_BY_FAMILY` request names the peer's socket exactly: its local address is our
//! remote one. Only an established socket that still belongs to a process counts, because the
//! kernel reports an orphaned or a closing one as owned by root.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const ESTABLISHED: u8 = 1;
const HEADER: usize = 16;

/// Netlink answered once, so that "not found" means what it says. Before that it may also mean
/// that the kernel lacks the module.
static ANSWERED: AtomicBool = AtomicBool::new(false);

/// The uid that owns the socket bound to `peer` and connected to `local`; `None` when there is
/// none, or when it is no longer established.
pub(super) fn owner(peer: SocketAddr, local: SocketAddr) -> Option<u32> {
    match by_netlink(peer, local) {
        Ok(found) => {
            ANSWERED.store(true, Ordering::Relaxed);
            found
        }
        Err(Errno::NOENT) if ANSWERED.load(Ordering::Relaxed) => None,
        Err(_) => by_proc(peer, local),
    }
}

fn by_netlink(peer: SocketAddr, local: SocketAddr) -> Result<Option<u32>, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        flags,
        Some(SOCK_DIAG),
    )?;
    let kernel = SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(&socket, &request(peer, local), SendFlags::empty(), &kernel)?;
    // The kernel has answered before `sendto` returns.
    let mut answer = [0; 512];
    let (_, len) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    let answer = answer.get(..len).ok_or(Errno::MSGSIZE)?;
    parse(answer, peer, local)
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
fn parse(answer: &[u8], peer: SocketAddr, local: SocketAddr) -> Result<Option<u32>, Errno> {
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
    Ok((exact && state == ESTABLISHED && inode != 0).then_some(uid))
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
fn by_proc(peer: SocketAddr, local: SocketAddr) -> Option<u32> {
    let mapped = |addr: SocketAddr| match addr.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), addr.port()),
        IpAddr::V6(_) => addr,
    };
    let in_table = |path: &str, peer: SocketAddr, local: SocketAddr| {
        let table = std::fs::read_to_string(path).ok()?;
        find_in_table(&table, peer, local)
    };
    let found = peer.is_ipv4().then(|| in_table("/proc/net/tcp", peer, local)).flatten();
    found.or_else(|| in_table("/proc/net/tcp6", mapped(peer), mapped(local)))
}

/// Finds the line of the socket: `sl local remote state queues timer retransmits uid timeout
/// inode`.
fn find_in_table(table: &str, peer: SocketAddr, local: SocketAddr) -> Option<u32> {
    let (peer, local) = (in_proc_form(peer), in_proc_form(local));
    table.lines().skip(1).find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let same = words.next()? == peer && words.next()? == local;
        let established = words.next()? == "01";
        let uid = words.nth(3)?.parse().ok()?;
        let owned = words.nth(1)? != "0";
        (same && established && owned).then_some(uid)
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
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::unix::fs::MetadataExt as _;

    fn our_uid() -> u32 {
        std::fs::metadata("/proc/self").unwrap().uid()
    }

    fn connected(listen: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(listen).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn both_ways(client: SocketAddr, local: SocketAddr) -> [Option<u32>; 2] {
        [by_netlink(client, local).unwrap_or_default(), by_proc(client, local)]
    }

    #[test]
    fn the_owner_of_the_peers_socket_is_found() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let (client, server) = connected(listen);
            let (peer, local) = (server.peer_addr().unwrap(), server.local_addr().unwrap());
            assert_eq!(both_ways(peer, local), [Some(our_uid()); 2], "{listen}");
            drop(client);
        }
    }

    #[test]
    fn an_ipv6_socket_that_talks_ipv4_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        client.set_only_v6(false).unwrap();
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        client.connect(&SocketAddr::new(mapped.into(), port).into()).unwrap();
        let server = listener.accept().unwrap().0;
        let (peer, local) = (server.peer_addr().unwrap(), server.local_addr().unwrap());
        assert_eq!(both_ways(peer, local), [Some(our_uid()); 2]);
    }

    #[test]
    fn a_closed_peer_has_no_uid_and_above_all_not_that_of_root() {
        let (client, server) = connected("127.0.0.1:0");
        let (peer, local) = (server.peer_addr().unwrap(), server.local_addr().unwrap());
        drop(client);
        assert_eq!(both_ways(peer, local), [None; 2]);
    }

    #[test]
    fn a_half_closed_peer_has_no_uid() {
        let (client, server) = connected("127.0.0.1:0");
        let (peer, local) = (server.peer_addr().unwrap(), server.local_addr().unwrap());
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(both_ways(peer, local), [None; 2]);
    }

    #[test]
    fn a_listener_on_the_peers_port_is_not_the_peer() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let (_client, server) = connected("127.0.0.1:0");
        let (peer, local) = (other.local_addr().unwrap(), server.local_addr().unwrap());
        assert_eq!(both_ways(peer, local), [None; 2]);
    }

    #[test]
    fn an_orphan_in_the_table_is_not_root() {
        let table = "header\n\
            0: 0100007F:C350 0100007F:1D09 01 00000000:00000000 00:00000000 00000000     0        0 0 1\n\
            1: 0100007F:C351 0100007F:1D09 01 00000000:00000000 00:00000000 00000000 10001        0 77 1\n";
        let addr = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        assert_eq!(find_in_table(table, addr(50000), addr(7433)), None);
        assert_eq!(find_in_table(table, addr(50001), addr(7433)), Some(10001));
        assert_eq!(find_in_table(table, addr(7433), addr(50001)), None);
    }
}
