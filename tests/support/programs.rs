//! Programs of the machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where a program is: on PATH, or where Debian keeps servers.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([Path::new("/usr/sbin").to_owned()]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// Whether it is there.
pub fn has(name: &str) -> bool {
    program(name).is_some()
}

/// Whether it can be run.
pub fn runs(name: &str) -> bool {
    says(name, "--version", "")
}

/// Whether it ends well, and says `word` when it is asked this.
pub fn says(name: &str, argument: &str, word: &str) -> bool {
    let said = Command::new(name).arg(argument).stdin(Stdio::null()).output();
    said.is_ok_and(|said| {
        said.status.success() && String::from_utf8_lossy(&said.stdout).contains(word)
    })
}

/// A Python with this module: Debian's may not be the first one on the path.
pub fn python_with(module: &str) -> Option<&'static str> {
    ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let import = Command::new(python).args(["-c", &format!("import {module}")]).output();
        import.is_ok_and(|import| import.status.success())
    })
}

/// What the `build.sh` of `tests/NAME` put into the cache.
pub fn built(name: &str) -> Option<PathBuf> {
    let folder = |variable| std::env::var_os(variable).map(PathBuf::from);
    let cache = folder("SIDEKEY_TEST_CACHE").or_else(|| {
        let home = || Some(folder("HOME")?.join(".cache"));
        Some(folder("XDG_CACHE_HOME").or_else(home)?.join("sidekey"))
    })?;
    let prefix = format!("{name}-");
    let entries = std::fs::read_dir(cache).ok()?.flatten();
    let named = entries.filter(|e| e.file_name().to_string_lossy().starts_with(&prefix));
    named.map(|e| e.path().join(name)).find(|path| path.is_file())
}

/// Chromium without a window, a past, or a way out, for which `name` is this host.
pub fn chromium(home: &Path, name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("chromium");
    command
        .env("HOME", home)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", home.join("profile").display()))
        .arg(format!("--host-resolver-rules=MAP {name} 127.0.0.1"))
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}
