//! The thread that makes keystores, and the line before it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{KeystorePassword, Order, Unmade, make};
use crate::memory::{SecretBuf, in_ordinary_memory, keep_thread_secret, scrub};

/// How many may be under way or in line: about a second's work.
const PLACES: usize = 32;

/// Lives in secret memory as long as that has room, and so is no larger than needed.
const STACK: usize = 256 << 10;

/// Makes one keystore after another, so that their derivations take one processor at most and
/// never one that serves. The thread starts with the first keystore, unless
/// [`start`](Self::start) was called before, and ends with the last reference.
pub struct KeystoreThread {
    places: Arc<Semaphore>,
    orders: Mutex<Option<Sender<Job>>>,
}

/// A keystore.
#[derive(Debug)]
pub struct Made {
    /// The file.
    pub keystore: SecretBuf,
    /// Its password, where the order had none.
    pub generated: Option<KeystorePassword>,
}

struct Job {
    order: Order,
    reply: oneshot::Sender<Result<Made, Unmade>>,
    /// Given back when the job is done, or was given up and is skipped.
    _place: OwnedSemaphorePermit,
}

impl Default for KeystoreThread {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)), orders: Mutex::new(None) }
    }
}

impl KeystoreThread {
    /// Starts the thread, so that its stack counts with the rest of secret memory.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(&self) -> std::io::Result<()> {
        self.sender().map(drop)
    }

    fn sender(&self) -> std::io::Result<Sender<Job>> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*orders {
            return Ok(sender.clone());
        }
        in_ordinary_memory(|| {
            let (sender, line) = channel();
            let thread = std::thread::Builder::new().name("keystore".into()).stack_size(STACK);
            thread.spawn(move || keep_thread_secret(|| work(&line)))?;
            *orders = Some(sender.clone());
            Ok(sender)
        })
    }

    /// The keystore, when its turn comes.
    ///
    /// Cancel safety: one that is given up in line is not made.
    ///
    /// # Errors
    /// [`Unmade::Busy`] at once when the line is full.
    pub async fn make(&self, order: Order) -> Result<Made, Unmade> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Unmade::Busy)?;
        let (reply, made) = oneshot::channel();
        let job = Job { order, reply, _place: place };
        self.sender().map_err(|_| Unmade::System)?.send(job).map_err(|_| Unmade::System)?;
        made.await.map_err(|_| Unmade::System)?
    }
}

fn work(line: &Receiver<Job>) {
    loop {
        scrub();
        let Ok(job) = line.recv() else { return };
        if !job.reply.is_closed() {
            let Job { order, reply, _place } = job;
            // A panic ends the one keystore, whose asker is told by the dropped `reply`.
            if let Ok(made) = catch_unwind(AssertUnwindSafe(|| complete(order))) {
                let _ = reply.send(made);
            }
        }
    }
}

fn complete(order: Order) -> Result<Made, Unmade> {
    if let Some(password) = &order.password {
        return Ok(Made { keystore: make(&order, password)?, generated: None });
    }
    let password = KeystorePassword::generate()?;
    Ok(Made { keystore: make(&order, &password)?, generated: Some(password) })
}

#[cfg(test)]
impl KeystoreThread {
    /// Takes all places in line, until what is returned is dropped.
    pub(crate) fn fill(&self) -> OwnedSemaphorePermit {
        let places = u32::try_from(PLACES).unwrap();
        Arc::clone(&self.places).try_acquire_many_owned(places).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{KeystoreForm, Profile};
    use super::*;
    use crate::certificate::tests::served_with;

    fn order(password: Option<&str>) -> Order {
        Order {
            secret: Arc::new(served_with(rcgen::KeyPair::generate().unwrap())),
            alias: "web".into(),
            form: KeystoreForm::ALL[0],
            profile: Profile::Modern,
            password: password.map(|text| KeystorePassword::parse(text.as_bytes()).unwrap()),
        }
    }

    async fn all_places_come_back(thread: &KeystoreThread) {
        let places = u32::try_from(PLACES).unwrap();
        assert!(thread.places.acquire_many(places).await.is_ok());
    }

    #[tokio::test]
    async fn a_password_is_generated_where_none_is_given() {
        let thread = KeystoreThread::default();
        let given = thread.make(order(Some("canary"))).await.unwrap();
        assert!(given.generated.is_none() && !given.keystore.is_empty());
        let generated = thread.make(order(None)).await.unwrap();
        assert_eq!(generated.generated.unwrap().expose().len(), 32);
    }

    #[tokio::test]
    async fn a_full_line_is_refused_at_once() {
        let thread = KeystoreThread::default();
        let places = thread.fill();
        assert_eq!(thread.make(order(None)).await.unwrap_err(), Unmade::Busy);
        drop(places);
        assert!(thread.make(order(None)).await.is_ok());
    }

    /// A crowd gets a place or a refusal, and all places come back.
    #[tokio::test]
    async fn the_line_is_never_longer_than_its_places() {
        let thread = Arc::new(KeystoreThread::default());
        let mut askers = tokio::task::JoinSet::new();
        for _ in 0..PLACES * 2 {
            let thread = Arc::clone(&thread);
            askers.spawn(async move { thread.make(order(None)).await.map(drop) });
        }
        let outcomes = askers.join_all().await;
        assert!(outcomes.iter().filter(|outcome| outcome.is_ok()).count() >= PLACES);
        assert!(outcomes.iter().all(|it| matches!(it, Ok(()) | Err(Unmade::Busy))));
        all_places_come_back(&thread).await;
    }

    #[tokio::test]
    async fn what_is_given_up_gives_its_place_back() {
        let thread = KeystoreThread::default();
        for _ in 0..PLACES {
            let mut asked = Box::pin(thread.make(order(None)));
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            // Under way, in line or done already: whichever it is, nobody waits for it.
            let _ = asked.as_mut().poll(&mut cx);
        }
        all_places_come_back(&thread).await;
    }
}
