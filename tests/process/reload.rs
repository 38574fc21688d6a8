//! SIGHUP.

use serde_json::json;

use crate::support::canary::canary;
use crate::support::eventually;
use crate::support::sidecar::{Builder, Sidecar};
use crate::support::vault::{Dev, TestVault};

struct Running {
    vault: Dev,
    sidecar: Sidecar,
    old: String,
    new: String,
}

const SECRETS: &str = "[secrets.db]\npath = \"secret/data/db\"\n\
    [secrets.web]\npath = \"secret/data/web\"\n";
const OLD_CALLER: &str = "[[callers]]\nname = \"old\"\ntoken_env = \"OLD\"\nallow = [\"*\"]\n";

fn start() -> Running {
    let vault = Dev::start();
    for name in ["db", "web", "mail"] {
        vault.put(name, json!({ "password": canary(name) }));
    }
    let (old, new) = (canary("old"), canary("new"));
    let builder = Builder::serve().on_free_ports();
    let file = builder.file("new-token", &format!("{new}\n"));
    assert!(file.ends_with("new-token"));
    let sidecar = builder
        .config(&format!("{SECRETS}{OLD_CALLER}"))
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .env("OLD", &old)
        .start();
    Running { vault, sidecar, old, new }
}

impl Running {
    fn reload(&self, toml: &str, event: &str) {
        let said = || self.sidecar.events().iter().filter(|e| e["message"] == event).count();
        let before = said();
        std::fs::write(self.sidecar.path("sidekey.toml"), toml).unwrap();
        self.sidecar.signal(1);
        eventually(event, || (said() > before).then_some(()));
    }

    fn status(&self, name: &str, token: &str) -> u16 {
        self.sidecar.get(&format!("/secrets/{name}"), token).status
    }
}

#[test]
fn callers_and_names_change_at_once() {
    let running = start();
    let (old, new) = (&running.old, &running.new);
    assert_eq!((running.status("db", old), running.status("web", old)), (200, 200));
    assert_eq!((running.status("mail", old), running.status("db", new)), (404, 401));

    let file = running.sidecar.path("new-token");
    let toml = format!(
        "[secrets.db]\npath = \"secret/data/db\"\n[secrets.mail]\npath = \"secret/data/mail\"\n\
         [[callers]]\nname = \"new\"\ntoken_file = \"{}\"\nallow = [\"db\", \"mail\"]\n",
        file.display()
    );
    running.reload(&toml, "configuration reloaded");
    assert_eq!((running.status("db", new), running.status("mail", new)), (200, 200));
    assert_eq!(running.status("web", new), 403, "dropped");
    assert_eq!(running.status("db", old), 401, "the old caller is gone");
    let names = running.sidecar.get("/secrets", new).text();
    assert!(names.contains("mail") && !names.contains("web"), "{names}");
    assert_eq!(running.sidecar.health("/readyz").status, 200);

    // The same login is kept: there was one, and no second one.
    assert_eq!(running.vault.server.count("GET", "auth/token/lookup-self"), 1);

    // A name that comes back is read anew.
    let before = running.vault.server.count("GET", "secret/data/web");
    running.reload(&format!("{SECRETS}{OLD_CALLER}"), "configuration reloaded");
    assert_eq!((running.status("web", old), running.status("mail", old)), (200, 404));
    assert_eq!(running.vault.server.count("GET", "secret/data/web"), before + 1);
    running.sidecar.stop();
}

#[test]
fn a_path_that_changes_is_read_from_where_it_is_now() {
    let running = start();
    let before = running.sidecar.get("/secrets/db/password", &running.old).text();
    let toml = format!("{}{OLD_CALLER}", SECRETS.replace("data/db", "data/mail"));
    running.reload(&toml, "configuration reloaded");
    let after = running.sidecar.get("/secrets/db/password", &running.old);
    assert_eq!(after.status, 200);
    assert!(after.text() != before && after.text().contains("mail"));
    running.sidecar.stop();
}

#[test]
fn a_bad_file_is_reported_and_changes_nothing() {
    let running = start();
    let refused = "configuration refused, the running one stays";
    for bad in [
        "[secrets.db",
        "[secrets.db]\npath = \"secret/data/db\"\n",
        &format!("{SECRETS}{OLD_CALLER}[listen]\ntcp = \"0.0.0.0:1\"\n"),
        &format!("{SECRETS}{OLD_CALLER}[vault]\nca_cert = \"/no/such/file\"\n"),
        "",
    ] {
        running.reload(bad, refused);
        let (db, web) = (running.status("db", &running.old), running.status("web", &running.old));
        assert_eq!((db, web), (200, 200), "{bad}");
    }
    std::fs::remove_file(running.sidecar.path("sidekey.toml")).unwrap();
    running.sidecar.signal(1);
    let refusals = || {
        let events = running.sidecar.events();
        events.into_iter().filter(|e| e["message"] == refused).collect::<Vec<_>>()
    };
    let all = eventually("the sixth refusal", || Some(refusals()).filter(|all| all.len() == 6));
    assert!(all[2]["error"].as_str().unwrap().contains("0.0.0.0:1"), "{:?}", all[2]);
    assert!(all[5]["error"].as_str().unwrap().contains("sidekey.toml"), "{:?}", all[5]);
    assert_eq!(running.status("db", &running.old), 200);
    assert_eq!(running.sidecar.health("/readyz").status, 200);
    running.sidecar.stop();
}

#[test]
fn listeners_stay_and_that_is_said() {
    let running = start();
    let toml = format!("{SECRETS}{OLD_CALLER}[limits]\nmax_connections = 7\n");
    running.reload(&toml, "configuration reloaded");
    let only = "changed, and in force after a restart: limits.max_connections";
    running.sidecar.wait_for(only);
    assert_eq!(running.status("db", &running.old), 200);
    running.sidecar.stop();
}
