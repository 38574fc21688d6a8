//! A program with a sidecar inside: no second process, the same guards, the same memory.
//!
//! The Vault here is the embedded dev server, so that `cargo run --example embed` needs
//! nothing else. It ends by itself, after it has asked for its own secret.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use sidekey::app::App;
use sidekey::config::{self, Environment, Flags, Sources};
use sidekey::dev::{DevOptions, DevServer};
use sidekey::lifecycle::Shutdown;
use sidekey::memory::{self, SecretBuf, WipingAllocator};
use sidekey::observe::Style;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

// What the program frees is wiped, as in the `sidekey` binary.
#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator;

const TOKEN: &str = "the token of this example's caller";

fn main() -> Result<(), Box<dyn Error>> {
    memory::harden();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_park(memory::scrub)
        .build()?
        .block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let vault = DevServer::start(DevOptions::default()).await?;
    let fields = serde_json::json!({ "password": "correct horse battery staple" });
    vault.seed_kv2("secret/app", fields.as_object().cloned().unwrap_or_default());

    // The same as flags and environment variables of `sidekey serve`. `file` takes a path.
    let secret = |text: &str| Arc::new(SecretBuf::copy_from(text.as_bytes()));
    let loaded = config::load(Sources {
        flags: Flags {
            secrets: vec!["db=secret/data/app".into()],
            listen: vec!["127.0.0.1:0".into()],
            health_listen: Some("off".into()),
            vault_addr: Some(vault.url()),
            ..Flags::default()
        },
        environment: Environment {
            secrets: BTreeMap::from([
                ("VAULT_TOKEN".into(), secret(vault.root_token())),
                ("SIDEKEY_TOKEN".into(), secret(TOKEN)),
            ]),
            ..Environment::default()
        },
        file: None,
    })?;

    // Bound, so the address is known; served once `run` is polled.
    let sidecar = App::build(loaded.config, Style::Human).await?;
    let addr = *sidecar.tcp_addrs().first().ok_or("no TCP listener")?;
    let shutdown = Shutdown::new();
    let program = async {
        let password = get(addr, "/secrets/db/password").await;
        shutdown.stop();
        password
    };
    let (stopped, password) = tokio::join!(sidecar.run(shutdown.clone()), program);
    stopped?;
    writeln!(std::io::stdout(), "password: {}", password?)?;
    vault.stop().await;
    Ok(())
}

/// Any HTTP client will do; this one is the shortest.
async fn get(addr: SocketAddr, path: &str) -> Result<String, Box<dyn Error>> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {TOKEN}\r\n\
         Connection: close\r\n\r\n"
    );
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => Err(answer.lines().next().unwrap_or("no answer").into()),
    }
}
