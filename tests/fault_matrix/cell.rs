//! One cell: a sidecar, a fault, and an application that asks all the time.

use std::fmt;
use std::time::{Duration, Instant};

use crate::fault::Fault;
use crate::kind::{Kind, ROLE_ID, furnish};
use crate::support::canary::canary;
use crate::support::eventually;
use crate::support::sidecar::{Builder, Sidecar};
use crate::support::vault::{Dev, TestVault};

/// How long the fault lasts: longer than any life, so that everything dies of it that can.
const LASTS: Duration = Duration::from_secs(9);
/// A request that Vault hangs on, and what a loaded machine adds.
const SLACK: Duration = Duration::from_millis(2500);
const PAUSE: Duration = Duration::from_millis(20);

pub const HEAD: &str = "\
    | Vault | of | requests a minute | answers: fresh | stale | refused | whole again after |\n\
    | --- | --- | --: | --: | --: | --: | --: |";

/// What came of it.
pub struct Outcome {
    fault: &'static str,
    kind: &'static str,
    requests: usize,
    watched: Duration,
    fresh: usize,
    stale: usize,
    refused: usize,
    whole_after: Duration,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = (self.fresh + self.stale + self.refused).max(1);
        let share = |part: usize| format!("{} %", part * 100 / asked);
        let requests = u32::try_from(self.requests).unwrap_or(u32::MAX);
        let a_minute = f64::from(requests) * 60.0 / self.watched.as_secs_f64();
        write!(
            f,
            "| {} | {} | {a_minute:.0} | {} | {} | {} | {:.1} s |",
            self.fault,
            self.kind,
            share(self.fresh),
            share(self.stale),
            share(self.refused),
            self.whole_after.as_secs_f64()
        )
    }
}

struct Scene {
    vault: Dev,
    sidecar: Sidecar,
    token: String,
    secret_id: String,
}

fn scene(kind: &Kind) -> Scene {
    let vault = Dev::start();
    let (token, secret_id) = (canary("caller"), canary("secret-id"));
    furnish(&vault, &secret_id);
    let builder = Builder::serve()
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("SIDEKEY_TOKEN", &token);
    let file = builder.file("secret-id", &secret_id);
    let toml = format!(
        "[vault]\ntimeout = \"1s\"\n[auth]\nmethod = \"approle\"\nrole_id = \"{ROLE_ID}\"\n\
         secret_id_file = \"{file}\"\n{}",
        kind.toml
    );
    let sidecar = builder.config(&toml).start();
    Scene { vault, sidecar, token, secret_id }
}

pub fn run(fault: &Fault, kind: &Kind) -> Outcome {
    let scene = scene(kind);
    let get = || scene.sidecar.get(kind.served, &scene.token);
    let first = get().text();
    // A renewal has been, so that the token is no new one.
    std::thread::sleep(Duration::from_secs(1));
    let before = scene.vault.server.requests().len();
    fault.begin(&scene.vault, (kind.requests)());
    let since = Instant::now();
    let mut outcome = Outcome {
        fault: fault.name,
        kind: kind.name,
        requests: 0,
        watched: LASTS,
        fresh: 0,
        stale: 0,
        refused: 0,
        whole_after: Duration::ZERO,
    };
    let mut last_bad = Duration::ZERO;
    while since.elapsed() < LASTS {
        let asked = since.elapsed();
        let answer = get();
        match (answer.status, answer.header("sidekey-freshness")) {
            (200, freshness) => {
                let counted = if freshness == Some("stale") {
                    &mut outcome.stale
                } else {
                    &mut outcome.fresh
                };
                *counted += 1;
                let given_before = answer.text() == first;
                check_life(fault, kind, given_before, asked);
                let dead = given_before && fault.ends(kind);
                if dead || freshness != Some("fresh") {
                    last_bad = asked;
                }
                let left = answer.header("sidekey-expires-in");
                assert!(left.is_none_or(|left| left.parse::<u64>().is_ok()), "{left:?}");
            }
            (404 | 503, _) => (outcome.refused, last_bad) = (outcome.refused + 1, asked),
            (502, _) if answer.code() == "upstream_malformed" => {
                (outcome.refused, last_bad) = (outcome.refused + 1, asked);
            }
            (status, _) => panic!("{status}: {}", answer.text()),
        }
        std::thread::sleep(PAUSE);
    }
    outcome.watched = since.elapsed();
    outcome.requests = scene.vault.server.requests().len() - before;
    check_ceiling(&outcome);
    fault.end(&scene.vault, &scene.secret_id);
    let ended = Instant::now();
    eventually(&format!("{} × {} to be whole again", fault.name, kind.name), || {
        let answer = get();
        (answer.header("sidekey-freshness") == Some("fresh")).then_some(())
    });
    // What happens in a moment is over at once; then it counts from there.
    outcome.whole_after = if fault.lasts() { ended.elapsed() } else { last_bad };
    scene.sidecar.stop();
    outcome
}

/// Never an expired value: what Vault does not confirm any more is not served past its life, and
/// what it does not know any more not past the next look at it.
fn check_life(fault: &Fault, kind: &Kind, given_before: bool, asked: Duration) {
    if fault.lasts() {
        // Every value, for no other is to be had; it was confirmed at most now.
        assert!(asked < kind.longest + SLACK, "served {asked:?} after the last confirmation");
    } else if given_before && fault.ends(kind) {
        assert!(asked < kind.next_look + SLACK, "served {asked:?} after its end");
    }
}

/// Whatever happens: ten at once, and five a second.
fn check_ceiling(outcome: &Outcome) {
    let most = 10 + 5 * (usize::try_from(outcome.watched.as_secs()).unwrap() + 1);
    assert!(outcome.requests <= most, "{} requests in {:?}", outcome.requests, outcome.watched);
}
