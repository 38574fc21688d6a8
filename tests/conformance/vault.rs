//! The Vault of a case, whichever it is.

use std::io::{BufRead as _, BufReader};

use serde_json::{Value, json};

use crate::support::vault::{Dev, Real, TestVault, call};
use crate::tls::Authority;

/// A Vault with a store of KV version 2 at `secret/` and a policy `app` that may read it.
pub struct Vault {
    kind: Kind,
    ca_pem: Option<String>,
    audit: tempfile::TempDir,
}

enum Kind {
    Dev(Dev),
    Real(Real),
}

impl Vault {
    pub fn dev(tls: bool) -> Self {
        let authority = tls.then(|| Authority::new("private authority"));
        let dev = match &authority {
            Some(authority) => Dev::start_tls(authority.server()),
            None => Dev::start(),
        };
        Self::with(Kind::Dev(dev), authority.map(|authority| authority.pem()))
    }

    pub fn real(tls: bool) -> Self {
        let started = if tls { Real::start_tls() } else { Real::start() };
        let real = started.expect("a real Vault: tests/vault/build.sh builds it");
        let ca_pem = real.ca_file.as_ref().map(|file| std::fs::read_to_string(file).unwrap());
        Self::with(Kind::Real(real), ca_pem)
    }

    fn with(kind: Kind, ca_pem: Option<String>) -> Self {
        let vault = Self { kind, ca_pem, audit: tempfile::tempdir().unwrap() };
        vault.policy("app", "path \"secret/*\" { capabilities = [\"read\"] }");
        vault
    }

    /// The authority behind its certificate.
    pub fn ca_pem(&self) -> &str {
        self.ca_pem.as_deref().expect("a case over TLS")
    }

    pub fn port(&self) -> u16 {
        self.url().rsplit(':').next().unwrap().parse().unwrap()
    }

    pub fn policy(&self, name: &str, policy: &str) {
        let path = format!("sys/policies/acl/{name}");
        self.set_up("PUT", &path, json!({ "policy": policy }));
    }

    pub fn enable_auth(&self, mount: &str, kind: &str) {
        self.set_up("POST", &format!("sys/auth/{mount}"), json!({ "type": kind }));
    }

    /// A token made with root's, as `auth/token/create` takes it.
    pub fn create_token(&self, options: Value) -> String {
        let answer = self.set_up("POST", "auth/token/create", options);
        answer["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    /// A set-up request whose answer is wrapped; returns the wrapping token.
    pub fn wrapped(&self, path: &str, body: Value) -> String {
        let ttl = [("X-Vault-Wrap-TTL", "120")];
        let root = self.root_token();
        let (status, answer) = call(&self.url(), "POST", path, Some(&root), &ttl, body);
        assert_eq!(status, 200, "{path}: {answer}");
        answer["wrap_info"]["token"].as_str().unwrap().to_owned()
    }

    /// The accessors of all tokens but root's.
    pub fn accessors(&self) -> Vec<String> {
        let listed = self.set_up("LIST", "auth/token/accessors", Value::Null);
        let all = listed["data"]["keys"].as_array().unwrap().clone();
        let accessors = all.iter().map(|accessor| accessor.as_str().unwrap().to_owned());
        accessors.filter(|accessor| self.policies_of(accessor) != Some(json!(["root"]))).collect()
    }

    /// The policies of the token behind `accessor`, unless it is gone.
    pub fn policies_of(&self, accessor: &str) -> Option<Value> {
        let body = json!({ "accessor": accessor });
        let (status, answer) = self.admin("POST", "auth/token/lookup-accessor", body);
        (status == 200).then(|| answer["data"]["policies"].clone())
    }

    pub fn revoke_accessor(&self, accessor: &str) {
        self.set_up("POST", "auth/token/revoke-accessor", json!({ "accessor": accessor }));
    }

    /// Has the real Vault keep a record of requests; the dev server always does.
    pub fn record_requests(&self) {
        if let Kind::Real(_) = &self.kind {
            let file = self.audit.path().join("audit.log");
            let options = json!({ "type": "file", "options": { "file_path": file } });
            self.set_up("PUT", "sys/audit/file", options);
        }
    }

    /// How many reads of `path` came since [`record_requests`](Self::record_requests).
    pub fn reads(&self, path: &str) -> usize {
        match &self.kind {
            Kind::Dev(dev) => dev.server.count("GET", path),
            Kind::Real(_) => {
                let file = std::fs::File::open(self.audit.path().join("audit.log")).unwrap();
                let lines = BufReader::new(file).lines().map_while(Result::ok);
                let records = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
                let is_read = |record: &Value| {
                    record["type"] == "request"
                        && record["request"]["operation"] == "read"
                        && record["request"]["path"] == path
                };
                records.filter(is_read).count()
            }
        }
    }
}

impl TestVault for Vault {
    fn url(&self) -> String {
        match &self.kind {
            Kind::Dev(dev) => dev.url(),
            Kind::Real(real) => real.url(),
        }
    }

    fn root_token(&self) -> String {
        match &self.kind {
            Kind::Dev(dev) => dev.root_token(),
            Kind::Real(real) => real.root_token(),
        }
    }
}
