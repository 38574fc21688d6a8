//! The way to Vault: private CAs, names in certificates, proxies, namespaces.

use serde_json::{Value, json};

use crate::approle::a_password;
use crate::case::{Case, case};
use crate::proxy::{Proxy, relay};
use crate::setup::Setup;
use crate::support::canary::canary;
use crate::support::vault::{TestVault as _, call};
use crate::tls::Authority;
use crate::vault::Vault;

pub const CASES: &[Case] = &[
    case!(private_ca).over_tls(),
    case!(private_ca_of_the_environment).over_tls(),
    case!(private_ca_unknown).over_tls(),
    case!(private_ca_of_another).over_tls(),
    case!(folder_of_cas).over_tls(),
    case!(skip_verify).over_tls(),
    case!(name_in_the_certificate).over_tls(),
    case!(name_in_the_certificate_through_a_proxy).over_tls(),
    case!(name_in_the_certificate_beside_the_address_for_a_proxy).over_tls(),
    case!(address_in_the_certificate).over_tls(),
    case!(https_proxy).over_tls(),
    case!(http_proxy),
    case!(no_proxy_to_loopback),
    case!(nobody_listens),
    case!(namespace).dev_only("no namespaces in the community edition"),
];

fn as_root(vault: &Vault, address: &str) -> Setup {
    let setup = Setup::at(address).secret("db", "secret/data/app");
    setup.env("VAULT_TOKEN", &vault.root_token())
}

fn serves(setup: Setup, password: &str) -> String {
    let sidecar = setup.start();
    assert_eq!(sidecar.value("db/password"), password);
    sidecar.stop()
}

fn private_ca(vault: &Vault) {
    let password = a_password(vault);
    let setup = as_root(vault, &vault.url());
    let ca = setup.file("ca.pem", vault.ca_pem());
    serves(setup.vault(&format!("ca_cert = \"{ca}\"")), &password);
}

fn private_ca_of_the_environment(vault: &Vault) {
    let password = a_password(vault);
    let setup = as_root(vault, &vault.url());
    let ca = setup.file("ca.pem", vault.ca_pem());
    serves(setup.env("VAULT_CACERT", &ca), &password);
}

/// No trust, no login: it is tried until the start-up deadline, and then said.
fn private_ca_unknown(vault: &Vault) {
    let said = as_root(vault, &vault.url()).ends_with(69);
    assert!(said.contains("no login to Vault at https://127.0.0.1:"), "{said}");
    assert!(said.contains("invalid peer certificate"), "{said}");
}

fn private_ca_of_another(vault: &Vault) {
    let setup = as_root(vault, &vault.url());
    let ca = setup.file("ca.pem", &Authority::new("another").pem());
    let said = setup.vault(&format!("ca_cert = \"{ca}\"")).ends_with(69);
    assert!(said.contains("invalid peer certificate: UnknownIssuer"), "{said}");
}

fn folder_of_cas(vault: &Vault) {
    let password = a_password(vault);
    let setup = as_root(vault, &vault.url());
    let another = setup.file("another.pem", &Authority::new("another").pem());
    setup.file("README", "The authorities of our Vaults.");
    setup.file("vault-ca.pem", vault.ca_pem());
    let folder = another.trim_end_matches("/another.pem");
    serves(setup.env("VAULT_CAPATH", folder), &password);
}

fn skip_verify(vault: &Vault) {
    let password = a_password(vault);
    let said = serves(as_root(vault, &vault.url()).env("VAULT_SKIP_VERIFY", "true"), &password);
    assert!(said.contains("VAULT_SKIP_VERIFY: Vault's certificate is not verified"), "{said}");
}

/// An address that the certificate does not name, and the name that it does.
fn name_in_the_certificate(vault: &Vault) {
    let password = a_password(vault);
    let address = format!("https://{}", relay(vault.port()));
    let with_ca = || {
        let setup = as_root(vault, &address);
        let ca = setup.file("ca.pem", vault.ca_pem());
        setup.env("VAULT_CACERT", &ca)
    };
    let said = with_ca().ends_with(69);
    assert!(said.contains("certificate not valid for name \"127.0.0.2\""), "{said}");
    serves(with_ca().env("VAULT_TLS_SERVER_NAME", "localhost"), &password);
    let said = with_ca().env("VAULT_TLS_SERVER_NAME", "vault.example.com").ends_with(69);
    assert!(said.contains("certificate not valid for name \"vault.example.com\""), "{said}");
}

/// A proxy with a name of its own is found by that name.
fn name_in_the_certificate_through_a_proxy(vault: &Vault) {
    let password = a_password(vault);
    let proxy = Proxy::to(vault.port());
    let setup = as_root(vault, "https://vault.invalid:8200");
    let ca = setup.file("ca.pem", vault.ca_pem());
    let url = proxy.url().replace("127.0.0.1", "localhost");
    let setup = setup.env("VAULT_CACERT", &ca).env("HTTPS_PROXY", &url);
    serves(setup.env("VAULT_TLS_SERVER_NAME", "vault.invalid"), &password);
    assert!(!proxy.asked().is_empty(), "the proxy was not asked");
}

/// The proxy is told where to connect to, which is no matter of the certificate's name.
fn name_in_the_certificate_beside_the_address_for_a_proxy(vault: &Vault) {
    let password = a_password(vault);
    let proxy = Proxy::to(vault.port());
    let setup = as_root(vault, "https://node-1.invalid:8200");
    let ca = setup.file("ca.pem", vault.ca_pem());
    let setup = setup.env("VAULT_CACERT", &ca).env("HTTPS_PROXY", &proxy.url());
    serves(setup.env("VAULT_TLS_SERVER_NAME", "vault.invalid"), &password);
    let asked = proxy.asked();
    assert!(!asked.is_empty(), "the proxy was not asked");
    assert!(asked.iter().all(|asked| asked == "CONNECT node-1.invalid:8200"), "{asked:?}");
}

/// An address for a name is not connected to: nothing listens at that port there.
fn address_in_the_certificate(vault: &Vault) {
    let password = a_password(vault);
    let setup = as_root(vault, &format!("https://{}", relay(vault.port())));
    let ca = setup.file("ca.pem", vault.ca_pem());
    serves(setup.env("VAULT_CACERT", &ca).env("VAULT_TLS_SERVER_NAME", "127.0.0.1"), &password);
}

fn https_proxy(vault: &Vault) {
    let password = a_password(vault);
    let proxy = Proxy::to(vault.port());
    let setup = as_root(vault, "https://vault.invalid:8200");
    let ca = setup.file("ca.pem", vault.ca_pem());
    serves(setup.env("VAULT_CACERT", &ca).env("HTTPS_PROXY", &proxy.url()), &password);
    let asked = proxy.asked();
    assert!(!asked.is_empty(), "the proxy was not asked");
    assert!(asked.iter().all(|asked| asked == "CONNECT vault.invalid:8200"), "{asked:?}");
}

fn http_proxy(vault: &Vault) {
    let password = a_password(vault);
    let proxy = Proxy::to(vault.port());
    let setup = as_root(vault, "http://vault.invalid:8200");
    let said = serves(setup.env("HTTP_PROXY", &proxy.url()), &password);
    let asked = proxy.asked();
    let read = "GET http://vault.invalid:8200/v1/secret/data/app".to_owned();
    assert!(asked.contains(&read), "{asked:?}");
    assert!(said.contains("travel to Vault unencrypted"), "{said}");
}

/// Tokens for a Vault on this machine do not leave it.
fn no_proxy_to_loopback(vault: &Vault) {
    let password = a_password(vault);
    let proxy = Proxy::to(vault.port());
    let setup = as_root(vault, &vault.url()).env("HTTP_PROXY", &proxy.url());
    serves(setup.env("ALL_PROXY", &proxy.url()), &password);
    assert_eq!(proxy.asked(), Vec::<String>::new());
}

fn nobody_listens(vault: &Vault) {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = as_root(vault, &format!("http://{closed}")).ends_with(69);
    assert!(said.contains(&format!("no login to Vault at http://{closed}")), "{said}");
    assert!(said.contains("Connection refused"), "{said}");
}

/// The same path holds another secret in another namespace, and so does the token.
fn namespace(vault: &Vault) {
    a_password(vault);
    let password = canary("of-the-team");
    let root = vault.root_token();
    let in_team = |method: &str, path: &str, body: Value| {
        let header = [("X-Vault-Namespace", "team-a")];
        let (status, answer) = call(&vault.url(), method, path, Some(&root), &header, body);
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    };
    vault.set_up("POST", "sys/namespaces/team-a", json!({}));
    in_team("POST", "sys/mounts/secret", json!({ "type": "kv", "options": { "version": "2" } }));
    in_team("POST", "secret/data/app", json!({ "data": { "password": password } }));
    let policy = "path \"secret/*\" { capabilities = [\"read\"] }";
    in_team("PUT", "sys/policies/acl/app", json!({ "policy": policy }));
    in_team("POST", "sys/auth/approle", json!({ "type": "approle" }));
    in_team("POST", "auth/approle/role/app", json!({ "token_policies": "app" }));
    let role_id = in_team("GET", "auth/approle/role/app/role-id", Value::Null);
    let role_id = role_id["data"]["role_id"].as_str().unwrap().to_owned();
    let secret_id = in_team("POST", "auth/approle/role/app/secret-id", json!({}));
    let secret_id = secret_id["data"]["secret_id"].as_str().unwrap().to_owned();
    let approle = |setup: Setup| {
        let mut setup = setup.secret("db", "secret/data/app");
        let file = setup.credential("secret-id", &secret_id);
        let role_id = format!("role_id = \"{role_id}\"");
        setup.auth(&format!("method = \"approle\"\n{role_id}\nsecret_id_file = \"{file}\""))
    };
    serves(approle(Setup::new(vault).vault("namespace = \"team-a\"")), &password);
    serves(approle(Setup::new(vault).env("VAULT_NAMESPACE", "team-a/")), &password);
    approle(Setup::new(vault)).refused();
}
