//! Where ambassadors lead to: hyper with TLS 1.3, which answers whoever brings the token.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::stage::{AUTHORIZATION, provider};

/// Serves until killed, with the certificate in `folder`.
pub(crate) fn serve(tcp: SocketAddr, folder: &Path) {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(4);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(settings(folder)));
    let value = Bytes::from(super::value());
    runtime.block_on(async {
        let tcp = TcpListener::bind(tcp).await.unwrap();
        loop {
            let (stream, _) = tcp.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(connection(acceptor.clone(), stream, value.clone()));
        }
    });
}

fn settings(folder: &Path) -> ServerConfig {
    let chain = CertificateDer::pem_file_iter(folder.join("certificate.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    config.send_tls13_tickets = 0;
    config
}

async fn connection(acceptor: TlsAcceptor, stream: TcpStream, value: Bytes) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let answer = |request: http::Request<hyper::body::Incoming>| {
        let brought = request.headers().get(header::AUTHORIZATION);
        let mut response = Response::new(Full::new(value.clone()));
        if brought.is_none_or(|brought| brought != AUTHORIZATION) {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
        }
        async move { Ok::<_, Infallible>(response) }
    };
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}
