//! The application of somebody careless: it fetches whatever address it is asked for, in the
//! victim's network and as the user that the sidecar lets in. Neighbors ask it over the bridge.

use crate::attacks::Neighbour;
use crate::engine::{attempt, docker};
use crate::support::eventually;

const PORT: u16 = 8081;

/// Runs until it is dropped.
pub struct Fetcher {
    container: String,
    neighbour: Neighbour,
}

impl Fetcher {
    /// In the network of `pod`.
    pub fn beside(pod: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/containers/fetch.sh");
        let mount = format!("--volume={script}:/www/cgi-bin/fetch:ro");
        let network = format!("--network=container:{pod}");
        let options = ["run", "-d", "--rm", "--init", "--user=10001:10001", "--read-only"];
        let server = ["sidekey-test/busybox", "httpd", "-f", "-p", "8081", "-h", "/www"];
        let container = docker(&[&options[..], &[&network, &mount], &server].concat());
        let neighbour = Neighbour::of(pod).remove(0);
        let this = Self { container, neighbour };
        eventually("the fetcher", || (this.neighbour.ask(PORT, "GET /").0 != 0).then_some(()));
        this
    }

    /// What it answers to who wants `url` fetched: the status is its own.
    pub fn fetch(&self, url: &str) -> (u16, String) {
        self.neighbour.ask(PORT, &format!("GET /cgi-bin/fetch?{url}"))
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        let _ = attempt("docker", &["rm", "-f", &self.container]);
    }
}
