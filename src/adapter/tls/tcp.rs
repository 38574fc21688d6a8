//! Bytes both ways, each way to its own end.
//!
//! Whatever ends before both sides said so is reset towards both, and so is what the end of the
//! process cuts: an end that looks like one is one, and what came before it is whole. A stop
//! closes what rests, in order.

use tokio::io::AsyncWriteExt as _;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use super::Station;
use super::application::{Application, Inside};
use super::handshake::Secured;
use super::proxy::{Announcement, Tls};
use crate::adapter::relay::{End, Term, relay, reset_when_dropped, say_end};
use crate::server::Stream;

/// Connects to the application, says who connected where that is asked for, and copies until both
/// sides are done, one breaks off, nothing moves for too long, or `stop` finds them at rest.
pub(super) async fn serve(
    station: &Station,
    application: &Application,
    announce: bool,
    secured: Secured,
    stop: CancellationToken,
) -> &'static str {
    match station.access.decide_connection(&secured.identity) {
        Ok(admitted) => station.count(&admitted),
        Err(refusal) => {
            station.numbers.refused(refusal.code());
            let mut tls = secured.tls;
            let _ = tls.shutdown().await;
            return refusal.code();
        }
    }
    let mut inside = match application.connect().await {
        Ok(inside) => inside,
        Err(error) => {
            station.numbers.application_error("application_unreachable");
            station.reached(Err(&error));
            let mut tls = secured.tls;
            let _ = tls.shutdown().await;
            return "application_unreachable";
        }
    };
    station.reached(Ok(()));
    if announce && inside.write_all(&announcement(&secured)).await.is_err() {
        station.numbers.application_error("application_failed");
        return "application_failed";
    }
    copy(station, inside, secured.tls, stop).await
}

async fn copy(
    station: &Station,
    mut inside: Inside,
    mut outside: TlsStream<Stream>,
    stop: CancellationToken,
) -> &'static str {
    let reset = |inside: &Inside, outside: &TlsStream<Stream>, reset: bool| {
        inside.reset_when_dropped(reset);
        if let Either::Left(tcp) = outside.get_ref().0 {
            reset_when_dropped(tcp, reset);
        }
    };
    reset(&inside, &outside, true);
    let patience = station.spec.limits.idle_timeout;
    let end = relay(&mut inside, (&mut outside, true), patience, &mut Stop(stop)).await;
    if is_end(end) && say_end(&mut inside, &mut outside).await {
        reset(&inside, &outside, false);
    }
    word(end)
}

/// Who only fell silent may have been in the middle of something.
pub(super) fn is_end(end: End) -> bool {
    end.is_orderly() && end != End::Idle
}

/// The name in metrics.
fn word(end: End) -> &'static str {
    match end {
        End::Closed => "done",
        End::Idle => "idle",
        End::Stuck => "write_timeout",
        End::Retired | End::Cut => "retired",
        End::Broken | End::CertificateRefused => "broken",
    }
}

/// Due at the stop, and not over before the process is.
pub(super) struct Stop(pub(super) CancellationToken);

impl Term for Stop {
    async fn due(&mut self) {
        self.0.cancelled().await;
    }

    async fn over(&self) {
        std::future::pending::<()>().await;
    }
}

fn announcement(secured: &Secured) -> Vec<u8> {
    let tls = secured.tls.get_ref().1;
    let version = match tls.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    };
    let identity = &secured.identity;
    let name = identity.common_names.first().map(String::as_str).unwrap_or_default();
    let client = identity.is_authenticated.then_some(name);
    Announcement {
        ends: secured.ends,
        alpn: tls.alpn_protocol(),
        server_name: tls.server_name(),
        tls: Some(Tls { version, client }),
    }
    .header()
}
