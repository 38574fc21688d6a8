//! A sidecar with one TLS adapter, a PKI engine behind it and an application in front.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::json;

use crate::support::canary::{assert_clean, canary};
use crate::support::client;
use crate::support::eventually;
use crate::support::sidecar::{Builder, Sidecar};
use crate::support::tls::Pair;
use crate::support::vault::{Dev, TestVault};

/// Whom the adapter's certificate is for.
pub(crate) const NAME: &str = "app.example.io";

pub(crate) struct Scene<V = Dev> {
    pub(crate) sidecar: Sidecar,
    pub(crate) vault: V,
    token: String,
}

/// What a sidecar is started with.
pub(crate) struct Setting<'a> {
    pub(crate) forward: &'a str,
    /// In `[adapters.tls.web]`.
    pub(crate) lines: &'a str,
    /// In `[certificates.web]`.
    pub(crate) certificate: &'a str,
    /// After all sections.
    pub(crate) more: &'a str,
}

impl Setting<'_> {
    pub(crate) fn start(&self) -> Scene {
        let scene = self.spawn(|_| {});
        scene.sidecar.wait_for("ready");
        scene.sidecar.wait_for("certificate in use");
        scene
    }

    /// Does not wait until it is ready.
    pub(crate) fn spawn(&self, prepare: impl FnOnce(&Dev)) -> Scene {
        let vault = Dev::start();
        engine(&vault);
        prepare(&vault);
        self.spawn_before(vault)
    }

    /// Before this Vault, which has the engine.
    pub(crate) fn spawn_before<V: TestVault>(&self, vault: V) -> Scene<V> {
        let token = canary("caller");
        let builder = Builder::serve().on_free_ports();
        let token_file = builder.file("token", &token);
        let Self { forward, lines, certificate, more } = self;
        let config = format!(
            "[vault]\naddress = '{}'\nmax_requests_per_second = 100\n\
             [certificates.web]\nrole = 'web'\ncommon_name = '{NAME}'\n{certificate}\n\
             [adapters.tls.web]\nlisten = '127.0.0.1:0'\nforward = '{forward}'\n\
             certificate = 'web'\n{lines}\n\
             [[callers]]\nname = 'tester'\ntoken_file = '{token_file}'\nallow = ['web']\n{more}\n",
            vault.url(),
        );
        let sidecar = builder.config(&config).env("VAULT_TOKEN", &vault.root_token()).spawn();
        Scene { sidecar, vault, token }
    }
}

impl Scene {
    pub(crate) fn http(application: SocketAddr, lines: &str) -> Self {
        let forward = application.to_string();
        Setting { forward: &forward, lines, certificate: "", more: "" }.start()
    }
}

impl<V: TestVault> Scene<V> {
    /// Where the adapter listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        let event = self.sidecar.wait_for("TLS adapter listening");
        event["addr"].as_str().unwrap().parse().unwrap()
    }

    /// The authority's certificate, PEM.
    pub(crate) fn authority(&self) -> String {
        let issued = self.issue("authority-asked", "1h");
        issued.1
    }

    /// The same as a file.
    pub(crate) fn authority_file(&self) -> PathBuf {
        let file = self.sidecar.path("authority.pem");
        std::fs::write(&file, self.authority()).unwrap();
        file
    }

    /// A certificate of a client, and that of the authority.
    fn issue(&self, name: &str, ttl: &str) -> (Pair, String, String) {
        let uri = format!("spiffe://example.io/{name}");
        let names = json!({ "common_name": format!("{name}.example.io"), "ttl": ttl,
                            "uri_sans": uri });
        let answer = self.vault.set_up("POST", "pki/issue/client", names);
        let text = |key: &str| answer["data"][key].as_str().unwrap().to_owned();
        let pair = Pair { certificate: text("certificate"), key: text("private_key") };
        (pair, text("issuing_ca"), text("serial_number"))
    }

    pub(crate) fn client(&self, name: &str, ttl: &str) -> Pair {
        self.issue(name, ttl).0
    }

    /// The same with its serial number.
    pub(crate) fn client_and_serial(&self, name: &str) -> (Pair, String) {
        let (pair, _, serial) = self.issue(name, "1h");
        (pair, serial)
    }

    pub(crate) fn revoke(&self, serial: &str) {
        self.vault.set_up("POST", "pki/revoke", json!({ "serial_number": serial }));
    }

    /// Has another certificate issued; its serial number.
    pub(crate) fn replace(&self) -> String {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("Authorization", bearer.as_str())];
        eventually("another certificate", || {
            let path = "/certificates/web/refresh";
            let answer = client::request(self.sidecar.addr(), "POST", path, &headers);
            (answer.status == 200).then_some(())
        });
        self.serial()
    }

    /// The serial number of the certificate that the local door serves.
    pub(crate) fn serial(&self) -> String {
        let answer = self.sidecar.get("/certificates/web", &self.token).json();
        answer["serial_number"].as_str().unwrap().to_owned()
    }

    pub(crate) fn metrics(&self) -> String {
        String::from_utf8(self.sidecar.health("/metrics").body).unwrap()
    }

    /// Waits until this line of the metrics counts `expected`.
    pub(crate) fn counted(&self, line: &str, expected: u64) {
        let what = format!("{line} {expected}");
        eventually(&what, || (self.count(line) == Some(expected)).then_some(()));
    }

    pub(crate) fn count(&self, line: &str) -> Option<u64> {
        let metrics = self.metrics();
        let found = metrics.lines().find_map(|found| found.strip_prefix(line))?;
        found.trim().parse().ok()
    }

    /// Nothing secret in metrics and logs, and a clean end.
    pub(crate) fn stop(self) -> String {
        assert_clean("metrics", &self.metrics());
        self.sidecar.stop()
    }
}

/// A PKI engine with a role for the adapter and one for its clients.
pub(crate) fn engine(vault: &impl TestVault) {
    vault.pki(json!({ "common_name": "root", "ttl": "48h" }));
    for role in ["web", "client"] {
        let role_of = json!({ "allowed_domains": "example.io", "allow_subdomains": true,
            "key_type": "ec", "max_ttl": "24h", "allowed_uri_sans": "spiffe://example.io/*" });
        vault.set_up("POST", &format!("pki/roles/{role}"), role_of);
    }
}
