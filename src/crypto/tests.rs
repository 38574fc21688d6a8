use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, ClientConnection, NamedGroup, RootCertStore, ServerConfig};
use rustls::{Connection, ServerConnection};

use super::*;

fn group(provider: &CryptoProvider) -> &'static dyn rustls::crypto::SupportedKxGroup {
    provider.kx_groups[0]
}

#[test]
fn both_sides_come_to_one_secret() {
    let group = group(&provider());
    let client = group.start().unwrap();
    assert_eq!(client.pub_key().len(), 1184 + 32);
    let server = group.start_and_complete(client.pub_key()).unwrap();
    assert_eq!(server.pub_key.len(), 1088 + 32);
    let secret = client.complete(&server.pub_key).unwrap();
    assert_eq!(secret.secret_bytes(), server.secret.secret_bytes());
    assert_eq!(secret.secret_bytes().len(), 64);
}

/// Neither half can be left out: a share that differs in one bit leads to another secret.
#[test]
fn each_half_counts() {
    let group = group(&provider());
    for at in [0, 1088] {
        let client = group.start().unwrap();
        let mut server = group.start_and_complete(client.pub_key()).unwrap();
        server.pub_key[at] ^= 1;
        let secret = client.complete(&server.pub_key).unwrap();
        assert_ne!(secret.secret_bytes(), server.secret.secret_bytes(), "at {at}");
    }
}

#[test]
fn what_is_no_share_is_refused() {
    let group = group(&provider());
    let share = group.start().unwrap().pub_key().to_vec();
    for length in [0, 1, 32, 1184, 1215] {
        assert!(group.start_and_complete(&share[..length]).is_err(), "{length}");
        assert!(group.start().unwrap().complete(&share[..length]).is_err(), "{length}");
    }
    // No number of the field is as large as this.
    let mut too_large = share;
    too_large[..3].fill(0xff);
    assert!(group.start_and_complete(&too_large).is_err());
}

/// The group that a client and a server agree on.
fn agreed(client: Arc<CryptoProvider>, server: Arc<CryptoProvider>) -> NamedGroup {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(client)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(server)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let name = "localhost".try_into().unwrap();
    let mut client = Connection::from(ClientConnection::new(Arc::new(client), name).unwrap());
    let mut server = Connection::from(ServerConnection::new(Arc::new(server)).unwrap());
    while client.is_handshaking() || server.is_handshaking() {
        pass(&mut client, &mut server);
        pass(&mut server, &mut client);
    }
    let agreed = client.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(server.negotiated_key_exchange_group().unwrap().name(), agreed);
    agreed
}

fn pass(from: &mut Connection, to: &mut Connection) {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut rest = &*bytes;
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets().unwrap();
    }
}

#[test]
fn the_hybrid_is_preferred_and_nobody_needs_it() {
    let plain = Arc::new(ring::default_provider());
    assert_eq!(agreed(provider(), provider()), NamedGroup::X25519MLKEM768);
    assert_eq!(agreed(provider(), Arc::clone(&plain)), NamedGroup::X25519);
    assert_eq!(agreed(plain, provider()), NamedGroup::X25519);
}
