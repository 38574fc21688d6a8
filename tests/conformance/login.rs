//! The other ways to log in: a token, Kubernetes, JWT, a TLS certificate.

use serde_json::json;

use crate::approle::a_password;
use crate::case::{Case, case};
use crate::jwt::Signer;
use crate::kubernetes_api::KubernetesApi;
use crate::setup::Setup;
use crate::support::canary::canary;
use crate::support::eventually;
use crate::support::vault::TestVault as _;
use crate::tls::Authority;
use crate::vault::Vault;

pub const CASES: &[Case] = &[
    case!(token_of_the_environment),
    case!(token_of_vault_login),
    case!(token_of_a_file),
    case!(bad_token),
    case!(kubernetes_reviews_each_login),
    case!(kubernetes_service_account_that_is_not_bound),
    case!(kubernetes_for_another_audience),
    case!(kubernetes_role_that_does_not_exist),
    case!(jwt_with_a_public_key),
    case!(jwt_with_the_default_role),
    case!(jwt_for_another_audience),
    case!(jwt_that_is_expired),
    case!(jwt_role_that_does_not_exist),
    case!(certificate).over_tls(),
    case!(certificate_without_a_role).over_tls(),
    case!(certificate_of_another_authority).over_tls(),
    case!(certificate_role_that_does_not_exist).over_tls(),
];

fn token_of_the_environment(vault: &Vault) {
    let password = a_password(vault);
    let sidecar = Setup::as_root(vault).secret("db", "secret/data/app").start();
    assert_eq!(sidecar.value("db/password"), password);
    sidecar.stop();
}

fn token_of_vault_login(vault: &Vault) {
    let password = a_password(vault);
    let mut setup = Setup::new(vault).secret("db", "secret/data/app").at_home();
    setup.credential(".vault-token", &vault.create_token(json!({ "policies": ["app"] })));
    let sidecar = setup.start();
    assert_eq!(sidecar.value("db/password"), password);
    sidecar.stop();
}

fn token_of_a_file(vault: &Vault) {
    let password = a_password(vault);
    let token = vault.create_token(json!({ "policies": ["app"] }));
    let mut setup = Setup::new(vault).secret("db", "secret/data/app");
    let file = setup.credential("token", &format!("{token}\n"));
    let sidecar = setup.auth(&format!("token_file = \"{file}\"")).start();
    assert_eq!(sidecar.value("db/password"), password);
    sidecar.stop();
}

fn bad_token(vault: &Vault) {
    let setup = Setup::new(vault).secret("db", "secret/data/app");
    let said = setup.env("VAULT_TOKEN", &canary("unknown")).refused();
    let what = "Vault refused the login: method token, mount auth/token, token from VAULT_TOKEN";
    assert!(said.contains(what), "{said}");
    assert!(said.contains("auth/token/lookup-self: permission denied (403)"), "{said}");
}

const ACCOUNT_UID: &str = "0c7d2b3e-1111-4e1f-8a55-3f0e2d1c0b9a";

/// A token of the service account `apps/app`, told apart by `id`.
fn service_account_token(signer: &Signer, id: &str) -> String {
    signer.sign(json!({
        "aud": ["vault"],
        "iss": "https://kubernetes.default.svc",
        "sub": "system:serviceaccount:apps:app",
        "jti": id,
        "kubernetes.io": {
            "namespace": "apps",
            "serviceaccount": { "name": "app", "uid": ACCOUNT_UID },
        },
    }))
}

fn kubernetes(vault: &Vault, bound_to: &str) -> KubernetesApi {
    let api = KubernetesApi::start("system:serviceaccount:apps:app", ACCOUNT_UID);
    vault.enable_auth("kubernetes", "kubernetes");
    let config = json!({
        "kubernetes_host": api.url(),
        "kubernetes_ca_cert": Authority::new("kubernetes").pem(),
        "token_reviewer_jwt": service_account_token(&Signer::new(), "reviewer"),
        "disable_local_ca_jwt": true,
    });
    vault.set_up("POST", "auth/kubernetes/config", config);
    let role = json!({
        "bound_service_account_names": bound_to,
        "bound_service_account_namespaces": "apps",
        "audience": "vault",
        "token_policies": "app",
        "token_ttl": "1h",
    });
    vault.set_up("POST", "auth/kubernetes/role/app", role);
    api
}

fn kubernetes_reviews_each_login(vault: &Vault) {
    let password = a_password(vault);
    let api = kubernetes(vault, "app");
    let signer = Signer::new();
    let (first, second) =
        (service_account_token(&signer, "first"), service_account_token(&signer, "second"));
    let mut setup = Setup::new(vault).refreshed("db", "secret/data/app");
    let file = setup.credential("jwt", &first);
    let auth = format!("method = \"kubernetes\"\nrole = \"app\"\njwt_file = \"{file}\"");
    let sidecar = setup.auth(&auth).start();
    assert_eq!(sidecar.value("db/password"), password);
    assert_eq!(api.reviewed(), std::slice::from_ref(&first));
    // The kubelet rotates the projected token; then the Vault token is revoked behind our back.
    std::fs::write(file, &second).unwrap();
    let [accessor] = vault.accessors().try_into().unwrap();
    vault.revoke_accessor(&accessor);
    eventually("the second login", || (sidecar.logins() == 2).then_some(()));
    assert_eq!(api.reviewed(), [first, second]);
    assert_eq!(sidecar.value("db/password"), password);
    sidecar.stop();
}

fn kubernetes_login(vault: &Vault, role: &str) -> Setup {
    let mut setup = Setup::new(vault).secret("db", "secret/data/app");
    let file = setup.credential("jwt", &service_account_token(&Signer::new(), "only"));
    setup.auth(&format!("method = \"kubernetes\"\nrole = \"{role}\"\njwt_file = \"{file}\""))
}

fn kubernetes_service_account_that_is_not_bound(vault: &Vault) {
    kubernetes(vault, "another");
    let said = kubernetes_login(vault, "app").refused();
    assert!(said.contains("method kubernetes, mount auth/kubernetes, role app"), "{said}");
    let why = "the service account or its namespace is not bound to the role (403)";
    assert!(said.contains(why), "{said}");
}

fn kubernetes_for_another_audience(vault: &Vault) {
    kubernetes(vault, "app");
    let role = json!({
        "bound_service_account_names": "app", "bound_service_account_namespaces": "apps",
        "audience": "another", "token_policies": "app",
    });
    vault.set_up("POST", "auth/kubernetes/role/app", role);
    let said = kubernetes_login(vault, "app").refused();
    assert!(said.contains("the token's audience is not the one"), "{said}");
}

fn kubernetes_role_that_does_not_exist(vault: &Vault) {
    kubernetes(vault, "app");
    let said = kubernetes_login(vault, "typo").refused();
    assert!(said.contains("role typo"), "{said}");
    assert!(said.contains("there is no such role (400)"), "{said}");
}

/// `auth/jwt` with the signer's key and a role `app` for the audience `vault`.
fn jwt(vault: &Vault) -> Signer {
    let signer = Signer::new();
    vault.enable_auth("jwt", "jwt");
    let config = json!({
        "jwt_validation_pubkeys": [signer.public_key()],
        "bound_issuer": "ci",
        "default_role": "app",
    });
    vault.set_up("POST", "auth/jwt/config", config);
    let role = json!({
        "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"],
        "token_policies": "app",
    });
    vault.set_up("POST", "auth/jwt/role/app", role);
    signer
}

fn jwt_login(vault: &Vault, jwt: &str, role: Option<&str>) -> Setup {
    let mut setup = Setup::new(vault).secret("db", "secret/data/app");
    let file = setup.credential("jwt", jwt);
    let role = role.map(|role| format!("role = \"{role}\"")).unwrap_or_default();
    setup.auth(&format!("method = \"jwt\"\njwt_file = \"{file}\"\n{role}"))
}

fn jwt_with_a_public_key(vault: &Vault) {
    let password = a_password(vault);
    let token = jwt(vault).sign(json!({ "sub": "pipeline", "iss": "ci", "aud": "vault" }));
    let sidecar = jwt_login(vault, &token, Some("app")).start();
    assert_eq!(sidecar.value("db/password"), password);
    sidecar.stop();
}

fn jwt_with_the_default_role(vault: &Vault) {
    let password = a_password(vault);
    let token = jwt(vault).sign(json!({ "sub": "pipeline", "iss": "ci", "aud": ["x", "vault"] }));
    let sidecar = jwt_login(vault, &token, None).start();
    assert_eq!(sidecar.value("db/password"), password);
    sidecar.stop();
}

fn jwt_for_another_audience(vault: &Vault) {
    let token = jwt(vault).sign(json!({ "sub": "pipeline", "iss": "ci", "aud": "registry" }));
    let said = jwt_login(vault, &token, Some("app")).refused();
    assert!(said.contains("method jwt, mount auth/jwt, role app"), "{said}");
    assert!(said.contains("the token's audience is not the one"), "{said}");
}

fn jwt_that_is_expired(vault: &Vault) {
    let claims = json!({ "sub": "x", "iss": "ci", "aud": "vault", "iat": 1, "nbf": 1, "exp": 9 });
    let said = jwt_login(vault, &jwt(vault).sign(claims), Some("app")).refused();
    assert!(said.contains("the token is expired"), "{said}");
}

fn jwt_role_that_does_not_exist(vault: &Vault) {
    let token = jwt(vault).sign(json!({ "sub": "pipeline", "iss": "ci", "aud": "vault" }));
    let said = jwt_login(vault, &token, Some("typo")).refused();
    assert!(said.contains("there is no such role"), "{said}");
}

/// `auth/cert` with a role `app` for clients of `authority`.
fn certificate_login(vault: &Vault, authority: &Authority, trusted: &Authority) -> Setup {
    vault.enable_auth("cert", "cert");
    let role = json!({
        "certificate": trusted.pem(), "allowed_common_names": "app", "token_policies": "app",
    });
    vault.set_up("POST", "auth/cert/certs/app", role);
    let pair = authority.client("app");
    let mut setup = Setup::new(vault).secret("db", "secret/data/app");
    let ca = setup.file("ca.pem", vault.ca_pem());
    let certificate = setup.file("client.pem", &pair.certificate);
    let key = setup.credential("client.key", &pair.key);
    setup
        .vault(&format!("ca_cert = \"{ca}\"\nclient_cert = \"{certificate}\""))
        .vault(&format!("client_key = \"{key}\""))
        .auth("method = \"cert\"")
}

fn certificate(vault: &Vault) {
    let password = a_password(vault);
    let clients = Authority::new("clients");
    let sidecar = certificate_login(vault, &clients, &clients).auth("role = \"app\"").start();
    assert_eq!(sidecar.value("db/password"), password);
    sidecar.stop();
}

fn certificate_without_a_role(vault: &Vault) {
    let password = a_password(vault);
    let clients = Authority::new("clients");
    let sidecar = certificate_login(vault, &clients, &clients).start();
    assert_eq!(sidecar.value("db/password"), password);
    sidecar.stop();
}

fn certificate_of_another_authority(vault: &Vault) {
    let (clients, others) = (Authority::new("clients"), Authority::new("others"));
    let said = certificate_login(vault, &others, &clients).auth("role = \"app\"").refused();
    assert!(said.contains("method cert, mount auth/cert, role app"), "{said}");
    assert!(said.contains("no client certificate that the method accepts"), "{said}");
}

fn certificate_role_that_does_not_exist(vault: &Vault) {
    let clients = Authority::new("clients");
    let said = certificate_login(vault, &clients, &clients).auth("role = \"typo\"").refused();
    assert!(said.contains("method cert, mount auth/cert, role typo"), "{said}");
    assert!(said.contains("no client certificate that the method accepts"), "{said}");
}
