//! Dumps of the whole process.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::json;

use super::client::Client;
use super::mode::Mode;
use super::secrets::random;
use super::stage::{Stage, settle};
use super::support::needle::Needles;
use super::support::scan;
use super::support::sidecar::{Builder, program};
use super::support::trials::Component;
use super::support::vault::{Dev, TestVault};
use super::support::{eventually, in_ci, limits};

const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";

/// In CI the test makes the setting itself.
pub const CORE_FILE: Component =
    Component::new("core_pattern = core", || in_ci() || kernel_writes_core());

/// Whether the kernel writes a core file beside the process.
fn kernel_writes_core() -> bool {
    let pattern = std::fs::read_to_string(CORE_PATTERN).unwrap_or_default();
    pattern.trim() == "core"
}

/// The machine's setting, put back when dropped. It is changed where it has to be, which is in CI
/// alone: elsewhere the test is not run then.
struct CorePattern(Option<Vec<u8>>);

impl CorePattern {
    fn beside_the_process() -> Self {
        if kernel_writes_core() {
            return Self(None);
        }
        let before = std::fs::read(CORE_PATTERN).unwrap();
        std::fs::write(CORE_PATTERN, "core").expect("to set core_pattern");
        Self(Some(before))
    }
}

impl Drop for CorePattern {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            std::fs::write(CORE_PATTERN, before).expect("to put core_pattern back");
        }
    }
}

/// A sidecar that served its secret, with a connection still open.
fn loaded(vault: &Dev, change: impl FnOnce(Builder) -> Builder) -> (Stage, Client) {
    let (value, by_env, root) = (random("v", 100), random("t", 50), vault.root_token());
    vault.put("app", json!({ "value": value }));
    let needles =
        Needles::new([("value", &*value), ("SIDEKEY_TOKEN", &*by_env), ("VAULT_TOKEN", &*root)]);
    // A core is written by the process itself, which the sandbox would keep from it.
    let mut builder = Builder::serve()
        .config("[sandbox]\nenabled = false")
        .args(&["--secret", "app=secret/data/app"])
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &root)
        .env("SIDEKEY_TOKEN", &by_env);
    let folder = builder.folder().to_owned();
    builder.command().current_dir(folder);
    let stage = Stage::new("dump", Mode::Protected, change(builder).start(), needles);
    let host = stage.addr().to_string();
    let mut client = Client::tcp(stage.addr(), &by_env);
    for _ in 0..100 {
        assert_eq!(client.get(&host, "/secrets/app/value"), 200);
    }
    settle(stage.sidecar.pid());
    (stage, client)
}

fn gdb(pid: u32, commands: &[&str]) {
    let mut gdb = Command::new("gdb");
    gdb.args(["-batch", "-nx", "-p", &pid.to_string()]);
    for command in commands {
        gdb.args(["-ex", command]);
    }
    let said = gdb.stdin(Stdio::null()).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

/// Root may attach a debugger and have it write what it can read.
pub fn by_debugger() {
    let vault = Dev::start();
    let (stage, _client) = loaded(&vault, |builder| builder);
    let image = stage.sidecar.path("image");
    gdb(stage.sidecar.pid(), &[&format!("gcore {}", image.display())]);
    let found = scan::file(&image, &program(), &stage.needles.borrow());
    eprintln!("an image of {} KiB", found.bytes >> 10);
    found.assert_nothing("image by gdb");
    stage.end();

    let plain = [(libc::SYS_memfd_secret, None), (libc::SYS_mlock, None)];
    let (stage, _client) = loaded(&vault, |builder| builder.refused(&plain, libc::EPERM));
    let image = stage.sidecar.path("image");
    gdb(stage.sidecar.pid(), &[&format!("gcore {}", image.display())]);
    let found = scan::file(&image, &program(), &stage.needles.borrow());
    let (copies, _) = found.copies_and_fragments();
    assert!(copies >= 3, "the search of an image finds nothing in one that holds all: {found}");
}

/// The kernel writes no core of this process; and where it lets the process not turn that off,
/// the core lacks the secret memory. Without that memory it does hold the value.
pub fn by_kernel() {
    let _pattern = CorePattern::beside_the_process();
    let vault = Dev::start();
    let (stage, _client) = loaded(&vault, unlimited_core);
    assert_eq!(killed(&stage), None, "a core file in spite of the protection");

    let prlimit = (libc::SYS_prlimit64, Some((1, u64::from(libc::RLIMIT_CORE))));
    let prctl = (libc::SYS_prctl, Some((0, libc::PR_SET_DUMPABLE.unsigned_abs().into())));
    let dumpable =
        |builder: Builder| unlimited_core(builder).refused(&[prlimit, prctl], libc::EPERM);
    let (stage, _client) = loaded(&vault, dumpable);
    let core = killed(&stage).expect("a core file");
    let found = scan::file(&core, &program(), &stage.needles.borrow());
    eprintln!("a core of {} KiB", found.bytes >> 10);
    found.assert_nothing("core by the kernel");

    let plain = [prlimit, prctl, (libc::SYS_memfd_secret, None), (libc::SYS_mlock, None)];
    let unprotected = |builder: Builder| unlimited_core(builder).refused(&plain, libc::EPERM);
    let (stage, _client) = loaded(&vault, unprotected);
    let core = killed(&stage).expect("a core file");
    let found = scan::file(&core, &program(), &stage.needles.borrow());
    let (copies, _) = found.copies_and_fragments();
    assert!(
        copies >= 3,
        "the search of a core finds nothing in one that holds everything: {found}"
    );
}

fn unlimited_core(mut builder: Builder) -> Builder {
    limits::core(builder.command(), libc::RLIM_INFINITY);
    builder
}

/// Ends the process with `SIGABRT`; the core file that it left.
fn killed(stage: &Stage) -> Option<PathBuf> {
    stage.sidecar.signal(6);
    let pid = stage.sidecar.pid();
    eventually("its end", || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.contains("State:\tZ").then_some(())
    });
    let files = std::fs::read_dir(stage.sidecar.path(".")).unwrap().flatten();
    let named = |file: &std::fs::DirEntry| file.file_name().to_string_lossy().starts_with("core");
    files.filter(named).map(|file| file.path()).next()
}
