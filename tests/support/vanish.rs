//! A peer that is gone without a word.

use socket2::{SockFilter, Socket};

use super::eventually;

/// From now on nothing arrives at `sockets`, whose own port is `port`, and so nothing is
/// acknowledged either. What they have sent has arrived: else it would be heard being sent again.
pub fn vanish(sockets: &[Socket], port: u16) {
    assert!(!sockets.is_empty(), "there is a connection");
    eventually("everything to be acknowledged", || is_acknowledged(port).then_some(()));
    // BPF: return 0, the number of bytes of each packet to keep.
    let drop_all = [SockFilter::new(0x06, 0, 0, 0)];
    for socket in sockets {
        socket.attach_filter(&drop_all).unwrap();
    }
}

/// By `/proc/net/tcp`: the fields are slot, local and remote address, state, and what is queued to
/// be sent and read.
fn is_acknowledged(port: u16) -> bool {
    let port = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut own = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    own.all(|fields| !fields[1].ends_with(&port) || fields[4].starts_with("00000000:"))
}
