//! The stop: leases, certificates and tokens are given back, as far as there is time.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_local};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fetcher::{Fetcher, revoke};
use super::keep::within;
use super::token::Token;
use super::{Failure, VaultError};
use crate::lease::Handle;
use crate::observe::event;

/// A login that is under way gets so long to end, if there is as much: a connection that hangs
/// does not hold the stop up.
const LAST_LOGIN: Duration = Duration::from_secs(3);

/// One stop.
pub(super) struct HandBack {
    fetcher: Rc<Fetcher>,
    /// The last quarter is the tokens': one token takes its leases with it.
    handles_until: Instant,
    login_until: Instant,
    end: Instant,
    at_once: CancellationToken,
}

impl HandBack {
    pub(super) fn new(
        fetcher: &Rc<Fetcher>,
        budget: Duration,
        at_once: CancellationToken,
    ) -> Rc<Self> {
        let start = Instant::now();
        Rc::new(Self {
            fetcher: Rc::clone(fetcher),
            handles_until: start + budget * 3 / 4,
            login_until: start + (budget / 2).min(LAST_LOGIN),
            end: start + budget,
            at_once,
        })
    }

    /// The leases and certificates first, all at once, for they need the token; then the tokens.
    pub(super) async fn run(self: Rc<Self>, keeper: JoinHandle<()>, handles: Vec<Handle>) {
        let session = &self.fetcher.session;
        session.begin_to_stop();
        let revoked = session.held().map(|token| self.begin(&token, &handles));
        let aborted = keeper.abort_handle();
        let logging_in = session.is_logging_in();
        if logging_in && within(self.login_until, &self.at_once, keeper).await.is_none() {
            event::login_cut_off(&session.authenticator().method);
        }
        aborted.abort();
        let revoked = match (revoked, session.held()) {
            (Some(revoked), _) => revoked,
            (None, Some(token)) => self.begin(&token, &handles),
            (None, None) => {
                let outcome = Err(VaultError::new(Failure::NotLoggedIn, "revoke"));
                for handle in &handles {
                    event::handed_back(handle, &outcome);
                }
                Vec::new()
            }
        };
        for task in revoked {
            let _ = task.await;
        }
        let tokens = session.end().into_iter().map(|token| {
            let this = Rc::clone(&self);
            spawn_local(async move { token.revoke(this.end, &this.at_once).await })
        });
        for task in tokens.collect::<Vec<_>>() {
            let _ = task.await;
        }
    }

    fn begin(self: &Rc<Self>, token: &Rc<Token>, handles: &[Handle]) -> Vec<JoinHandle<()>> {
        let begin = |handle: Handle| {
            let (this, token) = (Rc::clone(self), Rc::clone(token));
            spawn_local(async move {
                let transport = this.fetcher.session.transport();
                let revoked = revoke(&transport, &token.value, &handle);
                let in_time = within(this.handles_until, &this.at_once, revoked).await;
                let too_late = || Err(VaultError::new(Failure::Timeout, "revoke"));
                event::handed_back(&handle, &in_time.unwrap_or_else(too_late));
            })
        };
        handles.iter().cloned().map(begin).collect()
    }
}
