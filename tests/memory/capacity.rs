//! More secrets than the cache may hold, so that some make room for others.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::json;

use super::client::Client;
use super::mode::Mode;
use super::secrets::random;
use super::stage::{CALLER, Load, Stage, settle};
use super::support::eventually;
use super::support::needle::Needles;
use super::support::sidecar::{Builder, Sidecar};
use super::support::vault::{Dev, TestVault};

const SECRETS: usize = 12;
/// Room for three or four of them.
const CACHE: &str = "[limits]\ncache_bytes = \"32KiB\"\n[vault]\nmax_requests_per_second = 100\n";

struct Scene {
    builder: Builder,
    needles: Needles,
    token: String,
}

fn scene(vault: &Dev, builder: Builder) -> Scene {
    let mut needles = Needles::default();
    let mut config = CACHE.to_owned();
    for n in 0..SECRETS {
        let value = random("v", 6000);
        needles.add(&format!("value {n}"), value.as_bytes());
        vault.put(&format!("n{n}"), json!({ "value": value }));
        let _ = writeln!(config, "[secrets.n{n}]\npath = \"secret/data/n{n}\"\nrequired = false");
    }
    let token = random("t", 50);
    needles.add(&format!("{CALLER} token"), token.as_bytes());
    let builder = builder
        .config(&config)
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .env("SIDEKEY_TOKEN", &token);
    Scene { builder, needles, token }
}

fn read_all(sidecar: &Sidecar, token: &str) {
    for n in 0..SECRETS {
        assert_eq!(sidecar.get(&format!("/secrets/n{n}/value"), token).status, 200);
    }
}

fn cached(sidecar: &Sidecar) -> usize {
    let text = sidecar.health("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix("sidekey_cache_entries "));
    line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

fn until_evicted(sidecar: &Sidecar) -> usize {
    eventually("eviction", || Some(cached(sidecar)).filter(|entries| *entries <= 4))
}

pub fn run(vault: &Dev, mode: Mode) {
    let Scene { builder, needles, token } = scene(vault, mode.builder());
    let stage = Stage::new("capacity", mode, builder.start(), needles);
    read_all(&stage.sidecar, &token);
    stage.at_rest("after more was read than is kept");
    let host = stage.addr().to_string();
    let load = (0..4).map(|at| {
        let (mut client, host, mut n) = (Client::tcp(stage.addr(), &token), host.clone(), at);
        Box::new(move || {
            n = (n + 1) % SECRETS;
            let status = client.get(&host, &format!("/secrets/n{n}/value"));
            // Over the ceiling of requests to Vault.
            assert!([200, 503].contains(&status), "{status}");
        }) as Load<'_>
    });
    stage.under_load("under load, each read an eviction", load.collect());
    until_evicted(&stage.sidecar);
    stage.at_rest("after evictions");
    stage.end().stop();
}

/// In plain memory the search finds what is still cached, and nothing that is not.
pub fn what_was_evicted_is_gone(vault: &Dev) {
    let Scene { builder, needles, token } = scene(vault, Builder::serve().uid(65534).memlock(0));
    let sidecar = builder.start();
    read_all(&sidecar, &token);
    let entries = until_evicted(&sidecar);
    let stage = Stage::new("evicted", Mode::Protected, sidecar, needles);
    eventually("what was evicted to be wiped", || {
        settle(stage.sidecar.pid());
        let found = stage.look("in plain memory, after evictions");
        let values = found.hits.iter().map(|hit| &hit.found.canary);
        let values: BTreeSet<_> = values.filter(|name| name.starts_with("value")).collect();
        assert!(!values.is_empty(), "the cached ones have to be found");
        (values.len() <= entries).then_some(())
    });
    stage.end().stop();
}
