//! The stop, in its order.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::SecretCache;
use crate::lifecycle::{Deadline, Readiness, Shutdown};
use crate::notify::Notifier;
use crate::observe::{Outlet, event, log_directly};
use crate::vault::{FetchThread, Upstream};

/// The most that each of the last steps may take.
const LAST_MOMENT: Duration = Duration::from_millis(200);

/// What a running sidecar has to bring to an end.
pub(super) struct Stop {
    pub(super) readiness: Readiness,
    pub(super) notifier: Arc<Notifier<SecretCache>>,
    pub(super) connections: TaskTracker,
    pub(super) no_more_connections: CancellationToken,
    pub(super) cache: SecretCache,
    pub(super) upstream: Upstream,
    pub(super) fetch_thread: FetchThread,
    pub(super) health_tasks: TaskTracker,
    pub(super) no_more_health: CancellationToken,
    pub(super) outlet: Outlet,
}

impl Stop {
    /// Not ready; no new connections; what is in flight ends; leases and tokens are given back;
    /// everything held is wiped; the health listener and the log end. All of it within `whole`,
    /// and without waiting once `shutdown` is asked for at once.
    pub(super) async fn in_order(self, shutdown: &Shutdown, whole: Duration) {
        let deadline = Deadline::new(whole);
        self.readiness.stop();
        self.outlet.wait_for_nobody();
        event::stopping(whole);
        self.notifier.stop();

        self.no_more_connections.cancel();
        self.connections.close();
        let left = || event::drain_cut_short(self.connections.len());
        tokio::select! {
            () = self.connections.wait() => {}
            () = tokio::time::sleep(deadline.for_draining()) => left(),
            () = shutdown.asked_at_once() => left(),
        }

        let leases = self.cache.stop_refreshing().await;
        self.upstream.stop(deadline.for_revoking(), leases, shutdown.at_once()).await;
        self.cache.close().await;

        self.no_more_health.cancel();
        self.health_tasks.close();
        let moment = || deadline.left().min(LAST_MOMENT);
        let _ = tokio::time::timeout(moment(), self.health_tasks.wait()).await;
        let joined = tokio::task::spawn_blocking(|| self.fetch_thread.join());
        let _ = tokio::time::timeout(moment(), joined).await;
        event::stopped();
        // However late it is: audit lines that somebody reads are not lost for a moment's sake.
        if self.outlet.flush(LAST_MOMENT) {
            log_directly(&self.outlet);
        }
    }
}
