//! Running the engine's command line.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::support::canary::canary;
use crate::support::is_root;

/// What is missing for the cases with docker, if anything is.
pub fn missing_docker() -> Option<String> {
    if !is_root() {
        return Some("root".into());
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
            return Some(program.join(" "));
        }
    }
    if !attempt("docker", &["image", "inspect", &image()]).status.success() {
        return Some(format!("the image {} (just image)", image()));
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

/// Files under `folder` that hold one of `needles`, found by a search of all their bytes. One that
/// is known to hold `mark` has to be among what is found, so that finding nothing else means
/// something: `grep` alone has the same status for a file that vanished and for a folder that it
/// could not read.
pub fn search(needles: &[String], folder: &str, mark: &str, marked: &str) -> Vec<String> {
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
        .args(needles.iter().map(String::as_str).chain([mark]).flat_map(|needle| ["-e", needle]))
        .arg(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let found = String::from_utf8_lossy(&output.stdout);
    assert!(found.lines().any(|file| file.ends_with(marked)), "{folder}: no {marked}; {said}");
    let holds = |file: &&str| {
        let bytes = std::fs::read(file).unwrap_or_default();
        let holds = |needle: &str| bytes.windows(needle.len()).any(|w| w == needle.as_bytes());
        // What is gone again was found for a reason.
        bytes.is_empty() || needles.iter().any(|needle| holds(needle)) || !holds(mark)
    };
    found.lines().filter(holds).map(str::to_owned).collect()
}

/// [`search`] of the engine's whole folder, where a mark is left for it meanwhile.
pub fn search_engine(needles: &[String]) -> Vec<String> {
    let folder = docker(&["info", "-f", "{{.DockerRootDir}}"]);
    let mark = canary("mark");
    let mut file = tempfile::NamedTempFile::new_in(&folder).unwrap();
    std::io::Write::write_all(&mut file, mark.as_bytes()).unwrap();
    let name = file.path().file_name().unwrap().to_string_lossy().into_owned();
    search(needles, &folder, &mark, &name)
}
