//! Who is at the other end of a connection, by the kernel's word.
//!
//! On the unix socket it is the uid that connected (`SO_PEERCRED`). On TCP it is the owner of
//! the peer's socket in the kernel's socket table: the uid that created it.
//!
//! Both name whoever *made* the connection. A process that passes the socket on, by fork or
//! over a unix socket, lends its identity with it, and a process with `CAP_SETUID` or
//! `CAP_CHOWN` in the same user namespace can take any. Uids that have no number in the
//! sidecar's user namespace all show as the overflow uid, 65534: do not write a rule for it
//! where user namespaces differ.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use super::guard::OwnNames;
use super::socket_table::{self, OwnSocket};

/// The other end of one connection.
pub(crate) struct Peer {
    transport: Transport,
    own_names: Arc<OwnNames>,
    /// Asked for once per connection, and only when a rule has uids.
    uid: OnceLock<Option<u32>>,
}

enum Transport {
    Tcp { peer: SocketAddr, own: OwnSocket },
    Unix,
}

impl Peer {
    pub(super) fn tcp(peer: SocketAddr, own: OwnSocket, own_names: Arc<OwnNames>) -> Self {
        Self { transport: Transport::Tcp { peer, own }, own_names, uid: OnceLock::new() }
    }

    pub(super) fn unix(uid: Option<u32>, own_names: Arc<OwnNames>) -> Self {
        Self { transport: Transport::Unix, own_names, uid: OnceLock::from(uid) }
    }

    /// For the audit log.
    pub(crate) fn transport(&self) -> &'static str {
        match self.transport {
            Transport::Tcp { .. } => "tcp",
            Transport::Unix => "unix",
        }
    }

    /// Its address and ours; `None` on a unix socket.
    pub(crate) fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        match self.transport {
            Transport::Tcp { peer, own } => Some((peer, own.local)),
            Transport::Unix => None,
        }
    }

    /// What the listener that it came in by may be called.
    pub(super) fn own_names(&self) -> &OwnNames {
        &self.own_names
    }

    /// The uid, asking the kernel (some 40 µs) when it did not say yet.
    pub(crate) fn uid(&self) -> Option<u32> {
        remembered(&self.uid, || match self.transport {
            Transport::Tcp { peer, own } => socket_table::owner(peer, own),
            Transport::Unix => Ok(None),
        })
    }

    /// The uid, if the kernel was asked already.
    pub(crate) fn known_uid(&self) -> Option<u32> {
        self.uid.get().copied().flatten()
    }
}

/// What `ask` answered first. That it could not be asked is no answer, and is not kept.
fn remembered(
    uid: &OnceLock<Option<u32>>,
    ask: impl FnOnce() -> io::Result<Option<u32>>,
) -> Option<u32> {
    match uid.get() {
        Some(uid) => *uid,
        None => ask().map_or(None, |found| *uid.get_or_init(|| found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_the_kernel_is_kept_and_a_failure_is_not() {
        let uid = OnceLock::new();
        let no_descriptor = || Err(io::Error::from_raw_os_error(libc::EMFILE));
        assert_eq!(remembered(&uid, no_descriptor), None);
        assert_eq!(remembered(&uid, || Ok(Some(7))), Some(7));
        assert_eq!(remembered(&uid, no_descriptor), Some(7));
        assert_eq!(remembered(&uid, || Ok(Some(8))), Some(7));

        let nobody = OnceLock::new();
        assert_eq!(remembered(&nobody, || Ok(None)), None);
        assert_eq!(remembered(&nobody, || Ok(Some(7))), None, "a definite answer too");
    }
}
