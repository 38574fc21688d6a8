//! Credentials that Vault refused: they are not sent again.
//!
//! Vault's user lockout (<https://developer.hashicorp.com/vault/docs/concepts/user-lockout>, on
//! unless it is turned off) counts refused AppRole logins by their role-id: five within a quarter
//! of an hour, and every sidecar with that role-id is locked out for another quarter. So what can
//! never be taken again is not sent again at all. What the server may come to take (a role that
//! is made later, a lockout that ends) is sent less and less often; an attempt while locked out
//! neither counts nor prolongs it.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use ring::digest::{SHA256, digest};
use tokio::time::Instant;

use super::error::{Failure, Refusal, VaultError};
use crate::lease::Backoff;

/// How often it is looked whether there is another credential.
const LOOK: Duration = Duration::from_secs(10);
/// The longest wait for a server that may change its mind: longer than the lockout counts.
const LONGEST: Duration = Duration::from_mins(16);

/// Which content a credential has, without it.
pub(super) type Fingerprint = [u8; 32];

pub(super) fn fingerprint(content: &[u8]) -> Fingerprint {
    let mut origin = [0; 32];
    origin.iter_mut().zip(digest(&SHA256, content).as_ref()).for_each(|(to, from)| *to = *from);
    origin
}

/// The last refusal, and what it was about.
pub(super) struct LastRefusal {
    last: RefCell<Option<Last>>,
    backoff: RefCell<Backoff>,
    /// A wait of this kind was announced.
    said: Cell<bool>,
    /// There is a file that may bring another credential.
    has_file: bool,
}

struct Last {
    credential: Fingerprint,
    error: VaultError,
    /// When it may be sent once more although it is the same.
    again_at: Option<Instant>,
}

/// A login that is not tried now.
pub(super) struct Waits {
    pub(super) error: VaultError,
    pub(super) look_in: Duration,
    /// To be said in the log.
    pub(super) is_new: bool,
}

impl Last {
    /// Until the next attempt with the same credential, if ever.
    fn left(&self) -> Option<Duration> {
        self.again_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    fn forbids(&self, credential: Fingerprint) -> bool {
        self.credential == credential && self.left().is_none_or(|left| !left.is_zero())
    }
}

impl LastRefusal {
    pub(super) fn new(has_file: bool) -> Self {
        let backoff = RefCell::new(Backoff::new(Duration::from_secs(1), LONGEST));
        Self { last: RefCell::default(), backoff, said: Cell::new(false), has_file }
    }

    /// What came of a login with `credential`; true when it was a refusal.
    pub(super) fn note(&self, credential: Fingerprint, error: &VaultError) -> bool {
        let again_at = match error.failure {
            Failure::InvalidToken
            | Failure::Refused(
                _,
                Refusal::WrappingToken
                | Refusal::ForeignWrappingToken
                | Refusal::RoleOrSecretId
                | Refusal::TokenExpired,
            ) if self.has_file => None,
            Failure::InvalidToken | Failure::Denied | Failure::Refused(..) => {
                let wait = self.backoff.borrow_mut().after_failure(error.retry_after);
                Some(Instant::now() + wait)
            }
            _ => return false,
        };
        self.said.set(false);
        self.last.replace(Some(Last { credential, error: error.clone(), again_at }));
        true
    }

    /// Whether `credential` is one that was refused, and its time has not come.
    pub(super) fn forbids(&self, credential: Fingerprint) -> Option<Waits> {
        let last = self.last.borrow();
        let last = last.as_ref().filter(|last| last.forbids(credential))?;
        let look_in = last.left().map_or(LOOK, |left| left.min(LOOK));
        let is_new = last.again_at.is_none() && !self.said.replace(true);
        Some(Waits { error: last.error.clone(), look_in, is_new })
    }

    /// When the next attempt with the same credential is made, if ever.
    pub(super) fn again_in(&self) -> Option<Duration> {
        self.last.borrow().as_ref()?.left()
    }

    /// Whether one was refused, and no login succeeded since.
    pub(super) fn is_noted(&self) -> bool {
        self.last.borrow().is_some()
    }

    /// The same as [`forbids`](Self::forbids), for who does not wait because of it.
    pub(super) fn waits(&self, credential: Fingerprint) -> bool {
        self.last.borrow().as_ref().is_some_and(|last| last.forbids(credential))
    }

    /// A login succeeded.
    pub(super) fn forget(&self) {
        self.last.replace(None);
        self.backoff.borrow_mut().reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(refusal: Refusal) -> VaultError {
        VaultError::new(Failure::Refused(400, refusal), "auth/approle/login")
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_used_up_is_never_sent_again() {
        let refused = LastRefusal::new(true);
        refused.note([1; 32], &refusal(Refusal::RoleOrSecretId));
        assert!(refused.forbids([1; 32]).unwrap().is_new);
        tokio::time::advance(Duration::from_hours(24)).await;
        assert!(!refused.forbids([1; 32]).unwrap().is_new);
        assert!(refused.forbids([2; 32]).is_none());
    }

    /// Fewer than the five in a quarter of an hour that lock a role-id out, after the first
    /// minute.
    #[tokio::test(start_paused = true)]
    async fn a_server_that_may_change_its_mind_is_asked_less_and_less() {
        let refused = LastRefusal::new(true);
        let start = Instant::now();
        let mut attempts = Vec::new();
        while start.elapsed() < Duration::from_hours(4) {
            if let Some(waits) = refused.forbids([1; 32]) {
                tokio::time::advance(waits.look_in).await;
                continue;
            }
            attempts.push(start.elapsed());
            assert!(!refused.waits([1; 32]), "as whoever holds a token asks");
            refused.note([1; 32], &refusal(Refusal::Role));
        }
        assert!((20..45).contains(&attempts.len()), "{} attempts", attempts.len());
        let late = attempts.iter().filter(|at| **at > Duration::from_hours(1));
        assert!(late.count() <= 24);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_no_refusal() {
        let refused = LastRefusal::new(true);
        refused.note([1; 32], &VaultError::new(Failure::Sealed, "auth/approle/login"));
        assert!(refused.forbids([1; 32]).is_none());
    }
}
