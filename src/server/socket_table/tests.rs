use super::*;
use socket2::{Domain, SockRef, Socket, Type};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

fn our_uid() -> u32 {
    std::fs::metadata("/proc/self").unwrap().uid()
}

fn connected(listen: &str) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(listen).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// As [`OwnSocket::of`] has it.
fn own(stream: &TcpStream) -> OwnSocket {
    let inode = rustix::fs::fstat(stream).unwrap().st_ino.try_into().unwrap();
    OwnSocket { local: stream.local_addr().unwrap(), inode }
}

fn both_ways(peer: SocketAddr, own: OwnSocket) -> [Option<u32>; 2] {
    [by_netlink(peer, own).unwrap_or_default(), by_proc(peer, own).unwrap()]
}

fn peer_of(server: &TcpStream) -> [Option<u32>; 2] {
    both_ways(server.peer_addr().unwrap(), own(server))
}

#[test]
fn the_owner_of_the_peers_socket_is_found() {
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let (client, server) = connected(listen);
        assert_eq!(peer_of(&server), [Some(our_uid()); 2], "{listen}");
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
    assert_eq!(peer_of(&server), [Some(our_uid()); 2]);
}

#[test]
fn a_closed_peer_has_no_uid_and_above_all_not_that_of_root() {
    let (client, server) = connected("127.0.0.1:0");
    drop(client);
    assert_eq!(peer_of(&server), [None; 2]);
}

/// Whoever says that it sends no more is who it was, until it closes.
#[test]
fn a_half_closed_peer_is_who_it_was() {
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let (client, server) = connected(listen);
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(peer_of(&server), [Some(our_uid()); 2], "{listen}");
        drop(client);
        assert_eq!(peer_of(&server), [None; 2], "{listen}");
    }
}

/// What a reset connection left to read is not that of the next one from the same port.
#[test]
fn the_next_one_from_the_same_port_is_not_the_peer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // An address that nobody else on this machine takes a port of meanwhile.
    let [.., third, fourth] = std::process::id().to_be_bytes();
    let own_address = SocketAddr::from(([127, 77, third, fourth], 0));
    let first = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    first.bind(&own_address.into()).unwrap();
    first.connect(&listener.local_addr().unwrap().into()).unwrap();
    let from = first.local_addr().unwrap().as_socket().unwrap();
    let accepted = listener.accept().unwrap().0;
    let before = own(&accepted);
    assert_eq!(both_ways(from, before), [Some(our_uid()); 2]);
    SockRef::from(&first).set_linger(Some(Duration::ZERO)).unwrap();
    drop(first);
    let second = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    second.set_reuse_address(true).unwrap();
    second.bind(&from.into()).unwrap();
    second.connect(&listener.local_addr().unwrap().into()).unwrap();
    let server = listener.accept().unwrap().0;
    assert_eq!(server.peer_addr().unwrap(), from);
    assert_eq!(both_ways(from, before), [None; 2], "accepted before the reset");
    assert_eq!(peer_of(&server), [Some(our_uid()); 2]);
}

#[test]
fn a_listener_on_the_peers_port_is_not_the_peer() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_client, server) = connected("127.0.0.1:0");
    assert_eq!(both_ways(other.local_addr().unwrap(), own(&server)), [None; 2]);
}

#[test]
fn an_orphan_in_the_table_is_not_root() {
    let line = |port: &str, state: &str, uid: u32, inode: u32| {
        format!(
            "0: 0100007F:{port} 0100007F:1D09 {state} 00000000:00000000 00:00000000 00000000 \
             {uid:5} 0 {inode} 1\n"
        )
    };
    let table = [
        "header\n",
        &line("C350", "01", 0, 0),
        &line("C351", "01", 10001, 77),
        &line("C352", "05", 10001, 78),
        &line("C353", "05", 0, 0),
        // Not connected: it only tries to be.
        &line("C354", "02", 10001, 79),
    ]
    .concat();
    let addr = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let owner = |port| find_in_table(&table, addr(port), addr(7433)).and_then(Entry::owner);
    let found = [50000, 50001, 50002, 50003, 50004].map(owner);
    assert_eq!(found, [None, Some(10001), Some(10001), None, None]);
    assert_eq!(find_in_table(&table, addr(7433), addr(50001)), None);
}
