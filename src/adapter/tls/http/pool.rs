//! What hyper-util's pool of connections asks for: a connection, and somebody to run it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::super::application::{Application, ConnectError, Inside};
use super::LARGEST_HEAD;
use super::body::Inbound;

/// Unused connections that are kept for the next requests, and for how long: less than the five
/// seconds after which many servers close theirs, Node's first of all, so that no request meets
/// the end of its connection.
const KEPT: usize = 64;
const KEPT_FOR: Duration = Duration::from_secs(4);

/// A request goes out again by itself only when it had not been written at all to the connection
/// that turned out to be closed.
pub(super) fn pool(application: Application) -> Client<Dial, Inbound> {
    Client::builder(Spawner)
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEPT_FOR)
        .pool_max_idle_per_host(KEPT)
        .set_host(false)
        .http1_writev(true)
        .http1_max_buf_size(LARGEST_HEAD)
        .build(Dial(application))
}

/// Connects to the application, whatever the URI says.
#[derive(Clone)]
pub(super) struct Dial(Application);

impl Service<Uri> for Dial {
    type Response = TokioIo<Inside>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let application = self.0.clone();
        Box::pin(async move { application.connect().await.map(TokioIo::new) })
    }
}

/// Connections end with the pool, which no stop has to wait for.
#[derive(Clone)]
pub(super) struct Spawner;

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        TaskTracker::new().spawn(future);
    }
}
