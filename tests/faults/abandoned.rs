//! Clients that ask and go away at once.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sidekey::dev::{Fault, Matcher};

use crate::case::{Case, builder, store};
use crate::support::eventually;
use crate::support::vault::{Dev, TestVault};

/// Many names that nobody fetched yet, at the default ceiling.
const NAMES: usize = 30;

fn toml() -> String {
    let names = (0..NAMES)
        .map(|n| format!("[secrets.lazy{n}]\npath = \"secret/data/lazy{n}\"\nrequired = false\n"));
    format!("[vault]\ntimeout = \"5s\"\n{}", names.collect::<String>())
}

/// Asks for each of them, for those with odd numbers by version, over and over, and waits for no answer.
fn ask_and_go(case: &Case, during: Duration) -> usize {
    let addr = case.sidecar.addr();
    let (since, mut asked) = (Instant::now(), 0);
    while since.elapsed() < during {
        let name = asked % NAMES;
        let query = if asked % 2 == 0 { String::new() } else { format!("?version={asked}") };
        let mut stream = TcpStream::connect(addr).unwrap();
        write!(
            stream,
            "GET /secrets/lazy{name}{query} HTTP/1.1\r\nHost: {addr}\r\nX-Vault-Token: {}\r\n\r\n",
            case.token
        )
        .unwrap();
        drop(stream);
        asked += 1;
    }
    asked
}

/// A token that lives three seconds, and may be renewed.
fn short_token(vault: &Dev) -> String {
    let rules = "path \"secret/*\" { capabilities = [\"read\"] }";
    vault.set_up("PUT", "sys/policies/acl/app", json!({ "policy": rules }));
    let options = json!({ "policies": ["app"], "ttl": "3s" });
    let answer = vault.set_up("POST", "auth/token/create", options);
    answer["auth"]["client_token"].as_str().unwrap().to_owned()
}

#[test]
fn neither_crowd_out_the_renewal_of_the_token_nor_add_up_at_vault() {
    let vault = Dev::start();
    for n in 0..NAMES {
        store(&vault, &format!("lazy{n}"));
    }
    // Each read takes its time, so that there is always one to go away from.
    let slow = Fault::delay(Duration::from_millis(300));
    vault.server.faults().on(Matcher::prefix("secret/data/lazy")).respond(slow).forever();
    let (builder, token) = builder(&vault.url(), &short_token(&vault));
    let sidecar = builder.config(&toml()).spawn();
    sidecar.wait_for("logged in to Vault");
    let case = Case { vault, sidecar, token };
    let renewals = || case.vault.server.count("POST", "auth/token/renew-self");
    eventually("a renewal", || (renewals() > 0).then_some(()));

    let (before, since) = (case.vault.server.requests().len(), Instant::now());
    let renewed = renewals();
    let asked = ask_and_go(&case, Duration::from_secs(8));
    assert!(asked > 300, "a loop of {asked} is none");
    let requests = case.vault.server.requests().len() - before;
    let took = usize::try_from(since.elapsed().as_secs()).unwrap() + 1;
    assert!(requests <= 10 + 5 * took, "{requests} in {took} s");
    // Every two seconds, and the token never died.
    assert!(renewals() - renewed >= 3, "{} renewals in {took} s", renewals() - renewed);
    let logins = case.sidecar.events();
    let logins = logins.iter().filter(|event| event["message"] == "logged in to Vault").count();
    assert_eq!(logins, 1);
    // What nobody waited for was fetched all the same, once.
    case.vault.server.faults().clear();
    assert_eq!(case.get("lazy0").status, 200);
    assert_eq!(case.requests("lazy0"), 1);
    case.sidecar.stop();
}

#[test]
fn a_first_fetch_goes_on_without_the_one_who_asked_for_it() {
    let vault = Dev::start();
    let value = store(&vault, "lazy0");
    let slow = Fault::delay(Duration::from_millis(500));
    vault.server.faults().on(Matcher::get("secret/data/lazy0")).respond(slow).forever();
    let (builder, token) = builder(&vault.url(), &vault.root_token());
    let sidecar = builder.config(&toml()).start();
    let case = Case { vault, sidecar, token };
    ask_and_go(&case, Duration::from_millis(100));
    eventually("the fetch", || (case.requests("lazy0") > 0).then_some(()));
    eventually("the value", || {
        let listing: Value = case.sidecar.get("/secrets", &case.token).json();
        let entry = listing["secrets"].as_array().unwrap().iter().find(|e| e["name"] == "lazy0");
        (entry.unwrap()["freshness"] == "fresh").then_some(())
    });
    assert_eq!(case.get("lazy0").text(), value);
    assert_eq!(case.requests("lazy0"), 1);
    case.sidecar.stop();
}
