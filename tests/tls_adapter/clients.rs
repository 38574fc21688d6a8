//! Clients that show certificates.

use crate::application::Application;
use crate::client::{Client, run};
use crate::scene::{Scene, Setting, engine};
use crate::support::eventually;
use crate::support::tls::Authority;
use crate::support::trials::{Case, VAULT};
use crate::support::vault::{Real, TestVault};

pub(crate) const CASES: [Case; 7] = [
    ("clients_good_foreign_expired_and_none", &[], judged),
    ("clients_revoked_while_it_runs", &[], revoked),
    ("clients_without_a_fresh_list_are_refused", &[], stale_list),
    ("clients_optional_certificates", &[], optional),
    ("clients_of_an_authority_in_a_file", &[], file),
    ("clients_are_waited_for_by_readiness", &[], readiness),
    ("clients_of_a_real_vault", &[VAULT], real_vault),
];

const REQUIRED: &str = "client_auth = 'required'\nclient_ca = 'vault'\ncrl_refresh = '100ms'";

fn outcome(word: &str) -> String {
    format!("sidekey_tls_handshakes_total{{adapter=\"web\",outcome=\"{word}\"}}")
}

fn judged() {
    let application = Application::start();
    let scene = Scene::http(application.addr, REQUIRED);
    let authority = scene.authority();
    let good = scene.client("good", "1h");
    let short = scene.client("short", "5s");
    let client = Client::with(scene.addr(), &authority, Some(&good));
    run(client.is_let_in()).unwrap();
    let asked = application.last();
    let xfcc = asked.header("x-forwarded-client-cert");
    assert_eq!(xfcc.len(), 1, "{xfcc:?}");
    let rest =
        "Subject=\"CN=good.example.io\";URI=\"spiffe://example.io/good\";DNS=\"good.example.io\"";
    assert!(xfcc[0].starts_with("Hash=") && xfcc[0].ends_with(rest), "{xfcc:?}");

    // What somebody says about himself is not passed on, in either version.
    run(async {
        let mut http2 = client.http2().await;
        let uri = format!("https://{}/", crate::scene::NAME);
        let request = http::Request::get(uri)
            .header("x-forwarded-client-cert", "Subject=\"CN=root\"")
            .header("x_forwarded_client_cert", "Subject=\"CN=root\"");
        let request = request.body(http_body_util::Full::default()).unwrap();
        assert_eq!(http2.sender.send_request(request).await.unwrap().status(), 200);
    });
    let asked = application.last();
    assert!(asked.header("x-forwarded-client-cert")[0].ends_with(rest));
    assert_eq!(asked.header("x_forwarded_client_cert"), Vec::<&str>::new());

    let before = application.asked().len();
    let foreign = Authority::new("foreign").client("good.example.io");
    let refused = |pair: Option<&_>| {
        let client = Client::with(scene.addr(), &authority, pair);
        let refused = run(client.is_let_in());
        refused.expect_err("let in");
    };
    refused(Some(&foreign));
    refused(None);
    scene.counted(&outcome("client_certificate_unknown_issuer"), 1);
    scene.counted(&outcome("client_certificate_missing"), 1);
    let expired = Client::with(scene.addr(), &authority, Some(&short));
    eventually("its end", || run(expired.is_let_in()).is_err().then_some(()));
    assert!(scene.count(&outcome("client_certificate_expired")) >= Some(1));
    let let_in = application.asked();
    assert!(let_in[before..].iter().all(|asked| {
        asked.header("x-forwarded-client-cert")[0].contains("CN=short.example.io")
    }));
    scene.stop();
}

/// Of two clients, one is turned away once its certificate is revoked; the other.
fn revoke_one_of_two(scene: &Scene<impl TestVault>) -> Client {
    let authority = scene.authority();
    let (pair, serial) = scene.client_and_serial("revoked");
    let other = scene.client("other", "1h");
    let client = Client::with(scene.addr(), &authority, Some(&pair));
    run(client.is_let_in()).unwrap();
    scene.revoke(&serial);
    eventually("the revocation to be known", || run(client.is_let_in()).is_err().then_some(()));
    assert!(scene.count(&outcome("client_certificate_revoked")) >= Some(1));
    let other = Client::with(scene.addr(), &authority, Some(&other));
    run(other.is_let_in()).unwrap();
    other
}

fn revoked() {
    let application = Application::start();
    let scene = Scene::http(application.addr, REQUIRED);
    revoke_one_of_two(&scene);
    scene.stop();
}

/// Without a list of revoked certificates nobody can be let in.
fn readiness() {
    let application = Application::start();
    let forward = application.addr.to_string();
    let setting = Setting { forward: &forward, lines: REQUIRED, certificate: "", more: "" };
    let scene = setting.spawn(|vault| {
        let faults = vault.server.faults().on(sidekey::dev::Matcher::get("pki/crl/pem"));
        faults.respond(sidekey::dev::Fault::status(500)).forever();
    });
    scene.sidecar.wait_for("certificate in use");
    scene.sidecar.wait_for("certificates of clients not judged anew");
    let ready = scene.sidecar.health("/readyz");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["pending"], serde_json::json!(["adapters.tls.web"]));
    let pair = scene.client("good", "1h");
    let client = Client::with(scene.addr(), &scene.authority(), Some(&pair));
    run(client.is_let_in()).expect_err("let in");
    scene.counted(&outcome("not_ready"), 1);
    scene.vault.server.faults().clear();
    scene.sidecar.wait_for("ready");
    run(client.is_let_in()).unwrap();
    scene.stop();
}

/// Its lists are its own affair: an empty one at first, and another order of extensions.
fn real_vault() {
    let application = Application::start();
    let vault = Real::start().expect("a real Vault");
    engine(&vault);
    let forward = application.addr.to_string();
    let setting = Setting { forward: &forward, lines: REQUIRED, certificate: "", more: "" };
    let scene = setting.spawn_before(vault);
    scene.sidecar.wait_for("ready");
    let other = revoke_one_of_two(&scene);
    scene.replace();
    run(other.is_let_in()).unwrap();
    scene.stop();
}

/// Vault gives no list any more: after `crl_max_stale` nobody's certificate is good.
fn stale_list() {
    let application = Application::start();
    let lines = format!("{REQUIRED}\ncrl_max_stale = '1s'");
    let scene = Scene::http(application.addr, &lines);
    let pair = scene.client("good", "1h");
    let client = Client::with(scene.addr(), &scene.authority(), Some(&pair));
    run(client.is_let_in()).unwrap();
    let faults = scene.vault.server.faults().on(sidekey::dev::Matcher::get("pki/crl/pem"));
    faults.respond(sidekey::dev::Fault::status(500)).forever();
    eventually("the list to be too old", || run(client.is_let_in()).is_err().then_some(()));
    scene.sidecar.wait_for("certificates of clients not judged anew");
    assert!(scene.count(&outcome("client_certificate_revocation_unknown")) >= Some(1));
    scene.vault.server.faults().clear();
    eventually("a list", || run(client.is_let_in()).ok());
    scene.stop();
}

fn optional() {
    let application = Application::start();
    let lines = "client_auth = 'optional'\nclient_ca = 'vault'\ncrl_refresh = '100ms'";
    let scene = Scene::http(application.addr, lines);
    let authority = scene.authority();
    let nobody = Client::new(scene.addr(), &authority);
    run(nobody.is_let_in()).unwrap();
    assert_eq!(application.last().header("x-forwarded-client-cert"), Vec::<&str>::new());
    let pair = scene.client("a", "1h");
    let somebody = Client::with(scene.addr(), &authority, Some(&pair));
    run(somebody.is_let_in()).unwrap();
    assert!(application.last().header("x-forwarded-client-cert")[0].contains("CN=a.example.io"));
    let foreign = Authority::new("foreign").client("a.example.io");
    run(Client::with(scene.addr(), &authority, Some(&foreign)).is_let_in()).expect_err("let in");
    scene.stop();
}

fn file() {
    let application = Application::start();
    let folder = tempfile::tempdir().unwrap();
    let own = Authority::new("own");
    let file = folder.path().join("clients.pem");
    std::fs::write(&file, own.pem()).unwrap();
    let lines =
        format!("client_auth = 'required'\nclient_ca = '{}'\nclient_crl = 'none'", file.display());
    let scene = Scene::http(application.addr, &lines);
    let authority = scene.authority();
    let pair = own.client("app");
    run(Client::with(scene.addr(), &authority, Some(&pair)).is_let_in()).unwrap();
    // That of Vault is not asked for.
    let vaults = scene.client("a", "1h");
    run(Client::with(scene.addr(), &authority, Some(&vaults)).is_let_in()).expect_err("let in");
    assert!(scene.sidecar.stderr().contains("revoked certificates of clients are let in"));
    scene.stop();

    // A file without a certificate is a mistake of the configuration.
    std::fs::write(&file, "nothing").unwrap();
    let setting = Setting {
        forward: &application.addr.to_string(),
        lines: &lines,
        certificate: "",
        more: "",
    };
    let mut scene = setting.spawn(|_| {});
    assert_eq!(scene.sidecar.wait().code(), Some(78), "{}", scene.sidecar.stderr());
    assert!(scene.sidecar.stderr().contains("no certificate of an authority in it"));
}
