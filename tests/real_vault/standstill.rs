//! A Vault that stands still, comes back sealed, or comes back with nothing, under an application
//! that reads all the time.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::server::{ROLE_ID, Server, secret_id};
use crate::support::canary::canary;
use crate::support::eventually;
use crate::support::sidecar::{Builder, Sidecar};
use crate::support::vault::TestVault;
use crate::watch::{Seen, Watch};

/// How long Vault is away.
const AWAY: Duration = Duration::from_secs(8);
/// `brief` may be this old; `lasting` outlives everything here.
const BRIEF: Duration = Duration::from_secs(1 + 2);
/// One request that hangs, and what a loaded machine adds.
const SLACK: Duration = Duration::from_secs(2);

struct Scene {
    vault: Server,
    sidecar: Sidecar,
    token: String,
    value: String,
    watches: [Watch; 2],
}

fn scene(vault: Server) -> Scene {
    let value = canary("value");
    vault.put("app", json!({ "password": value }));
    let token = canary("caller");
    let builder = Builder::serve()
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("SIDEKEY_TOKEN", &token);
    let file = builder.file("secret-id", &secret_id());
    let secret = |name: &str, max_stale: &str| {
        format!(
            "[secrets.{name}]\npath = \"secret/data/app\"\nrefresh = \"1s\"\n\
             max_stale = \"{max_stale}\"\n"
        )
    };
    let toml = format!(
        "[vault]\ntimeout = \"1s\"\n[auth]\nmethod = \"approle\"\nrole_id = \"{ROLE_ID}\"\n\
         secret_id_file = \"{file}\"\n{}{}",
        secret("lasting", "1h"),
        secret("brief", "2s")
    );
    let sidecar = builder.config(&toml).start();
    let addr = sidecar.addr();
    let watches = ["lasting", "brief"].map(|name| Watch::start(addr, name, &token));
    Scene { vault, sidecar, token, value, watches }
}

impl Scene {
    fn until_fresh(&self, value: &str) {
        for name in ["lasting", "brief"] {
            eventually(&format!("{name} to be fresh"), || {
                let answer = self.sidecar.get(&format!("/secrets/{name}/password"), &self.token);
                let fresh = answer.header("sidekey-freshness") == Some("fresh");
                (fresh && answer.text() == value).then_some(())
            });
        }
    }

    /// Ends the application; what it saw of each name.
    fn finish(self) -> [Vec<Seen>; 2] {
        let seen = self.watches.map(Watch::stop);
        self.sidecar.stop();
        seen
    }
}

/// Nothing but the value; refusals only of what had grown too old, and no longer than Vault was
/// away and the next retry took.
fn check(seen: &[Vec<Seen>; 2], value: &str, gone: Instant, back: Instant) {
    let [lasting, brief] = seen;
    for answer in lasting {
        assert_eq!((answer.status, &*answer.text), (200, value), "{answer:?}");
    }
    for answer in brief {
        if answer.is_value() {
            assert_eq!(answer.text, value);
            let too_late = (gone + BRIEF + SLACK..back).contains(&answer.at);
            assert!(!too_late, "served {:?} after Vault went", answer.at - gone);
        } else {
            assert_eq!(answer.status, 503, "{answer:?}");
            let since_gone = answer.at.saturating_duration_since(gone);
            assert!(since_gone + Duration::from_secs(1) >= BRIEF, "refused after {since_gone:?}");
            let since_back = answer.at.saturating_duration_since(back);
            assert!(
                since_back < Duration::from_secs(10),
                "refused {since_back:?} after the return"
            );
        }
    }
    assert!(brief.iter().any(|answer| !answer.is_value()), "Vault was not away");
    assert!(lasting.iter().any(|answer| !answer.fresh), "nothing was marked stale");
}

pub fn stopped_and_continued() {
    let scene = scene(Server::in_memory());
    let gone = Instant::now();
    scene.vault.signal("STOP");
    std::thread::sleep(AWAY);
    let back = Instant::now();
    scene.vault.signal("CONT");
    let value = scene.value.clone();
    scene.until_fresh(&value);
    check(&scene.finish(), &value, gone, back);
}

pub fn sealed_and_unsealed() {
    let mut scene = scene(Server::on_disk());
    let gone = Instant::now();
    scene.vault.restart();
    std::thread::sleep(AWAY.saturating_sub(gone.elapsed()));
    let back = Instant::now();
    scene.vault.unseal();
    let value = scene.value.clone();
    scene.until_fresh(&value);
    // Its token was on disk too: nobody had to log in again.
    let logins = scene.sidecar.events();
    assert_eq!(logins.iter().filter(|e| e["message"] == "logged in to Vault").count(), 1);
    check(&scene.finish(), &value, gone, back);
}

/// Then nothing that was is valid any more: not the token, and not the secret.
pub fn restarted_empty() {
    let mut scene = scene(Server::in_memory());
    scene.vault.restart();
    std::thread::sleep(AWAY);
    let back = Instant::now();
    scene.vault.furnish();
    let (first, second) = (scene.value.clone(), canary("second"));
    scene.vault.put("app", json!({ "password": second }));
    scene.until_fresh(&second);
    for seen in scene.finish() {
        let mut changed = false;
        for answer in &seen {
            if answer.is_value() {
                changed |= answer.text == second;
                let wanted = if changed { &second } else { &first };
                assert_eq!(&answer.text, wanted, "{answer:?}");
            } else {
                assert!(matches!(answer.status, 404 | 503), "{answer:?}");
                let since_back = answer.at.saturating_duration_since(back);
                assert!(since_back < Duration::from_secs(25), "refused {since_back:?} later");
            }
        }
        assert!(changed);
    }
}
