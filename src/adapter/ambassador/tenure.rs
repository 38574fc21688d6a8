//! How long a connection may last: not longer than what it was made with.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Station;
use crate::adapter::relay::Term;
use crate::cache::Served;
use crate::config::SecretName;
use crate::lease::{now, spread};
use crate::secret::Etag;

/// Connections of a replaced credential end spread over as much, or over what it has left.
const SPREAD: Duration = Duration::from_secs(30);
const LEAST_MARGIN: Duration = Duration::from_millis(500);
const MOST_MARGIN: Duration = Duration::from_mins(1);
/// Timers stand still while the host is suspended: how late an end may be noticed after that.
const MOST_NAP: Duration = Duration::from_secs(30);

/// The credentials of one connection, without what is secret of them.
pub(super) struct Tenure {
    station: Arc<Station>,
    stop: CancellationToken,
    held: Vec<Held>,
}

/// A secret or a certificate that it was made with.
struct Held {
    name: SecretName,
    etag: Etag,
    /// The field with a user, and who that was: another password of the same one is no other
    /// credential.
    user: Option<(Box<str>, Box<[u8]>)>,
    /// When it stops being taken, as far as that is known.
    ends: Option<Instant>,
    /// How long before that the connection should be over.
    margin: Duration,
}

impl Held {
    /// Of what was `served` at the moment `since`, by [`now`].
    fn of(name: &SecretName, served: &Served, since: Instant) -> Self {
        let life = served.expires_in.unwrap_or_default();
        Self {
            name: name.clone(),
            etag: *served.secret.etag(),
            user: None,
            ends: served.expires_in.map(|left| since + left),
            margin: (life / 10).clamp(LEAST_MARGIN, MOST_MARGIN),
        }
    }

    /// Looks at what is there now. True when it is something else: then this one's end stands.
    fn is_replaced(&mut self, station: &Station) -> bool {
        let Some(Ok(served)) = station.shared.cache.cached(&self.name, None) else {
            return false;
        };
        if served.secret.etag() != &self.etag {
            let Some((field, user)) = &self.user else { return true };
            let now = served.secret.field(field);
            if now.is_none_or(|(now, _)| now.trim_ascii() != &**user) {
                return true;
            }
            self.etag = *served.secret.etag();
        }
        self.ends = served.expires_in.map(|left| now() + left);
        false
    }

    fn left(&self) -> Option<Duration> {
        let left = self.ends?.saturating_duration_since(now());
        Some(left.saturating_sub(self.margin))
    }
}

impl Tenure {
    /// Without an end but the stop.
    pub(super) fn new(station: Arc<Station>, stop: CancellationToken) -> Self {
        Self { station, stop, held: Vec::new() }
    }

    /// Not longer than the client certificate that was `served` at the moment `since`.
    pub(super) fn with_certificate(mut self, served: Option<&Served>, since: Instant) -> Self {
        let name = self.station.spec.client_certificate();
        let held = name.zip(served).map(|(name, served)| Held::of(name, served, since));
        self.held.extend(held);
        self
    }

    /// Not longer than the secret that was `served` at the moment `since`, of the user in `field`.
    pub(super) fn with_secret(
        mut self,
        (served, since): (&Served, Instant),
        field: &str,
        user: &[u8],
    ) -> Self {
        let held = self.station.spec.secret().map(|name| Held {
            user: Some((field.into(), user.into())),
            ..Held::of(name, served, since)
        });
        self.held.extend(held);
        self
    }

    fn is_replaced(&mut self) -> bool {
        let Self { station, held, .. } = self;
        held.iter_mut().any(|held| held.is_replaced(station))
    }

    fn left(&self) -> Option<Duration> {
        self.held.iter().filter_map(Held::left).min()
    }
}

impl Term for Tenure {
    async fn due(&mut self) {
        let mut fetches = self.station.shared.cache.fetches();
        loop {
            fetches.mark_unchanged();
            let wait = if self.is_replaced() {
                let moment = spread(self.left().map_or(SPREAD, |left| left.min(SPREAD)));
                tokio::select! {
                    () = until(now() + moment, now) => {}
                    () = self.stop.cancelled() => {}
                }
                return;
            } else {
                self.left()
            };
            let ended = async {
                match wait {
                    Some(left) => until(now() + left, now).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Renewed, perhaps.
                Ok(()) = fetches.changed() => {}
                () = ended => return,
                () = self.stop.cancelled() => return,
            }
        }
    }

    async fn over(&self) {
        match self.held.iter().filter_map(|held| held.ends).min() {
            Some(end) => until(end, now).await,
            None => std::future::pending().await,
        }
    }
}

/// Ends at `end` by `clock`, which goes on while timers stand still.
pub(super) async fn until(end: Instant, clock: impl Fn() -> Instant) {
    loop {
        let left = end.saturating_duration_since(clock());
        if left.is_zero() {
            return;
        }
        sleep(left.min(MOST_NAP)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_end_that_came_during_a_suspend_is_noticed() {
        let start = Instant::now();
        until(start + Duration::from_mins(2), Instant::now).await;
        assert_eq!(start.elapsed(), Duration::from_mins(2));
        // An hour's suspend, ten seconds from now.
        let start = Instant::now();
        let clock = || {
            let slept = start.elapsed() > Duration::from_secs(10);
            Instant::now() + if slept { Duration::from_hours(1) } else { Duration::ZERO }
        };
        until(start + Duration::from_hours(1), clock).await;
        assert_eq!(start.elapsed(), MOST_NAP);
    }
}
