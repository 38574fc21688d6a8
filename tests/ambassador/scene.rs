//! A sidecar with one ambassador and a Vault behind it.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::canary::canary;
use crate::support::client::{self, Response};
use crate::support::eventually;
use crate::support::sidecar::{Builder, Sidecar};
use crate::support::vault::{Dev, TestVault as _};

pub(crate) struct Scene {
    pub(crate) sidecar: Sidecar,
    pub(crate) vault: Dev,
    /// What the destination is to see, and nobody else.
    pub(crate) token: String,
    /// Of the caller `tester`.
    pub(crate) caller_token: String,
}

impl Scene {
    /// With these lines in `[adapters.ambassador.api]`, and `more` after that section.
    pub(crate) fn http(lines: &str, more: &str) -> Self {
        let token = canary("api-token");
        let fields = serde_json::json!({ "token": token, "username": "canary-user" });
        Self { token, ..Self::of("http", lines, more, fields) }
    }

    /// The same for `protocol`, with a secret of these `fields`.
    pub(crate) fn of(protocol: &str, lines: &str, more: &str, fields: Value) -> Self {
        Self::before(Dev::start(), protocol, (lines, more), fields)
    }

    /// Bytes as they are.
    pub(crate) fn tcp(lines: &str, more: &str) -> Self {
        Self::of(
            "tcp",
            &format!("listen = '127.0.0.1:0'\nallow = ['app']\n{lines}"),
            more,
            json!({}),
        )
    }

    /// The same before this Vault.
    pub(crate) fn before(
        vault: Dev,
        protocol: &str,
        lines_and_more: (&str, &str),
        fields: Value,
    ) -> Self {
        vault.put("api", fields);
        Self::with_env(vault, protocol, lines_and_more, ("UNUSED", ""))
    }

    /// The same with this variable in the sidecar's environment; `secret/data/api` is as it is.
    pub(crate) fn with_env(
        vault: Dev,
        protocol: &str,
        (lines, more): (&str, &str),
        (variable, value): (&str, &str),
    ) -> Self {
        let has_none = ["secret = ", "client_certificate"].iter().any(|key| lines.contains(key));
        let secret = if has_none || protocol == "tcp" { "" } else { "secret = 'api'\n" };
        let caller_token = canary("caller-token");
        let builder = Builder::serve().on_free_ports();
        let token_file = builder.file("caller-token", &caller_token);
        let uid = uid();
        let config = format!(
            "[vault]\naddress = '{}'\nmax_requests_per_second = 100\n[secrets.api]\npath = 'secret/data/api'\nrefresh = '1s'\n\
             [adapters.ambassador.api]\nprotocol = '{protocol}'\n{secret}{lines}\n{more}\n\
             [[callers]]\nname = 'app'\nuid = {uid}\nallow = []\n\
             [[callers]]\nname = 'tester'\ntoken_file = '{token_file}'\nallow = ['api']\n",
            vault.url(),
        );
        let builder = builder.config(&config).env("VAULT_TOKEN", &vault.root_token());
        let sidecar = builder.env(variable, value).start();
        Self { sidecar, vault, token: String::new(), caller_token }
    }

    /// Where the ambassador listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.listening()["addr"].as_str().unwrap().parse().unwrap()
    }

    fn listening(&self) -> Value {
        self.sidecar.wait_for("ambassador listening")
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        client::request(self.addr(), "GET", path, &[])
    }

    /// Has the sidecar read the secret again.
    pub(crate) fn refresh(&self) {
        let bearer = format!("Bearer {}", self.caller_token);
        eventually("a refresh", || {
            let headers = [("Authorization", bearer.as_str())];
            let answer =
                client::request(self.sidecar.addr(), "POST", "/secrets/api/refresh", &headers);
            (answer.status == 200).then_some(())
        });
    }

    pub(crate) fn metrics(&self) -> String {
        let body = self.sidecar.health("/metrics").body;
        String::from_utf8(body).unwrap()
    }

    /// Nothing secret in metrics and logs, and a clean end.
    pub(crate) fn stop(self) -> String {
        crate::support::canary::assert_clean("metrics", &self.metrics());
        self.sidecar.stop()
    }
}

/// A PKI engine with a role `web` for every name; the certificate of its root.
pub(crate) fn engine(vault: &Dev) -> String {
    let root = vault.pki(json!({ "common_name": "test root", "key_type": "ec" }));
    let role = json!({ "allow_any_name": true, "key_type": "ec" });
    vault.set_up("POST", "pki/roles/web", role);
    root
}

/// A certificate for `[certificates.web]`, with more lines.
pub(crate) fn certificate(common_name: &str, more: &str) -> String {
    format!("[certificates.web]\nrole = 'web'\ncommon_name = '{common_name}'\n{more}\n")
}

/// The owner of our own process folder is who we are.
pub(crate) fn uid() -> u32 {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap())
}
