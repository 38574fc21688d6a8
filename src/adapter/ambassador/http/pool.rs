//! What hyper-util's pool of connections asks for: a connection, and somebody to run it.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::super::connect::{ConnectError, Connector, Outbound};
use crate::memory::InSecretMemory;

/// Connects to the destination, whatever the URI says: it is ours, and the same each time.
#[derive(Clone)]
pub(super) struct Dial(pub(super) Connector);

impl Service<Uri> for Dial {
    type Response = TokioIo<Outbound>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.0.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}

/// Runs connections where their buffers, through which the credential goes, are in secret memory.
/// They end with the pool, which no stop has to wait for.
#[derive(Clone)]
pub(super) struct Spawner;

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        TaskTracker::new().spawn(InSecretMemory::new(future));
    }
}
