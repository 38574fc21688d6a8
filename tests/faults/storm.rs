//! A client that asks all the time does not reach Vault more often for it.

use std::time::{Duration, Instant};

use sidekey::dev::{Fault, Matcher};

use crate::case::{Case, builder, store};
use crate::support::client;
use crate::support::vault::{Dev, TestVault};

const LOOP: Duration = Duration::from_secs(3);

/// The default settings, with refreshes as often as they may be.
const TOML: &str = "[secrets.db]\npath = \"secret/data/db\"\nrefresh = \"1s\"\nmax_stale = \"0s\"\n\
    [secrets.never]\npath = \"secret/data/never\"\nrequired = false\nrefresh = \"1s\"\n";

fn start() -> Case {
    let vault = Dev::start();
    store(&vault, "db");
    store(&vault, "never");
    let (builder, token) = builder(&vault.url(), &vault.root_token());
    let sidecar = builder.config(TOML).start();
    Case { vault, sidecar, token }
}

/// Requests at Vault while a client asks in a tight loop.
fn requests_under(fault: Fault, matcher: Matcher, ask: impl Fn(&Case, usize)) -> usize {
    let case = start();
    case.vault.server.faults().on(matcher).respond(fault).forever();
    let before = case.vault.server.requests().len();
    let since = Instant::now();
    let mut asked = 0;
    while since.elapsed() < LOOP {
        ask(&case, asked);
        asked += 1;
    }
    assert!(asked > 100, "a loop of {asked} is none");
    let requests = case.vault.server.requests().len() - before;
    case.sidecar.stop();
    requests
}

fn read(case: &Case, n: usize) {
    case.get(if n.is_multiple_of(2) { "db" } else { "never" });
}

fn refresh(case: &Case, _: usize) {
    let bearer = format!("Bearer {}", case.token);
    let headers = [("Authorization", bearer.as_str())];
    client::request(case.sidecar.addr(), "POST", "/secrets/db/refresh", &headers);
}

#[test]
fn vault_refuses_for_ever() {
    let requests = requests_under(Fault::status(403), Matcher::any(), read);
    assert!(requests < 25, "{requests}");
}

#[test]
fn vault_fails_for_ever() {
    let requests = requests_under(Fault::status(500), Matcher::any(), read);
    assert!(requests < 25, "{requests}");
}

#[test]
fn vault_has_nothing_for_ever() {
    let gone = Fault::errors(404, &[]);
    let requests = requests_under(gone, Matcher::prefix("secret/"), read);
    assert!(requests < 25, "{requests}");
}

#[test]
fn vault_closes_every_connection() {
    let requests = requests_under(Fault::close(), Matcher::any(), read);
    assert!(requests < 25, "{requests}");
}

#[test]
fn a_client_that_orders_refreshes() {
    let requests = requests_under(Fault::status(500), Matcher::any(), refresh);
    assert!(requests < 25, "{requests}");
}

#[test]
fn a_client_that_asks_for_every_version() {
    let case = start();
    let before = case.vault.server.requests().len();
    let since = Instant::now();
    // In parallel: each answer waits for its place under the ceiling.
    std::thread::scope(|scope| {
        for worker in 1..=8 {
            let case = &case;
            scope.spawn(move || {
                let mut version = worker;
                while since.elapsed() < LOOP {
                    let path = format!("/secrets/db?version={version}");
                    case.sidecar.get(&path, &case.token);
                    version += 8;
                }
            });
        }
    });
    let requests = case.vault.server.requests().len() - before;
    let took = usize::try_from(since.elapsed().as_secs()).unwrap() + 1;
    // The ceiling: a burst of ten, then five a second.
    assert!(requests <= 10 + 5 * took, "{requests} in {took} s");
    case.sidecar.stop();
}
