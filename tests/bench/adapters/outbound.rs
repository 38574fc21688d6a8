//! Plain HTTP from the application, TLS to the destination, and a credential on the way. Where
//! bytes are copied, the application brings the credential itself.

use super::contest::Contest;
use super::load::{Address, NAME, Target};
use super::programs::{nginx_to, stunnel_to};
use super::sidecar::ambassador;
use super::stage::{Stage, client, with_token};

pub(crate) fn contest(stage: &Stage) -> Contest<'_> {
    let (destination, peer) = stage.destination();
    let title = "an ambassador to an HTTPS destination (HTTP/1.1, TLS 1.3, ECDSA P-256)";
    let direct = with_token(Address::Tls(peer, client()));
    let mut contest = Contest::before(stage, title, destination, direct);
    let trust = format!(
        "server_name = \"{NAME}\"\nca_cert = \"{}\"",
        stage.path("authority.pem").display()
    );
    let http = format!(
        "protocol = \"http\"\ndestination = \"https://{peer}\"\nsecret = \"api\"\n\
         credential = \"bearer\"\n{trust}"
    );
    let tcp = format!("protocol = \"tcp\"\ndestination = \"{peer}\"\ntls = true\n{trust}");
    let bare = |at| Target::get(Address::Tcp(at), "/", None);
    let brought = |at| with_token(Address::Tcp(at));
    let (sidekey, at) = ambassador(stage, &http, false);
    contest.add("sidekey, http", sidekey, bare(at));
    let (sidekey, at) = ambassador(stage, &http, true);
    contest.add("sidekey, http, audit to /dev/null", sidekey, bare(at));
    let (sidekey, at) = ambassador(stage, &tcp, false);
    contest.add("sidekey, tcp", sidekey, brought(at));
    contest.try_add("nginx, one worker", nginx_to(stage, peer), bare);
    contest.try_add("stunnel", stunnel_to(stage, peer), brought);
    contest
}
