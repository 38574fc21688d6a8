//! A sidecar with short times before a Vault to fail.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::canary::canary;
use crate::support::client::Response;
use crate::support::eventually;
use crate::support::sidecar::{Builder, Sidecar};
use crate::support::vault::{Dev, TestVault};

/// Every secret of a case is read again this often, and tolerated this long after.
pub const REFRESH: Duration = Duration::from_secs(1);
pub const MAX_STALE: Duration = Duration::from_secs(2);
/// What a loaded machine may add.
pub const SLACK: Duration = Duration::from_millis(500);

/// Requests that a name may cost Vault in `time`: a retry waits at least half a second.
pub fn most_requests(time: Duration) -> usize {
    usize::try_from(time.as_millis() / 500).unwrap() + 3
}

pub struct Case {
    pub vault: Dev,
    pub sidecar: Sidecar,
    pub token: String,
}

/// Like it for every name that a case declares.
pub fn secrets(names: &[&str], max_stale: Duration) -> String {
    let mut toml = String::new();
    for name in names {
        let max_stale = max_stale.as_millis();
        writeln!(toml, "[secrets.{name}]\npath = \"secret/data/{name}\"").unwrap();
        writeln!(toml, "refresh = \"1s\"\nmax_stale = \"{max_stale}ms\"").unwrap();
    }
    toml
}

/// Where a secret and its metadata are read.
pub fn paths(name: &str) -> [String; 2] {
    ["data", "metadata"].map(|part| format!("secret/{part}/{name}"))
}

/// The settings of every case: Vault gets one second, and our own ceiling is out of the way.
pub const SETTINGS: &str = "[vault]\ntimeout = \"1s\"\nmax_requests_per_second = 100\n";

/// A builder that knows `vault`, and the caller's token.
pub fn builder(url: &str, root_token: &str) -> (Builder, String) {
    let token = canary("caller");
    let builder = Builder::serve()
        .on_free_ports()
        .env("VAULT_ADDR", url)
        .env("VAULT_TOKEN", root_token)
        .env("SIDEKEY_TOKEN", &token);
    (builder, token)
}

/// The value that [`Case::start`] stores under `name`: canaries differ, so one is enough.
pub fn store(vault: &impl TestVault, name: &str) -> String {
    let password = canary(name);
    vault.put(name, json!({ "password": password }));
    password
}

impl Case {
    /// Logged in with the root token, and `names` loaded.
    pub fn start(names: &[&str]) -> (Self, Vec<String>) {
        Self::start_with(&format!("{SETTINGS}{}", secrets(names, MAX_STALE)), names)
    }

    /// On one host two nodes differ by their port, and the sandbox knows one port of Vault's.
    pub fn start_without_sandbox(names: &[&str]) -> (Self, Vec<String>) {
        let open = "[sandbox]\nenabled = false\n";
        Self::start_with(&format!("{SETTINGS}{}{open}", secrets(names, MAX_STALE)), names)
    }

    pub fn start_with(toml: &str, names: &[&str]) -> (Self, Vec<String>) {
        let vault = Dev::start();
        let values = names.iter().map(|name| store(&vault, name)).collect();
        let (builder, token) = builder(&vault.url(), &vault.root_token());
        let sidecar = builder.config(toml).start();
        (Self { vault, sidecar, token }, values)
    }

    pub fn get(&self, name: &str) -> Response {
        self.sidecar.get(&format!("/secrets/{name}/password"), &self.token)
    }

    /// Reads of the secret, and of its metadata, which stand for it.
    pub fn requests(&self, name: &str) -> usize {
        paths(name).iter().map(|path| self.vault.server.count("GET", path)).sum()
    }

    /// Waits for a value that is marked like this.
    pub fn until(&self, name: &str, freshness: &str, value: &str) {
        eventually(&format!("{name} to be {freshness}"), || {
            let answer = self.get(name);
            (answer.header("sidekey-freshness") == Some(freshness))
                .then(|| assert_eq!(answer.text(), value))
        });
    }

    /// Waits for a refusal, and returns it.
    pub fn until_refused(&self, name: &str) -> Response {
        eventually(&format!("{name} to be refused"), || {
            Some(self.get(name)).filter(|answer| answer.status != 200)
        })
    }
}

/// What an application that asks all the time sees of one name from the moment of a fault on.
pub struct Watch {
    name: String,
    value: String,
    since: Instant,
    pub stale_seen: bool,
    pub refusal: Option<Response>,
}

impl Watch {
    pub fn new(name: &str, value: &str, since: Instant) -> Self {
        let (name, value) = (name.to_owned(), value.to_owned());
        Self { name, value, since, stale_seen: false, refusal: None }
    }

    /// Asks once. A value must be the right one, marked stale in time, and not be too old.
    pub fn look(&mut self, case: &Case, max_stale: Duration) {
        let asked = self.since.elapsed();
        let answer = case.get(&self.name);
        let name = &self.name;
        if answer.status != 200 {
            assert!(answer.header("sidekey-freshness").is_none(), "{name}");
            self.refusal.get_or_insert(answer);
            return;
        }
        assert!(self.refusal.is_none(), "{name}: a value after a refusal, and no end of the fault");
        assert_eq!(answer.text(), self.value, "{name}");
        assert!(asked < REFRESH + max_stale + SLACK, "{name}: served {asked:?} after the fault");
        match answer.header("sidekey-freshness") {
            Some("stale") => self.stale_seen = true,
            Some("fresh") => assert!(asked < REFRESH + SLACK, "{name}: fresh after {asked:?}"),
            other => panic!("{name}: freshness {other:?}"),
        }
    }
}
