//! More secrets than secret memory holds, under the usual limit and without rights.

use std::fmt::Write as _;

use serde_json::json;

use super::mode::Mode;
use super::secrets::random;
use super::stage::Stage;
use super::support::eventually;
use super::support::needle::Needles;
use super::support::sidecar::{Builder, Sidecar};
use super::support::vault::{Dev, TestVault};

const SECRETS: usize = 12;
const SIZE: usize = 900 << 10;

struct Scene {
    sidecar: Sidecar,
    needles: Needles,
    token: String,
}

fn scene(vault: &Dev, config: &str) -> Scene {
    let mut needles = Needles::default();
    let mut config = format!("{config}\n[vault]\nmax_requests_per_second = 100\n");
    for n in 0..SECRETS {
        let block = random("v", 3062);
        let value = block.repeat(SIZE / block.len());
        needles.add(&format!("value {n}"), block.as_bytes());
        vault.put(&format!("n{n}"), json!({ "value": value }));
        let _ = writeln!(config, "[secrets.n{n}]\npath = \"secret/data/n{n}\"\nrequired = false");
    }
    let (token, root) = (random("t", 50), vault.root_token());
    needles.add("SIDEKEY_TOKEN", token.as_bytes());
    needles.add("VAULT_TOKEN", root.as_bytes());
    let sidecar = Builder::serve()
        .config(&config)
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &root)
        .env("SIDEKEY_TOKEN", &token)
        .uid(65534)
        .memlock(8 << 20)
        .start();
    Scene { sidecar, needles, token }
}

fn read(sidecar: &Sidecar, token: &str, n: usize) -> u16 {
    sidecar.get(&format!("/secrets/n{n}/value"), token).status
}

fn spilled(sidecar: &Sidecar) -> u64 {
    let text = sidecar.health("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix("sidekey_memory_spilled "));
    line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

/// All are served, and the log and a metric say that not all of that was in secret memory.
pub fn is_said() {
    let vault = Dev::start();
    let Scene { sidecar, token, .. } = scene(&vault, "");
    let capped = sidecar
        .wait_for("the cache is as large as secret memory allows, raise RLIMIT_MEMLOCK for more");
    assert_eq!(capped["bytes"], 2 << 20, "{capped}");
    assert_eq!(spilled(&sidecar), 0);
    (0..SECRETS).for_each(|n| assert_eq!(read(&sidecar, &token, n), 200, "{n}"));
    let said = sidecar
        .wait_for("secret memory ran out, raise RLIMIT_MEMLOCK: root can read some plaintext");
    assert_eq!(said["level"], "WARN", "{said}");
    assert!(spilled(&sidecar) > 0);
    sidecar.stop();
}

/// What has no room is not served, and nothing of it stays anywhere; later on it may have room.
pub fn is_refused_where_secret_memory_is_required() {
    let vault = Dev::start();
    let Scene { sidecar, needles, token } = scene(&vault, "[memory]\nrequire_secret_memory = true");
    let stage = Stage::new("shortage", Mode::Protected, sidecar, needles);
    let statuses: Vec<_> = (0..SECRETS).map(|n| read(&stage.sidecar, &token, n)).collect();
    eprintln!("{statuses:?}, {} spilled", spilled(&stage.sidecar));
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&200) && statuses.contains(&503), "{statuses:?}");
    stage.at_rest("after more was read than there is room for");
    assert!(stage.sidecar.stderr().contains("no room in secret memory"), "the log says why");
    // Once what made room is gone, and Vault is asked again.
    let refused = statuses.iter().position(|status| *status == 503).unwrap();
    let served = || (read(&stage.sidecar, &token, refused) == 200).then_some(());
    eventually(&format!("room for value {refused}: {}", stage.sidecar.stderr()), served);
    stage.at_rest("after one of them found room");
    stage.end().stop();
}
