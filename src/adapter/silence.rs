//! Peers that are gone without a word.

use std::time::Duration;

use rustix::net::sockopt;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Questions without an answer, after which a peer is gone.
pub(super) const UNANSWERED: u32 = 3;
/// What the kernel takes at most.
const LONGEST: Duration = Duration::from_secs(32_767);

/// A peer that is gone without a word is noticed, whether it is waited for or written to: after
/// four times `keepalive`, rounded to whole seconds by the kernel. So is one that is there, and
/// takes nothing for as long.
pub(super) fn notice_silence(stream: &TcpStream, keepalive: Duration) {
    let keepalive = keepalive.min(LONGEST);
    let alive = TcpKeepalive::new().with_time(keepalive).with_interval(keepalive);
    let _ = SockRef::from(stream).set_tcp_keepalive(&alive);
    let _ = sockopt::set_tcp_keepcnt(stream, UNANSWERED);
    let unacknowledged = (keepalive * (UNANSWERED + 1)).as_millis();
    let _ =
        sockopt::set_tcp_user_timeout(stream, u32::try_from(unacknowledged).unwrap_or(u32::MAX));
}
