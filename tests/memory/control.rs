//! The search can find what is there.
#![allow(unsafe_code, reason = "keeps a value in a register alone")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::mode::Mode;
use super::moments::engine;
use super::secrets::{add_ec_key, client_certificate, own_tls};
use super::stage::{self, Stage};
use super::support::canary::canary;
use super::support::needle::Needles;
use super::support::scan;
use super::support::sidecar::Builder;
use super::support::vault::{Dev, TestVault};

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In the environment and in the arguments of a child, and in the registers of another.
pub fn planted() {
    let (by_env, by_arg) = (canary("planted-env"), canary("planted-arg"));
    let mut needles = Needles::new([("environment", &*by_env), ("argument", &*by_arg)]);
    let child = Command::new("sh")
        .args(["-c", "read -r line", "sh", &by_arg])
        .env("PLANTED", &by_env)
        .stdin(Stdio::piped())
        .spawn();
    let child = Killed(child.unwrap());
    stage::settle(child.0.id());
    let found = scan::process(child.0.id(), &needles);
    for name in ["environment", "argument"] {
        let whole = found.hits.iter().filter(|hit| hit.found.canary == name && hit.found.full);
        assert!(whole.count() > 0, "{name}: {found}");
    }

    needles.add("register", &REGISTER);
    let helper = Command::new(std::env::current_exe().unwrap())
        .arg("helper=registers")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut helper = Killed(helper.unwrap());
    let mut line = String::new();
    BufReader::new(helper.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    let found = scan::process(helper.0.id(), &needles);
    let hits = found.hits.iter().filter(|hit| hit.place.starts_with("vector registers"));
    assert!(!cfg!(target_arch = "x86_64") || hits.count() > 0, "{found}");
}

/// What the helper computes and keeps in one register.
const REGISTER: [u8; 16] = *b"CANARY7f3a-regis";

pub fn hold_in_registers() {
    let value = u128::from_le_bytes(REGISTER);
    println!("holding");
    let _ = std::io::stdout().flush();
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads one local value, and then does nothing for ever.
    unsafe {
        std::arch::asm!(
            "movdqu xmm9, [{value}]", "2:", "pause", "jmp 2b",
            value = in(reg) &raw const value, out("xmm9") _, options(nostack)
        );
    }
    let _ = value;
}

/// A descriptor of secret memory that stays open is noticed.
pub fn open_descriptor() {
    use std::os::fd::{FromRawFd as _, OwnedFd};
    // SAFETY: a plain system call.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let fd = i32::try_from(fd).unwrap();
    assert!(fd >= 0, "this kernel has no secret memory: {}", std::io::Error::last_os_error());
    // SAFETY: a descriptor of our own.
    let open = unsafe { OwnedFd::from_raw_fd(fd) };
    assert_eq!(stage::secret_descriptors(std::process::id()).len(), 1);
    drop(open);
}

/// A sidecar that the kernel gives no memory of the kind keeps what it has where the search
/// finds it: the rest of these tests would see a leak.
pub fn plain() {
    let vault = Dev::start_tls(own_tls());
    let password = canary("password");
    vault.put("app", json!({ "password": password }));
    engine(&vault);
    let (token, root) = (canary("caller"), vault.root_token());
    let mut needles =
        Needles::new([("value", &*password), ("caller token", &*token), ("vault token", &*root)]);
    let builder = Builder::serve();
    let client = client_certificate(&builder, &mut needles);
    let sidecar = builder
        .config(&format!(
            "[vault]\n{client}\n[secrets.db]\npath = \"secret/data/app\"\n\
             [certificates.web]\nrole = \"ec\"\ncommon_name = \"a.example.io\"\nttl = \"1h\"\n"
        ))
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_SKIP_VERIFY", "true")
        .env("VAULT_TOKEN", &root)
        .env("SIDEKEY_TOKEN", &token)
        .uid(65534)
        .memlock(0)
        .start();
    assert_eq!(sidecar.get("/secrets/db/password", &token).status, 200);
    let key = sidecar.get("/certificates/web/key.pem", &token);
    assert_eq!(key.status, 200, "{}", key.text());
    add_ec_key(&mut needles, "certificate key", &key.text());
    let stage = Stage::new("plain", Mode::Protected, sidecar, needles);
    let found = stage.look("idle after fetch");
    eprintln!("{}", found.places());
    // As PEM, whose lines are parts of it; nothing else of its making is left.
    let of_key = found.hits.iter().filter(|hit| hit.found.canary == "certificate key");
    assert!(of_key.count() >= 2, "{found}");
    for name in ["value", "caller token", "vault token", "client key"] {
        let whole = found.hits.iter().filter(|hit| hit.found.canary == name && hit.found.full);
        assert!(whole.count() > 0, "{name}: {found}");
    }
    assert_eq!(found.secret_bytes(), 0);
}
