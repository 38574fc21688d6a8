//! What is asked of Vault: the columns. Another kind of thing is another entry of [`ALL`].

use std::time::Duration;

use serde_json::{Value, json};
use sidekey::dev::Matcher;

use crate::support::canary::canary;
use crate::support::vault::{Dev, TestVault};

/// One column.
pub struct Kind {
    pub name: &'static str,
    /// Where the application asks.
    pub served: &'static str,
    pub toml: &'static str,
    /// The requests that it lives by, which the fault hits.
    pub requests: fn() -> Vec<Matcher>,
    /// The longest that a value is served once nothing confirms it any more.
    pub longest: Duration,
    /// Vault made it for us, and may end it; the value itself tells whether it is the same.
    pub is_given: bool,
    /// What Vault ended without our knowledge is found out at the next renewal.
    pub next_look: Duration,
}

/// Lives of the scaled world: token and lease, and how old a KV value may become.
pub const TTL: Duration = Duration::from_secs(6);
const NEXT_LOOK: Duration = Duration::from_secs(4);
const KV_LONGEST: Duration = Duration::from_secs(1 + 4);

const LEASED: &str = "[secrets.db]\npath = \"database/creds/app\"\nrefresh = \"1s\"\n";
const KV: &str =
    "[secrets.app]\npath = \"secret/data/app\"\nrefresh = \"1s\"\nmax_stale = \"4s\"\n";

const CERTIFICATE: &str = "[certificates.web]\nmount = \"pki\"\nrole = \"web\"\n\
    common_name = \"app.example.io\"\nttl = \"6s\"\n";

pub const ALL: [Kind; 4] = [
    Kind {
        name: "token",
        served: "/secrets/db/username",
        toml: LEASED,
        requests: || vec![Matcher::prefix("auth/")],
        longest: TTL,
        is_given: true,
        next_look: NEXT_LOOK,
    },
    Kind {
        name: "leased secret",
        served: "/secrets/db/username",
        toml: LEASED,
        requests: || vec![Matcher::prefix("database/"), Matcher::prefix("sys/leases/")],
        longest: TTL,
        is_given: true,
        next_look: NEXT_LOOK,
    },
    Kind {
        name: "KV",
        served: "/secrets/app/password",
        toml: KV,
        requests: || vec![Matcher::prefix("secret/")],
        longest: KV_LONGEST,
        is_given: false,
        next_look: KV_LONGEST,
    },
    Kind {
        name: "certificate",
        served: "/certificates/web/cert.pem",
        toml: CERTIFICATE,
        requests: || vec![Matcher::prefix("pki/")],
        longest: TTL,
        // What a certificate says holds whether Vault still knows it or not.
        is_given: false,
        next_look: TTL,
    },
];

pub const ROLE_ID: &str = "8d0a7c2e-0f6e-4f0f-9c44-ac5a8e0ac33d";

/// What every cell's Vault holds, from the start and after it came back empty.
pub fn furnish(vault: &Dev, secret_id: &str) {
    vault.set_up("POST", "sys/mounts/database", json!({ "type": "database" }));
    let role = json!({ "default_ttl": TTL.as_secs(), "max_ttl": "1h" });
    vault.set_up("POST", "database/roles/app", role);
    vault.pki(json!({ "common_name": "root", "ttl": "720h", "key_type": "ec" }));
    let web = json!({
        "allowed_domains": "example.io", "allow_subdomains": true, "key_type": "ec", "ttl": "6s",
    });
    vault.set_up("POST", "pki/roles/web", web);
    vault.put("app", json!({ "password": canary("app") }));
    let rules = "path \"secret/*\" { capabilities = [\"read\"] }\n\
        path \"database/creds/*\" { capabilities = [\"read\"] }\n\
        path \"pki/*\" { capabilities = [\"create\", \"update\"] }";
    vault.set_up("PUT", "sys/policies/acl/app", json!({ "policy": rules }));
    vault.set_up("POST", "sys/auth/approle", json!({ "type": "approle" }));
    let life = json!({
        "token_policies": ["app"], "token_ttl": TTL.as_secs(), "token_max_ttl": "1h",
    });
    vault.set_up("POST", "auth/approle/role/app", life);
    vault.set_up("POST", "auth/approle/role/app/role-id", json!({ "role_id": ROLE_ID }));
    let given = json!({ "secret_id": secret_id });
    let _: Value = vault.set_up("POST", "auth/approle/role/app/custom-secret-id", given);
}
