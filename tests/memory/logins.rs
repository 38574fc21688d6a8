//! Each way to log in: what it presents, what it gets, and what it goes on to hold.

use serde_json::{Value, json};

use super::audit::RawAudit;
use super::client::Client;
use super::mode::Mode;
use super::secrets::{add_ec_key, approle, random, wrap};
use super::stage::{CALLER, Load, Stage};
use super::support::eventually;
use super::support::jwt::Signer;
use super::support::kubernetes_api::KubernetesApi;
use super::support::needle::Needles;
use super::support::sidecar::Builder;
use super::support::tls::Authority;
use super::support::vault::{Real, TestVault};

/// Sets the method up in Vault, and its credential beside the configuration; the lines of
/// `[vault]` and of `[auth]`.
type Method = fn(&Real, &Builder, &mut Needles) -> (String, String);

/// A new way to log in is one more row.
const METHODS: [(&str, Method); 5] = [
    ("wrapped", wrapped_secret_id),
    ("kubernetes", kubernetes),
    ("jwt", jwt),
    ("cert", certificate),
    ("token file", token_of_a_file),
];

const BROUGHT: &str = "token of a file";

struct Login {
    stage: Stage,
    token: String,
}

pub fn run(vault: &Real, mode: Mode) {
    vault.put("app", json!({ "value": random("v", 60) }));
    let policy = json!({ "policy": "path \"secret/*\" { capabilities = [\"read\"] }" });
    vault.set_up("POST", "sys/policies/acl/reader", policy);
    let audit = RawAudit::start(vault);
    let logins = METHODS.map(|(name, method)| Login::start(name, method, vault, mode));
    for login in &logins {
        login.learn_tokens(&audit);
        login.stage.at_rest("idle after login and fetch");
    }
    for login in &logins {
        login.stage.under_load("under load, with logins and renewals", login.load());
    }
    for login in &logins {
        login.wait_for_renewals();
        login.learn_tokens(&audit);
        login.stage.at_rest("after renewals and another login");
    }
    for login in logins {
        login.stage.end().stop();
    }
}

impl Login {
    fn start(name: &'static str, method: Method, vault: &Real, mode: Mode) -> Self {
        let builder = mode.builder();
        let token = random("t", 50);
        let mut needles = Needles::default();
        needles.add(&format!("{CALLER} token"), token.as_bytes());
        let ca = std::fs::read_to_string(vault.ca_file.as_ref().expect("TLS")).unwrap();
        let ca = builder.file("ca.pem", &ca);
        let (vault_lines, auth_lines) = method(vault, &builder, &mut needles);
        let url = vault.url();
        let config = format!(
            "[vault]\naddress = \"{url}\"\nca_cert = \"{ca}\"\nmax_requests_per_second = 100\n\
             {vault_lines}\n[auth]\n{auth_lines}\n[secrets.app]\npath = \"secret/data/app\"\n\
             refresh = \"1s\"\n"
        );
        let sidecar = builder.config(&config).on_free_ports().env("SIDEKEY_TOKEN", &token).start();
        Self { stage: Stage::new(name, mode, sidecar, needles), token }
    }

    /// Who brought a token gets no other.
    fn learn_tokens(&self, audit: &RawAudit) {
        let brought = self.stage.needles.borrow().names().iter().any(|name| name == BROUGHT);
        if !brought {
            audit.learn_tokens(&self.stage);
        }
    }

    /// Reads, and fetches as fast as the ceiling lets them.
    fn load(&self) -> Vec<Load<'_>> {
        let host = self.stage.addr().to_string();
        let mut load: Vec<Load<'_>> = Vec::new();
        for _ in 0..3 {
            let (mut client, host) = (Client::tcp(self.stage.addr(), &self.token), host.clone());
            load.push(Box::new(move || {
                let status = client.get(&host, "/secrets/app/value");
                // A token of some seconds can end while a search keeps the process stopped.
                assert!([200, 503].contains(&status), "{status}");
            }));
        }
        let mut client = Client::tcp(self.stage.addr(), &self.token);
        load.push(Box::new(move || {
            let status = client.send("POST", &host, "/secrets/app/refresh", "");
            // Refreshed just now, or over the ceiling of requests to Vault.
            assert!([200, 429, 503].contains(&status), "{status}");
        }));
        load
    }

    /// A token of two short lives is renewed; but for the one that was brought, it is replaced.
    fn wait_for_renewals(&self) {
        eventually("a renewal and another login", || {
            let events = self.stage.sidecar.events();
            let count = |message| events.iter().filter(|e| e["message"] == message).count();
            let logins = count("logged in to Vault");
            let brought = logins == 1 && count("token renewed") > 3;
            (logins >= 2 && count("token renewed") > 0 || brought).then_some(())
        });
    }
}

fn lives() -> Value {
    json!({ "token_policies": "reader", "token_ttl": "3s", "token_max_ttl": "7s" })
}

fn with(mut one: Value, other: Value) -> Value {
    one.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
    one
}

fn wrapped_secret_id(vault: &Real, builder: &Builder, needles: &mut Needles) -> (String, String) {
    let (role_id, _) = approle(vault, json!({ "token_ttl": "3s", "token_max_ttl": "7s" }));
    let secret_id = random("s", 50);
    let path = "auth/approle/role/app/custom-secret-id";
    let wrapping = wrap(vault, path, json!({ "secret_id": secret_id }));
    needles.add("wrapping token", wrapping.as_bytes());
    needles.add("wrapped secret-id", secret_id.as_bytes());
    let file = builder.file("wrapped", &wrapping);
    let auth = format!(
        "method = \"approle\"\nrole_id = \"{role_id}\"\nsecret_id_file = \"{file}\"\n\
         secret_id_wrapped = true"
    );
    (String::new(), auth)
}

fn kubernetes(vault: &Real, builder: &Builder, needles: &mut Needles) -> (String, String) {
    const UID: &str = "0c7d2b3e-1111-4e1f-8a55-3f0e2d1c0b9a";
    let account = "system:serviceaccount:apps:app";
    let api = KubernetesApi::start(account, UID);
    vault.set_up("POST", "sys/auth/kubernetes", json!({ "type": "kubernetes" }));
    let signer = Signer::new();
    let sign = |id: &str| {
        signer.sign(json!({
            "aud": ["vault"], "iss": "https://kubernetes.default.svc", "sub": account, "jti": id,
            "kubernetes.io": {
                "namespace": "apps", "serviceaccount": { "name": "app", "uid": UID },
            },
        }))
    };
    let config = json!({
        "kubernetes_host": api.url(),
        "kubernetes_ca_cert": Authority::new("kubernetes").pem(),
        "token_reviewer_jwt": sign("reviewer"),
        "disable_local_ca_jwt": true,
    });
    vault.set_up("POST", "auth/kubernetes/config", config);
    let role = json!({
        "bound_service_account_names": "app", "bound_service_account_namespaces": "apps",
        "audience": "vault",
    });
    vault.set_up("POST", "auth/kubernetes/role/app", with(role, lives()));
    let token = sign(&random("j", 20));
    needles.add("service account token", token.as_bytes());
    let file = builder.file("jwt", &token);
    (String::new(), format!("method = \"kubernetes\"\nrole = \"app\"\njwt_file = \"{file}\""))
}

fn jwt(vault: &Real, builder: &Builder, needles: &mut Needles) -> (String, String) {
    let signer = Signer::new();
    vault.set_up("POST", "sys/auth/jwt", json!({ "type": "jwt" }));
    let config = json!({ "jwt_validation_pubkeys": [signer.public_key()], "bound_issuer": "ci" });
    vault.set_up("POST", "auth/jwt/config", config);
    let role = json!({ "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"] });
    vault.set_up("POST", "auth/jwt/role/app", with(role, lives()));
    let id = random("j", 20);
    let token = signer.sign(json!({ "sub": "pipeline", "iss": "ci", "aud": "vault", "jti": id }));
    needles.add("JWT", token.as_bytes());
    let file = builder.file("jwt", &token);
    (String::new(), format!("method = \"jwt\"\nrole = \"app\"\njwt_file = \"{file}\""))
}

fn certificate(vault: &Real, builder: &Builder, needles: &mut Needles) -> (String, String) {
    let clients = Authority::new("clients");
    vault.set_up("POST", "sys/auth/cert", json!({ "type": "cert" }));
    let role = json!({ "certificate": clients.pem(), "allowed_common_names": "app" });
    vault.set_up("POST", "auth/cert/certs/app", with(role, lives()));
    let pair = clients.client("app");
    add_ec_key(needles, "client key", &pair.key);
    let certificate = builder.file("client.pem", &pair.certificate);
    let key = builder.file("client.key", &pair.key);
    let vault = format!("client_cert = \"{certificate}\"\nclient_key = \"{key}\"");
    (vault, "method = \"cert\"\nrole = \"app\"".into())
}

fn token_of_a_file(vault: &Real, builder: &Builder, needles: &mut Needles) -> (String, String) {
    let token = random("o", 40);
    let body = json!({ "id": token, "policies": ["reader"], "period": "3s" });
    vault.set_up("POST", "auth/token/create", body);
    needles.add(BROUGHT, token.as_bytes());
    (String::new(), format!("token_file = \"{}\"", builder.file("token", &token)))
}
