//! One fetch at a time for each thing, in a task of the cache's own: whoever asked may go away
//! without ending it for the others, and without leaving half of it in Vault's queue.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::answer::ReadError;
use super::declared::SecretKey;
use super::entry::Entry;

/// What is fetched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Flight {
    /// What is not cached yet.
    First(SecretKey),
    /// What is cached, once more.
    Again(SecretKey),
    /// What is cached, with more life.
    Living(SecretKey),
}

type Landing = Result<Arc<Entry>, ReadError>;
type UnderWay = Arc<Mutex<HashMap<Flight, watch::Receiver<Option<Landing>>>>>;

/// The fetches under way.
#[derive(Default)]
pub(super) struct Flights {
    under_way: UnderWay,
}

impl Flights {
    /// Waits for the fetch under way, or for `fetch`, which becomes it.
    ///
    /// Cancel safety: the fetch goes on.
    ///
    /// # Errors
    /// Those of the fetch; [`ReadError::Unavailable`] when it broke off.
    pub(super) async fn join(
        &self,
        tasks: &TaskTracker,
        flight: Flight,
        fetch: impl Future<Output = Landing> + Send + 'static,
    ) -> Landing {
        let mut landing = {
            let mut under_way = lock(&self.under_way);
            if let Some(landing) = under_way.get(&flight) {
                landing.clone()
            } else {
                let (sender, landing) = watch::channel(None);
                under_way.insert(flight.clone(), landing.clone());
                let landed = Landed { flight, under_way: Arc::clone(&self.under_way) };
                tasks.spawn(async move {
                    let outcome = fetch.await;
                    drop(landed);
                    sender.send_replace(Some(outcome));
                });
                landing
            }
        };
        let broke_off = || Err(ReadError::Unavailable { retry_after: None });
        match landing.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(broke_off),
            Err(_) => broke_off(),
        }
    }
}

/// Makes room for the next one, however this one ends.
struct Landed {
    flight: Flight,
    under_way: UnderWay,
}

impl Drop for Landed {
    fn drop(&mut self) {
        lock(&self.under_way).remove(&self.flight);
    }
}

fn lock(under_way: &UnderWay) -> MutexGuard<'_, HashMap<Flight, watch::Receiver<Option<Landing>>>> {
    under_way.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::config::SecretName;

    fn flight() -> Flight {
        Flight::First(SecretKey { name: SecretName::parse("a").unwrap(), version: None })
    }

    #[tokio::test(start_paused = true)]
    async fn askers_that_go_away_end_nothing_and_start_nothing() {
        let (flights, tasks, fetches) =
            (Flights::default(), TaskTracker::new(), Arc::new(AtomicUsize::new(0)));
        let fetch = || {
            let fetches = Arc::clone(&fetches);
            async move {
                fetches.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(10)).await;
                Err(ReadError::Missing)
            }
        };
        for _ in 0..100 {
            let asked = flights.join(&tasks, flight(), fetch());
            let gone = tokio::time::timeout(Duration::from_millis(50), asked).await;
            assert!(gone.is_err());
        }
        assert_eq!((fetches.load(Ordering::Relaxed), tasks.len()), (1, 1));
        let landed = flights.join(&tasks, flight(), fetch()).await;
        assert_eq!(landed.err(), Some(ReadError::Missing));
        assert_eq!(fetches.load(Ordering::Relaxed), 1);
        let _ = flights.join(&tasks, flight(), fetch()).await;
        assert_eq!(fetches.load(Ordering::Relaxed), 2, "the next one is one of its own");
    }

    #[tokio::test]
    async fn a_fetch_that_breaks_off_is_an_answer_and_makes_room() {
        let (flights, tasks) = (Flights::default(), TaskTracker::new());
        let broken = flights.join(&tasks, flight(), async { panic!("as a bug would") }).await;
        assert_eq!(broken.err(), Some(ReadError::Unavailable { retry_after: None }));
        let next = flights.join(&tasks, flight(), async { Err(ReadError::Missing) }).await;
        assert_eq!(next.err(), Some(ReadError::Missing));
    }
}
