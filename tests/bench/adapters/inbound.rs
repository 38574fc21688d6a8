//! HTTPS in front of a plain application.

use super::contest::Contest;
use super::load::{Address, Target};
use super::programs::{nginx_before, stunnel_before};
use super::sidecar::tls_adapter;
use super::stage::{Stage, client};

pub(crate) fn contest(stage: &Stage) -> Contest<'_> {
    let (application, peer) = stage.application();
    let title = "HTTPS in front of an application (HTTP/1.1, TLS 1.3, ECDSA P-256)";
    let direct = Target::get(Address::Tcp(peer), "/", None);
    let mut contest = Contest::before(stage, title, application, direct);
    let tls = client();
    let target = |at| Target::get(Address::Tls(at, tls.clone()), "/", None);
    for mode in ["http", "tcp"] {
        let (sidekey, at) = tls_adapter(stage, peer, mode);
        contest.add(format!("sidekey, {mode}"), sidekey, target(at));
    }
    contest.try_add("nginx, one worker", nginx_before(stage, peer), target);
    contest.try_add("stunnel", stunnel_before(stage, peer), target);
    contest
}
