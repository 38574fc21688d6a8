//! TCP: bytes as they are, over TLS to the one destination.
//!
//! There is no message in which a refusal could be told: the connection is reset. So it is with
//! whatever ends before its time; an end that looks like one is one, and what came before it is
//! whole.

use std::sync::Arc;

use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use super::connect::{ConnectError, Outbound, Unreached};
use super::tenure::Tenure;
use super::{Station, Use, identity};
use crate::adapter::relay::{relay, reset_when_dropped, say_end};
use crate::lease::now;
use crate::server::{Denied, Peer, Stream};

/// One TCP ambassador.
pub(super) struct Tcp {
    pub(super) station: Arc<Station>,
}

impl Tcp {
    /// Serves one connection to its end.
    pub(super) async fn serve(&self, stream: Stream, peer: Peer, stop: CancellationToken) {
        reset_application(&stream, true);
        let mut used =
            Use { action: "connect", peer: &peer, caller: None, outcome: "ok", served: None };
        let opened = match self.station.identify(&peer, None) {
            Ok(caller) => {
                used.caller = Some(&caller);
                let opened = tokio::select! {
                    opened = self.open(&stop) => opened,
                    () = stop.cancelled() => return,
                };
                used.outcome =
                    opened.as_ref().err().map_or("ok", |error| Unreached::from(error).code());
                self.station.note(&used);
                opened.ok()
            }
            Err(denied) => {
                used.outcome = refusal(&denied);
                self.station.note(&used);
                None
            }
        };
        let Some((outbound, tenure)) = opened else { return };
        self.copy(stream, outbound, tenure).await;
    }

    /// A connection with the destination, and how long it may last.
    async fn open(&self, stop: &CancellationToken) -> Result<(Outbound, Tenure), ConnectError> {
        let certificate = self.station.certificate().await?;
        let since = now();
        let identity = identity(certificate.as_ref())?;
        let outbound = self.station.connector.connect(identity).await;
        match &outbound {
            Ok(_) => self.station.reached(Ok(())),
            Err(error) => self.station.reached(Err(error)),
        }
        let tenure = Tenure::new(Arc::clone(&self.station), stop.clone());
        Ok((outbound?, tenure.with_certificate(certificate.as_ref(), since)))
    }

    async fn copy(&self, mut near: Stream, mut far: Outbound, mut tenure: Tenure) {
        reset_when_dropped(far.tcp(), true);
        // TLS says when it is over, and TCP may only look like it.
        let sure_end = matches!(far, Outbound::Tls(_));
        let patience = self.station.spec.idle_timeout;
        let end = relay(&mut near, (&mut far, sure_end), patience, &mut tenure).await;
        self.station.numbers.count(end.word());
        if end.is_orderly() && say_end(&mut near, &mut far).await {
            reset_application(&near, false);
            reset_when_dropped(far.tcp(), false);
        }
    }
}

/// A unix socket has no reset: there an end is an end.
fn reset_application(stream: &Stream, reset: bool) {
    if let Either::Left(stream) = stream {
        reset_when_dropped(stream, reset);
    }
}

/// The name is stable: metrics and the audit log use it.
fn refusal(denied: &Denied) -> &'static str {
    match denied {
        Denied::TooManyRequests(_) => "too_many_requests",
        _ => "caller_unknown",
    }
}
