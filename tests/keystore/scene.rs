//! A sidecar with certificates of several kinds, below an intermediate authority.

use std::fmt::Write as _;

use serde_json::json;

use crate::support::canary::{assert_clean, canary};
use crate::support::client::{self, Response};
use crate::support::sidecar::{Builder, Sidecar};
use crate::support::vault::TestVault;

pub(crate) struct Scene<V> {
    pub(crate) sidecar: Sidecar,
    _vault: V,
    pub(crate) token: String,
    /// The caller's own, for keystores.
    pub(crate) password: String,
    names: Vec<&'static str>,
}

/// A certificate's name, and the lines of its section.
pub(crate) type Certificate = (&'static str, &'static str);

/// Keys that the dev server signs or makes. Java folds the case of aliases.
pub(crate) const SIGNED: [Certificate; 4] = [
    ("p256", "role = 'ec'\nkey = 'local'"),
    ("P384", "role = 'ec'\nkey = 'local'\nkey_bits = 384"),
    ("Ed.25519", "role = 'ed25519'\nkey = 'local'\nkey_type = 'ed25519'"),
    ("vault", "role = 'ec'\nkey = 'vault'"),
];

impl<V: TestVault> Scene<V> {
    pub(crate) fn new(vault: V, certificates: &[Certificate]) -> Self {
        engine(&vault);
        let (token, password) = (canary("caller"), canary("keystore password"));
        let mut config =
            format!("[vault]\naddress = '{}'\nmax_requests_per_second = 100\n", vault.url());
        for (name, lines) in certificates {
            let _ = writeln!(
                config,
                "[certificates.\"{name}\"]\ncommon_name = 'app.example.io'\nip_sans = ['127.0.0.1']\n\
                 ttl = '1h'\n{lines}"
            );
        }
        let sidecar = Builder::serve()
            .on_free_ports()
            .config(&config)
            .env("VAULT_TOKEN", &vault.root_token())
            .env("SIDEKEY_TOKEN", &token)
            .start();
        let names = certificates.iter().map(|(name, _)| *name).collect();
        Self { sidecar, _vault: vault, token, password, names }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.sidecar.addr())
    }

    /// A form under the caller's own password.
    pub(crate) fn get(&self, path: &str) -> Response {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("Authorization", &*bearer), ("Sidekey-Keystore-Password", &*self.password)];
        let path = format!("/certificates/{path}");
        let answer = client::request(self.sidecar.addr(), "GET", &path, &headers);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer
    }

    /// A password that no keystore can have, which is neither repeated nor logged.
    fn refuses(&self) {
        let bearer = format!("Bearer {}", self.token);
        let long = self.password.repeat(4);
        let headers = [("Authorization", &*bearer), ("Sidekey-Keystore-Password", &*long)];
        let path = format!("/certificates/{}/keystore.p12", self.names[0]);
        let answer = client::request(self.sidecar.addr(), "GET", &path, &headers);
        assert_eq!(answer.code(), "keystore_password_refused");
        assert_clean("the refusal", &answer.text());
    }

    /// A clean end, and no line of a key in what was said.
    pub(crate) fn stop(self) {
        self.refuses();
        let keys: Vec<_> =
            self.names.iter().map(|name| self.get(&format!("{name}/key.pem")).text()).collect();
        let metrics = self.sidecar.health("/metrics").text();
        assert_clean("metrics", &metrics);
        let said = self.sidecar.stop();
        assert!(said.contains("keystore."), "reads are in the audit log");
        for line in keys.iter().flat_map(|key| key.lines()) {
            assert!(!said.contains(line), "a line of a key stands in stderr");
        }
    }
}

/// An intermediate in `pki/` below a root in `top/`, with a role for each type of key.
fn engine(vault: &impl TestVault) {
    for mount in ["top", "pki"] {
        let config = json!({ "type": "pki", "config": { "max_lease_ttl": "87600h" } });
        vault.set_up("POST", &format!("sys/mounts/{mount}"), config);
    }
    let root = json!({ "common_name": "root", "ttl": "8760h", "key_type": "ec" });
    vault.set_up("POST", "top/root/generate/internal", root);
    let request = json!({ "common_name": "intermediate", "key_type": "ec" });
    let request = vault.set_up("POST", "pki/intermediate/generate/internal", request);
    let sign = json!({
        "csr": request["data"]["csr"], "common_name": "intermediate", "ttl": "4000h",
    });
    let signed = vault.set_up("POST", "top/root/sign-intermediate", sign);
    let [own, root] = ["certificate", "issuing_ca"].map(|field| signed["data"][field].as_str());
    let both = format!("{}\n{}", own.unwrap(), root.unwrap());
    vault.set_up("POST", "pki/intermediate/set-signed", json!({ "certificate": both }));
    for key_type in ["ec", "ed25519", "rsa"] {
        let role = json!({
            "allowed_domains": "example.io", "allow_subdomains": true, "key_type": key_type,
            "key_bits": if key_type == "rsa" { 2048 } else { 0 },
        });
        vault.set_up("POST", &format!("pki/roles/{key_type}"), role);
    }
}
