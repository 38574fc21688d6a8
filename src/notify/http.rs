//! One `POST` to the application.

use http::{Request, header};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::NotTold;
use crate::config::LoopbackUrl;

/// A connection of its own for each: rotations are rare. Any 2xx is a success; the answer's body
/// is not read.
///
/// Cancel safety: the application may have been told.
pub(super) async fn post(url: &LoopbackUrl, body: Vec<u8>) -> Result<(), NotTold> {
    let stream = TcpStream::connect(url.addr).await.map_err(NotTold::Unreachable)?;
    let request = Request::post(&*url.target)
        .header(header::HOST, url.addr.to_string())
        .header(header::USER_AGENT, concat!("sidekey/", env!("CARGO_PKG_VERSION")))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close")
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| NotTold::Broken)?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|_| NotTold::Broken)?;
    let answered = sender.send_request(request);
    let answer = tokio::select! {
        biased;
        answer = answered => answer.map_err(|_| NotTold::Broken)?,
        () = async { let _ = connection.await; std::future::pending::<()>().await } => {
            return Err(NotTold::Broken);
        }
    };
    let status = answer.status();
    if status.is_success() { Ok(()) } else { Err(NotTold::Status(status.as_u16())) }
}
