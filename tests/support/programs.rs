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
