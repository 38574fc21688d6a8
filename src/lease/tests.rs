//! The contract as a whole, against an outage: time is paused, and the schedule runs on it.

use std::fmt::Write as _;

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;

/// One life under the schedule: what an outage from `from` to `until` did to it.
struct Outcome {
    survived: bool,
    attempts: usize,
}

/// Keeps something of `ttl` alive that is renewed or replaced, whole again after each success.
async fn keep(ttl: Duration, kind: Kind, outage: (Duration, Duration), until: Duration) -> Outcome {
    let start = Instant::now();
    let step = match kind {
        Kind::Renewable => renew_after,
        Kind::Replaced => replace_after,
    };
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));
    let (mut ends, mut wait, mut attempts) = (start + ttl, step(ttl), 0);
    while start.elapsed() < until {
        tokio::time::sleep(wait).await;
        attempts += 1;
        if Instant::now() >= ends {
            return Outcome { survived: false, attempts };
        }
        if (outage.0..outage.1).contains(&start.elapsed()) {
            let left = ends - Instant::now();
            wait = backoff.after_failure_with(None, Some(left));
        } else {
            backoff.reset();
            ends = Instant::now() + ttl;
            wait = step(ttl);
        }
    }
    Outcome { survived: true, attempts }
}

fn paused<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(future)
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Renewable), Just(Kind::Replaced)]
}

proptest! {
    /// Wherever it begins, an outage no longer than promised ends no life.
    #[test]
    fn a_promised_outage_is_survived(
        ttl in 15u64..200_000,
        begin in 0.0f64..3.0,
        share in 0.0f64..=1.0,
        kind in kind(),
    ) {
        let ttl = Duration::from_secs(ttl);
        let from = ttl.mul_f64(begin);
        let lasts = outage_survived(ttl, kind).mul_f64(share);
        let outcome = paused(keep(ttl, kind, (from, from + lasts), ttl * 5));
        prop_assert!(outcome.survived, "{kind:?} of {ttl:?}, out for {lasts:?} from {from:?}");
    }

    /// However long it lasts, it is no storm: the retries of one life are few.
    #[test]
    fn an_endless_outage_costs_few_attempts(ttl in 3u64..200_000, kind in kind()) {
        let ttl = Duration::from_secs(ttl);
        let for_ever = (Duration::ZERO, Duration::MAX);
        let outcome = paused(keep(ttl, kind, for_ever, ttl * 2));
        prop_assert!(!outcome.survived);
        // Doubling to a minute, then at least one in half a minute, then quarters of the rest.
        let most = 8 + ttl.as_secs() / 3 / 30 + 40;
        prop_assert!(outcome.attempts as u64 <= most, "{} in {ttl:?}", outcome.attempts);
    }

    /// Nothing is asked for in the first half of its life.
    #[test]
    fn a_healthy_vault_is_asked_rarely(ttl in 1u64..200_000, kind in kind()) {
        let ttl = Duration::from_secs(ttl);
        let outcome = paused(keep(ttl, kind, (Duration::MAX, Duration::MAX), ttl * 12));
        prop_assert!(outcome.survived);
        prop_assert!(outcome.attempts <= 21, "{} in twelve lives", outcome.attempts);
    }

    #[test]
    fn a_late_login_is_no_reason_to_wait_for_what_is_missing(left in 0u64..100_000) {
        prop_assert_eq!(after_late_login(None), Duration::ZERO);
        let left = Duration::from_millis(left);
        prop_assert!(after_late_login(Some(left)) <= (left / 2).min(Duration::from_secs(5)));
    }
}

/// An outage that is longer than promised, by as much as the retries leave room for, is not.
#[test]
fn the_promise_is_no_understatement() {
    let ttl = Duration::from_hours(1);
    let died = (0..50).filter(|_| {
        let from = Duration::from_mins(36);
        let lasts = Duration::from_mins(24);
        !paused(keep(ttl, Kind::Renewable, (from, from + lasts), ttl * 3)).survived
    });
    assert_eq!(died.count(), 50);
}

/// `1h`, `20m`, `19m59s`: as the README writes durations.
fn written(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let mut left = seconds;
    let mut text = String::new();
    for (size, unit) in units {
        if left >= size {
            write!(text, "{}{unit}", left / size).unwrap();
            left %= size;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

/// The README's table is what the code computes.
#[test]
fn the_table_of_outages_is_true() {
    const LIVES: [u64; 8] = [60, 300, 900, 3600, 8 * 3600, 86_400, 7 * 86_400, 32 * 86_400];
    let row = |seconds: &u64| {
        let ttl = Duration::from_secs(*seconds);
        let survives = |kind| written(outage_survived(ttl, kind));
        let (renewed, replaced) = (survives(Kind::Renewable), survives(Kind::Replaced));
        format!("| {} | {renewed} | {replaced} |", written(ttl))
    };
    let table = LIVES.iter().map(row).collect::<Vec<_>>().join("\n");
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&table), "README.md should have these rows:\n{table}");
}
