//! From HTTP/1.1 to another protocol, such as WebSocket: then it is bytes both ways.

use std::io::Cursor;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, join, split};
use tokio_util::sync::CancellationToken;

use super::super::application::Inside;
use super::super::tcp::{Stop, is_end};
use crate::adapter::relay::{relay, say_end};

/// How long an upgraded connection may rest.
const IDLE: Duration = Duration::from_hours(1);

/// An upgrade that a client offers.
pub(super) struct Upgrade {
    outside: OnUpgrade,
    /// What the application is asked for; `None` for HTTP/2, which is left out as if it had not
    /// been offered: through it requests would pass that nobody looked at.
    pub(super) protocol: Option<HeaderValue>,
}

impl Upgrade {
    /// `None` where nothing is offered.
    pub(super) fn offered(request: &mut Request<Incoming>) -> Option<Self> {
        if request.version() != Version::HTTP_11 || !request.headers().contains_key(header::UPGRADE)
        {
            return None;
        }
        let protocol = protocol(request.headers()).filter(|_| request.body().is_end_stream());
        Some(Self { outside: hyper::upgrade::on(request), protocol })
    }

    /// Both sides, when the application agreed to what it was asked for.
    pub(super) fn agreed<B>(self, response: &mut Response<B>) -> Option<[OnUpgrade; 2]> {
        let agreed = response.headers().get(header::UPGRADE)?;
        let same = agreed.as_bytes().eq_ignore_ascii_case(self.protocol?.as_bytes());
        same.then(|| [self.outside, hyper::upgrade::on(response)])
    }

    /// Nothing comes of it. hyper hands the connection over all the same where it was to end
    /// with this request; then TLS is still to be told of the end.
    pub(super) async fn given_up(self) {
        if let Ok(outside) = self.outside.await {
            let _ = TokioIo::new(outside).shutdown().await;
        }
    }
}

/// Copies between both sides of an upgrade, as `mode = "tcp"` does.
pub(super) async fn copy([outside, inside]: [OnUpgrade; 2], stop: CancellationToken) {
    let (Ok(outside), Ok(inside)) = tokio::join!(outside, inside) else { return };
    let Ok(parts) = inside.downcast::<TokioIo<Inside>>() else { return };
    let inside = parts.io.into_inner();
    inside.reset_when_dropped(true);
    let (from, to) = split(inside);
    // What followed the application's answer at once was read with it.
    let mut near = join(Cursor::new(parts.read_buf).chain(from), to);
    let mut far = TokioIo::new(outside);
    let end = relay(&mut near, (&mut far, true), IDLE, &mut Stop(stop)).await;
    if is_end(end) && say_end(&mut near, &mut far).await {
        let (from, to) = near.into_inner();
        from.into_inner().1.unsplit(to).reset_when_dropped(false);
    }
}

fn protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let options = headers.get_all(header::CONNECTION).into_iter();
    let asked = options
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
    let mut protocols = headers.get_all(header::UPGRADE).into_iter();
    let (Some(protocol), None) = (protocols.next(), protocols.next()) else { return None };
    let word = protocol.as_bytes();
    let is_token =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    let starts =
        |start: &[u8]| word.get(..start.len()).is_some_and(|it| it.eq_ignore_ascii_case(start));
    let is_http = starts(b"h2") || starts(b"http") || starts(b"tls");
    (asked && !is_http && !word.is_empty() && word.iter().all(is_token)).then(|| protocol.clone())
}

/// The headers of the answer with which the upgrade begins.
pub(super) fn switching(mut headers: HeaderMap, protocol: HeaderValue) -> HeaderMap {
    headers.insert(header::UPGRADE, protocol);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_upgrade() {
        let asks = |connection: &'static str, upgrade: &[&'static str]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONNECTION, HeaderValue::from_static(connection));
            for protocol in upgrade {
                headers.append(header::UPGRADE, HeaderValue::from_static(protocol));
            }
            protocol(&headers).is_some()
        };
        assert!(asks("keep-alive, Upgrade", &["websocket"]));
        assert!(asks("upgrade", &["irc/2.0"]));
        assert!(!asks("keep-alive", &["websocket"]));
        for smuggled in ["h2c", "H2C", "h2", "HTTP/2.0", "TLS/1.0", "", "websocket, h2c", "a b"] {
            assert!(!asks("upgrade", &[smuggled]), "{smuggled}");
        }
        assert!(!asks("upgrade", &["websocket", "h2c"]) && !asks("upgrade", &[]));
    }
}
