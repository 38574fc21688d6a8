use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::{DevOptions, DevServer, DevTls};
use super::{With, exchange};

struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: rcgen::Issuer::new(params, key) }
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, rcgen::KeyPair) {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.extended_key_usages = vec![
            rcgen::ExtendedKeyUsagePurpose::ServerAuth,
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = rcgen::KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

async fn call(
    server: &DevServer,
    authority: &Authority,
    client: Option<&(rcgen::Certificate, rcgen::KeyPair)>,
    with: With<'_>,
    request: (&str, &str, Value),
) -> std::io::Result<(u16, Value)> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let stream = TcpStream::connect(server.addr()).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (method, path, body) = request;
    let (status, body) = exchange(stream, with, method, path, body.to_string())
        .await
        .map_err(std::io::Error::other)?;
    Ok((status, serde_json::from_str(&body).unwrap_or_default()))
}

async fn start(authority: &Authority, client_ca: Option<Vec<u8>>) -> DevServer {
    let (certificate, key) = authority.issue("localhost");
    let tls = DevTls {
        cert_chain: certificate.pem().into_bytes(),
        key: key.serialize_pem().into_bytes(),
        client_ca,
    };
    DevServer::start(DevOptions { tls: Some(tls), ..DevOptions::default() }).await.unwrap()
}

#[tokio::test]
async fn certificates_log_in_over_tls() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = start(&ours, None).await;
    assert!(server.url().starts_with("https://127.0.0.1:"));
    let root = || With { token: Some(server.root_token()), ..With::default() };
    let mount = ("POST", "sys/auth/cert", json!({"type": "cert"}));
    assert_eq!(call(&server, &ours, None, root(), mount).await.unwrap().0, 204);
    let entry = json!({"certificate": ours.certificate.pem(), "allowed_common_names": ["app"],
        "token_policies": ["app"]});
    let entry = ("POST", "auth/cert/certs/app", entry);
    assert_eq!(call(&server, &ours, None, root(), entry).await.unwrap().0, 204);

    let login = || ("POST", "auth/cert/login", json!({"name": "app"}));
    let (app, other, stranger) = (ours.issue("app"), ours.issue("other"), theirs.issue("app"));
    let answer = call(&server, &ours, Some(&app), With::default(), login()).await.unwrap();
    assert_eq!((answer.0, &answer.1["auth"]["metadata"]["common_name"]), (200, &json!("app")));
    let error = "failed to match all constraints for this login certificate";
    for client in [&other, &stranger] {
        let answer = call(&server, &ours, Some(client), With::default(), login()).await.unwrap();
        assert_eq!(answer, (400, json!({"errors": [error]})));
    }
    let answer = call(&server, &ours, None, With::default(), login()).await.unwrap();
    assert_eq!(answer, (400, json!({"errors": ["client certificate must be supplied"]})));
}

#[tokio::test]
async fn a_client_ca_refuses_strangers_but_not_the_certificateless() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = start(&ours, Some(ours.certificate.pem().into_bytes())).await;
    let health = || ("GET", "sys/health", Value::Null);
    assert_eq!(call(&server, &ours, None, With::default(), health()).await.unwrap().0, 200);
    let stranger = theirs.issue("app");
    let refused = call(&server, &ours, Some(&stranger), With::default(), health()).await;
    assert!(refused.is_err());
    let broken = DevTls { cert_chain: Vec::new(), key: Vec::new(), client_ca: None };
    let options = DevOptions { tls: Some(broken), ..DevOptions::default() };
    assert!(DevServer::start(options).await.is_err());
    let options = DevOptions { listen: "0.0.0.0:0".parse().unwrap(), ..DevOptions::default() };
    assert!(DevServer::start(options).await.is_err());
}
