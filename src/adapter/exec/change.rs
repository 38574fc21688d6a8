//! Noticing that a value is another one, and having it ready before anything is done about it.

use tokio::time::{Duration, sleep, timeout};

use super::supply::{Fingerprint, Supply, Value};
use super::{Exec, OnChange, Start, fingerprints};
use crate::error::Error;

/// For values that were there a moment ago.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What the program is to have in the place of what it has.
pub(super) enum Next<'a> {
    /// Another start of it.
    Start(Box<Start>),
    /// Other files.
    Files(Vec<Value<'a>>),
}

/// What the program has, and what it could not be given.
pub(super) struct Known {
    pub(super) has: Vec<Fingerprint>,
    refused: Option<Vec<Fingerprint>>,
}

impl Known {
    pub(super) fn new(has: Vec<Fingerprint>) -> Self {
        Self { has, refused: None }
    }

    /// Worth being tried. What is gone for the moment is no change yet.
    fn is_news(&self, seen: &[Fingerprint]) -> bool {
        seen != self.has
            && self.refused.as_deref() != Some(seen)
            && !seen.contains(&Fingerprint::Gone)
    }
}

/// The next values, once there are some that stay the same for the debounce time. `complain` is
/// told of those that cannot be used, once, and with them the program keeps what it has.
///
/// Cancel safety: a change is found again.
pub(super) async fn next<'a>(
    exec: &'a Exec,
    supply: &Supply,
    known: &mut Known,
    complain: impl Fn(&Error),
) -> Next<'a> {
    let mut fetches = supply.fetches();
    loop {
        fetches.mark_unchanged();
        let seen = changed(exec, supply, known).await;
        match timeout(AT_ONCE, ready(exec, supply, &known.has)).await {
            Ok(Ok(Some(next))) => return next,
            // The same as before after all.
            Ok(Ok(None)) => {}
            Ok(Err(error)) => {
                complain(&error);
                known.refused = Some(seen);
            }
            // What cannot be had at once may be there after the next fetch.
            Err(_) => fetched(&mut fetches).await,
        }
    }
}

/// Everything that the change takes, so that nothing is begun that cannot be ended.
async fn ready<'a>(
    exec: &'a Exec,
    supply: &Supply,
    has: &[Fingerprint],
) -> Result<Option<Next<'a>>, Error> {
    let values = supply.values(&exec.wanted).await?;
    if fingerprints(&values) == has {
        return Ok(None);
    }
    Ok(Some(match exec.on_change {
        OnChange::Signal(_) => Next::Files(values),
        OnChange::Restart | OnChange::Nothing => Next::Start(Box::new(Start::new(exec, &values)?)),
    }))
}

/// What there is, once it is news and stays the same for the debounce time.
async fn changed(exec: &Exec, supply: &Supply, known: &Known) -> Vec<Fingerprint> {
    let mut fetches = supply.fetches();
    let mut seen = supply.fingerprints(&exec.wanted);
    loop {
        if known.is_news(&seen) {
            sleep(exec.debounce).await;
            let now = supply.fingerprints(&exec.wanted);
            if now == seen {
                return seen;
            }
            seen = now;
        } else {
            fetched(&mut fetches).await;
            seen = supply.fingerprints(&exec.wanted);
        }
    }
}

async fn fetched(fetches: &mut tokio::sync::watch::Receiver<u64>) {
    if fetches.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::EtagKey;

    #[test]
    fn what_is_news() {
        let key = EtagKey::random().unwrap();
        let of = |text: &str| Fingerprint::Of(key.tag(text.as_bytes()));
        let mut known = Known::new(vec![of("user"), of("password")]);
        assert!(!known.is_news(&[of("user"), of("password")]));
        assert!(!known.is_news(&[of("user"), Fingerprint::Gone]));
        assert!(known.is_news(&[of("user"), of("another")]));
        let lacking = vec![of("user"), Fingerprint::Lacking];
        assert!(known.is_news(&lacking));
        known.refused = Some(lacking.clone());
        assert!(!known.is_news(&lacking), "said once");
        assert!(known.is_news(&[of("other user"), Fingerprint::Lacking]));
    }
}
