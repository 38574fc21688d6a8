//! How long a session may last: not longer than the credential that it was started with.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::super::Station;
use super::relay::Term;
use crate::cache::Served;
use crate::config::AmbassadorProtocol;
use crate::lease::{now, spread};
use crate::secret::Etag;

/// Sessions of a replaced credential end spread over as much, or over what it has left.
const SPREAD: Duration = Duration::from_secs(30);
const LEAST_MARGIN: Duration = Duration::from_millis(500);
const MOST_MARGIN: Duration = Duration::from_mins(1);
/// Timers stand still while the host is suspended: how late an end may be noticed after that.
const MOST_NAP: Duration = Duration::from_secs(30);

/// The credential of one session, without its password.
pub(super) struct Tenure {
    station: Arc<Station>,
    stop: CancellationToken,
    etag: Etag,
    user: Box<[u8]>,
    /// When the server stops taking it, as far as that is known.
    ends: Option<Instant>,
    /// How long before that the session should be over.
    margin: Duration,
}

impl Tenure {
    /// Of what was `served` at the moment `since`, by [`now`].
    pub(super) fn of(
        station: Arc<Station>,
        (served, since): (&Served, Instant),
        user: &[u8],
        stop: CancellationToken,
    ) -> Self {
        let life = served.expires_in.unwrap_or_default();
        Self {
            station,
            stop,
            etag: *served.secret.etag(),
            user: user.into(),
            ends: served.expires_in.map(|left| since + left),
            margin: (life / 10).clamp(LEAST_MARGIN, MOST_MARGIN),
        }
    }

    /// Looks at what is there now. True when it is for another user: then this one's end stands.
    fn is_replaced(&mut self) -> bool {
        let spec = &self.station.spec;
        let Some(Ok(served)) = self.station.shared.cache.cached(&spec.secret, None) else {
            return false;
        };
        if served.secret.etag() != &self.etag {
            let AmbassadorProtocol::Postgres { user_field, .. } = &spec.protocol else {
                return false;
            };
            let user = served.secret.field(user_field);
            if user.is_none_or(|(user, _)| user.trim_ascii() != &*self.user) {
                return true;
            }
            // Another password of the same user ends no session.
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
        match self.ends {
            Some(end) => until(end, now).await,
            None => std::future::pending().await,
        }
    }
}

/// Ends at `end` by `clock`, which goes on while timers stand still.
async fn until(end: Instant, clock: impl Fn() -> Instant) {
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
