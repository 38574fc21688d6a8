//! Running the engine's command line.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// What is missing for the cases with docker, if anything is.
pub fn missing_docker() -> Option<String> {
    if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) != 0 {
        return Some("takes root".into());
    }
    // docker-compose's own `version` takes a second.
    let compose = ["sh", "-c", "command -v docker-compose"];
    for program in [&["docker", "info"][..], &compose, &["busybox", "true"]] {
        let status = Command::new(program[0])
            .args(&program[1..])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !status.is_ok_and(|status| status.success()) {
            return Some(format!("takes {}", program.join(" ")));
        }
    }
    if !attempt("docker", &["image", "inspect", &image()]).status.success() {
        return Some(format!("takes the image {}: just image", image()));
    }
    None
}

/// The image under test.
pub fn image() -> String {
    std::env::var("SIDEKEY_IMAGE").unwrap_or_else(|_| "sidekey".into())
}

/// The images around it, built once.
pub fn images() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/containers/images.sh");
        let output = Command::new(script).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    });
}

/// Runs a program to its end, whatever that is.
pub fn attempt(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).stdin(Stdio::null()).output().unwrap()
}

/// Runs docker; it has to succeed. Returns what it printed.
pub fn docker(args: &[&str]) -> String {
    succeed("docker", args)
}

/// Runs a program; it has to succeed. Returns what it printed.
pub fn succeed(program: &str, args: &[&str]) -> String {
    let output = attempt(program, args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Status, and everything that was said.
pub fn said(program: &str, args: &[&str]) -> (i32, String) {
    let output = attempt(program, args);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

/// What `docker inspect` tells anybody who may ask the engine.
pub fn inspect(container: &str) -> Value {
    let told: Value = serde_json::from_str(&docker(&["inspect", container])).unwrap();
    told[0].clone()
}

/// The main process of a container, as the host numbers it.
pub fn pid(container: &str) -> String {
    inspect(container)["State"]["Pid"].to_string()
}

/// Files under `folder` that hold one of `needles`, found by a search of all their bytes.
pub fn search(needles: &[String], folder: &str) -> Vec<String> {
    // Mounted layers show the same files again; the kernel's own folders hold none.
    let output = Command::new("grep")
        .args([
            "-rlaF",
            "-D",
            "skip",
            "--exclude-dir=merged",
            "--exclude-dir=proc",
            "--exclude-dir=sys",
        ])
        .args(needles.iter().flat_map(|needle| ["-e", needle]))
        .arg(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}
