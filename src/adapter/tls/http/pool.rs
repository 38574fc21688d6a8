//! The application as a destination of requests.

use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::super::application::{Application, ConnectError, Inside};
use super::LARGEST_HEAD;
use super::body::Inbound;
use crate::adapter::upstream::{Destination, Keeping, Upstream};
use crate::memory::InSecretMemory;

/// Unused connections that are kept for the next requests, and for how long: less than the five
/// seconds after which many servers close theirs, Node's first of all, so that no request meets
/// the end of its connection.
const KEEPING: Keeping =
    Keeping { largest_head: LARGEST_HEAD, most: 64, time: Duration::from_secs(4) };

pub(super) fn pool(application: Application) -> Upstream<Application, Inbound> {
    Upstream::new(application, KEEPING)
}

impl Destination for Application {
    type Stream = Inside;
    type Error = ConnectError;

    async fn connect(&self) -> Result<Inside, ConnectError> {
        Self::connect(self).await
    }

    /// Connections end with the pool, which no stop has to wait for.
    fn run(connection: impl Future<Output = ()> + Send + 'static) {
        TaskTracker::new().spawn(InSecretMemory::new(connection));
    }
}
