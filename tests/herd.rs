//! Many sidecars that come back together, and how often Vault is asked in the worst second: with
//! the waits of this crate, and with the same waits without their random part. Time is paused, so
//! that hours take a moment. `just herd` prints the table.

#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a failed expectation fails")]

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use std::{cell::RefCell, ops::Range};

use sidekey::lease::{Backoff, Bucket, after_late_login, refresh_after, spread};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

const SIDECARS: usize = 200;
const NAMES: usize = 5;
const REFRESH: Duration = Duration::from_mins(1);
const CAP: Duration = Duration::from_mins(1);

/// The waits, with their random part or without it.
#[derive(Clone, Copy, PartialEq)]
enum Waits {
    Jittered,
    Bare,
}

impl Waits {
    fn retry(self, backoff: &mut Backoff) -> Duration {
        let step = Duration::from_secs(1 << backoff.failures().min(6)).min(CAP);
        let wait = backoff.after_failure(None);
        if self == Self::Jittered { wait } else { step }
    }

    fn refresh(self) -> Duration {
        if self == Self::Jittered { refresh_after(REFRESH) } else { REFRESH.mul_f64(0.95) }
    }

    /// At the start, between login and the first read of the name with this number.
    fn start(self, name: usize) -> Duration {
        let over = Duration::from_millis(20) * u32::try_from(name).unwrap();
        if self == Self::Jittered { spread(over) } else { Duration::ZERO }
    }

    /// After a login that came late, for a name with a value that is served meanwhile.
    fn late(self) -> Duration {
        let left = Some(Duration::from_hours(1));
        if self == Self::Jittered { after_late_login(left) } else { Duration::ZERO }
    }
}

/// What all of them talk to.
struct Vault {
    start: Instant,
    away: Range<Duration>,
    /// Tokens of before do not survive it.
    tokens_die: bool,
    /// Requests by second.
    asked: RefCell<BTreeMap<u64, usize>>,
    /// When each name of each sidecar was first read after Vault came back.
    whole: RefCell<Vec<Duration>>,
}

impl Vault {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// A request, under the sidecar's own ceiling; whether it was answered.
    async fn ask(&self, ceiling: &Bucket) -> bool {
        let Ok(wait) = ceiling.take(Duration::from_secs(10)) else { return false };
        sleep(wait).await;
        *self.asked.borrow_mut().entry(self.now().as_secs()).or_default() += 1;
        !self.away.contains(&self.now())
    }

    fn is_logged_out(&self, login: Duration) -> bool {
        self.tokens_die && login < self.away.start && self.now() >= self.away.start
    }
}

struct Sidecar {
    vault: Rc<Vault>,
    waits: Waits,
    /// As in the crate: two per second of rate at once, and a fifth for the session, whose share
    /// is not told apart here.
    ceiling: Bucket,
    /// When the token was got; changes wake the names.
    login: tokio::sync::watch::Sender<Option<Duration>>,
}

impl Sidecar {
    async fn keep_logged_in(&self, start: Duration) {
        sleep(spread(start)).await;
        let mut backoff = Backoff::new(Duration::from_secs(1), CAP);
        loop {
            if self.vault.ask(&self.ceiling).await {
                backoff.reset();
                let now = self.vault.now();
                self.login.send_replace(Some(now));
                // A token of an hour; it is found dead by whoever uses it.
                while !self.vault.is_logged_out(now) {
                    sleep(Duration::from_secs(1)).await;
                }
                self.login.send_replace(None);
            }
            sleep(self.waits.retry(&mut backoff)).await;
        }
    }

    async fn keep_fresh(&self, name: usize) {
        let mut login = self.login.subscribe();
        let mut backoff = Backoff::new(Duration::from_secs(1), CAP);
        login.wait_for(Option::is_some).await.unwrap();
        sleep(self.waits.start(name)).await;
        let mut whole = false;
        loop {
            if login.borrow_and_update().is_none() {
                login.wait_for(Option::is_some).await.unwrap();
                sleep(self.waits.late()).await;
            }
            if self.vault.ask(&self.ceiling).await {
                if !whole && self.vault.now() >= self.vault.away.end {
                    whole = true;
                    let after = self.vault.now().saturating_sub(self.vault.away.end);
                    self.vault.whole.borrow_mut().push(after);
                }
                backoff.reset();
                sleep(self.waits.refresh()).await;
            } else {
                sleep(self.waits.retry(&mut backoff)).await;
            }
        }
    }
}

/// One scene, played for half an hour.
struct Scene {
    name: &'static str,
    /// When they start, all in the same instant, and when Vault is away.
    away: Range<Duration>,
    tokens_die: bool,
    /// `vault.start_jitter`
    start: Duration,
    /// What is counted: from here on.
    from: Duration,
}

struct Outcome {
    peak: usize,
    whole_after: Duration,
}

fn play(scene: &Scene, waits: Waits) -> Outcome {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let vault = Rc::new(Vault {
            start: Instant::now(),
            away: scene.away.clone(),
            tokens_die: scene.tokens_die,
            asked: RefCell::default(),
            whole: RefCell::default(),
        });
        let start = if waits == Waits::Jittered { scene.start } else { Duration::ZERO };
        for _ in 0..SIDECARS {
            let sidecar = Rc::new(Sidecar {
                vault: Rc::clone(&vault),
                waits,
                ceiling: Bucket::new(Duration::from_millis(200), 10),
                login: tokio::sync::watch::Sender::new(None),
            });
            for name in 0..NAMES {
                let sidecar = Rc::clone(&sidecar);
                tokio::task::spawn_local(async move { sidecar.keep_fresh(name).await });
            }
            tokio::task::spawn_local(async move { sidecar.keep_logged_in(start).await });
        }
        sleep(Duration::from_mins(30)).await;
        let asked = vault.asked.borrow();
        let peak = *asked.range(scene.from.as_secs()..).map(|(_, n)| n).max().unwrap();
        let whole = vault.whole.borrow();
        assert_eq!(whole.len(), SIDECARS * NAMES, "every name came back");
        let whole_after = *whole.iter().max().unwrap();
        Outcome { peak, whole_after }
    })
}

const fn minutes(from: u64, to: u64) -> Range<Duration> {
    Duration::from_mins(from)..Duration::from_mins(to)
}

const NOT_AWAY: Range<Duration> = Duration::ZERO..Duration::ZERO;

const NO_START: Duration = Duration::ZERO;

const SCENES: [Scene; 6] = [
    Scene {
        name: "all start, Vault is there",
        away: NOT_AWAY,
        tokens_die: false,
        start: NO_START,
        from: Duration::ZERO,
    },
    Scene {
        name: "the same with `start_jitter = \"30s\"`",
        away: NOT_AWAY,
        tokens_die: false,
        start: Duration::from_secs(30),
        from: Duration::ZERO,
    },
    Scene {
        name: "all started together, and run",
        away: NOT_AWAY,
        tokens_die: false,
        start: NO_START,
        from: Duration::from_mins(5),
    },
    Scene {
        name: "all start while Vault is away, for 5 min",
        away: minutes(0, 5),
        tokens_die: false,
        start: NO_START,
        from: Duration::from_mins(5),
    },
    Scene {
        name: "all run, Vault was away for 5 min",
        away: minutes(10, 15),
        tokens_die: false,
        start: NO_START,
        from: Duration::from_mins(15),
    },
    Scene {
        name: "the same, and every token is dead",
        away: minutes(10, 15),
        tokens_die: true,
        start: NO_START,
        from: Duration::from_mins(15),
    },
];

#[test]
fn jitter_takes_the_herd_apart() {
    let second = |after: Duration| format!("{:.0} s", after.as_secs_f64().ceil());
    println!(
        "| {SIDECARS} sidecars with {NAMES} names each | peak without jitter | peak with it | \
         all fresh after, without | with |\n| --- | --: | --: | --: | --: |"
    );
    for scene in &SCENES {
        let (bare, jittered) = (play(scene, Waits::Bare), play(scene, Waits::Jittered));
        println!(
            "| {} | {}/s | {}/s | {} | {} |",
            scene.name,
            bare.peak,
            jittered.peak,
            second(bare.whole_after),
            second(jittered.whole_after)
        );
        let is_start = scene.from.is_zero() && scene.start.is_zero();
        // A start is not held back for others: there the two are alike.
        assert!(is_start || jittered.peak * 4 <= bare.peak, "{}", scene.name);
        assert!(jittered.whole_after < Duration::from_mins(3), "{}", scene.name);
    }
}
