//! `sidekey dev`: a Vault-compatible server and the sidecar in one process, memory only.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::utf8_percent_encode;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Map, Value};

use super::get::SEGMENT;
use super::serve::{listen_to_signals, run_until_stopped};
use crate::app::{App, Bound};
use crate::cli::{DevArgs, LogArgs};
use crate::config::{
    self, CertificateSpec, Environment, Flags, KeyOrigin, KeyType, SecretName, Sources, VaultPath,
};
use crate::dev::{DevOptions, DevServer};
use crate::error::Error;
use crate::memory::{SecretBuf, take_token};
use crate::observe::event;

/// The example certificate, its role and its host name.
const CERTIFICATE: &str = "localhost";

/// Where it listens when nobody else does.
const USUAL: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7433));

type Seeds = BTreeMap<String, Map<String, Value>>;

pub(super) fn run(args: &DevArgs, log: &LogArgs) -> Result<(), Error> {
    let given = take_token("SIDEKEY_TOKEN");
    let seeds = seeds(&args.secrets)?;
    let style = log.init();
    let runtime = super::runtime(super::workers())?;
    let outcome = runtime.block_on(async {
        let signals = listen_to_signals()?;
        let no_server = |source| Error::System { what: "cannot start the dev server", source };
        let server = DevServer::start(DevOptions::default()).await.map_err(no_server)?;
        for (name, fields) in &seeds {
            server.seed_kv2(&format!("secret/{name}"), fields.clone());
        }
        let generated = if given.is_some() { None } else { Some(random_token()?) };
        let token = given
            .or_else(|| generated.as_ref().map(|token| SecretBuf::copy_from(token.as_bytes())));
        let sources = sources(&server, &seeds, args, token);
        let mut config = config::load(sources)?.config;
        let is_usual = args.health_listen.is_none();
        if config.health.is_some_and(|addr| is_usual && !is_free(addr)) {
            config.health = Some((Ipv4Addr::LOCALHOST, 0).into());
        }
        if !seeds.contains_key(CERTIFICATE) {
            server.seed_pki(CERTIFICATE).map_err(no_server)?;
            config.certificates.extend(example_certificate());
        }
        // Whoever changes a value here wants to see it.
        config.secrets.values_mut().for_each(|spec| spec.refresh = Duration::from_secs(1));
        let bound = App::build(config, style).await?;
        if args.listen.is_empty() && !bound.tcp_addrs().contains(&USUAL) {
            event::usual_address_taken(USUAL);
        }
        super::print(welcome(&server, &bound, &seeds, generated.as_deref()).as_bytes())?;
        // Nothing to reload: SIGHUP says that the terminal is gone.
        let outcome = run_until_stopped(bound, signals, None).await;
        server.stop().await;
        outcome
    });
    runtime.shutdown_background();
    outcome
}

/// `NAME.FIELD=VALUE` by name; an example when there is none.
fn seeds(given: &[String]) -> Result<Seeds, Error> {
    let mut seeds = Seeds::new();
    for seed in given {
        let parts = seed.split_once('=').and_then(|(key, value)| {
            let (name, field) = key.rsplit_once('.')?;
            (!field.is_empty()).then_some((SecretName::parse(name)?, field, value))
        });
        let Some((name, field, value)) = parts else {
            // The value is not repeated in the message.
            let key = seed.split_once('=').map(|(key, _)| format!(" {key}=…"));
            let key = key.unwrap_or_default();
            return Err(Error::Usage(format!("--secret{key}: expected NAME.FIELD=VALUE")));
        };
        let fields = seeds.entry(name.to_string()).or_default();
        fields.insert(field.into(), Value::from(value));
    }
    if seeds.is_empty() {
        let mut fields = Map::new();
        fields.insert("username".into(), "alice".into());
        fields.insert("password".into(), "correct horse battery staple".into());
        seeds.insert("example".into(), fields);
    }
    Ok(seeds)
}

fn sources(server: &DevServer, seeds: &Seeds, args: &DevArgs, token: Option<SecretBuf>) -> Sources {
    let root = SecretBuf::copy_from(server.root_token().as_bytes());
    let mut secrets = BTreeMap::from([("VAULT_TOKEN".to_owned(), Arc::new(root))]);
    if let Some(token) = token {
        secrets.insert("SIDEKEY_TOKEN".into(), Arc::new(token));
    }
    let listen = match args.listen.as_slice() {
        [] if is_free(USUAL) => vec![USUAL.to_string()],
        [] => vec!["127.0.0.1:0".into()],
        given => given.to_vec(),
    };
    Sources {
        file: None,
        flags: Flags {
            without_door: false,
            secrets: seeds.keys().map(|name| format!("{name}=secret/data/{name}")).collect(),
            listen,
            health_listen: args.health_listen.clone(),
            vault_addr: Some(server.url()),
            auth: Some("token".into()),
            role: None,
            unsafe_host_network: true,
        },
        environment: Environment { secrets, ..Environment::default() },
    }
}

/// Good for servers on this machine; issued when somebody asks for it.
fn example_certificate() -> Option<(SecretName, CertificateSpec)> {
    let spec = CertificateSpec {
        mount: VaultPath::parse("pki")?,
        role: CERTIFICATE.into(),
        common_name: CERTIFICATE.into(),
        alt_names: Vec::new(),
        ip_sans: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        uri_sans: Vec::new(),
        ttl: None,
        key: KeyOrigin::Local(KeyType::P256),
        renew_at_percent: 67,
        required: false,
        revoke: true,
        revoke_replaced_after: None,
    };
    Some((SecretName::parse(CERTIFICATE)?, spec))
}

/// Only a guess: another process may take it in the meantime, which binding reports then.
fn is_free(addr: SocketAddr) -> bool {
    TcpListener::bind(addr).is_ok()
}

fn random_token() -> Result<String, Error> {
    let mut bytes = [0u8; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::System {
        what: "no randomness from the kernel",
        source: std::io::Error::other("getrandom failed"),
    })?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

fn welcome(server: &DevServer, bound: &Bound, seeds: &Seeds, generated: Option<&str>) -> String {
    let token = generated.unwrap_or("$SIDEKEY_TOKEN");
    let quote = if generated.is_some() { '\'' } else { '"' };
    let place = match (bound.tcp_addrs().first(), bound.unix_name()) {
        (Some(addr), _) => Some((String::new(), format!("http://{addr}"))),
        (None, Some(name)) => {
            let option = format!("--abstract-unix-socket {} ", shell_word(name.as_str()));
            Some((option, "http://localhost".to_owned()))
        }
        (None, None) => None,
    };
    let curl = place.zip(seeds.iter().next()).map(|((option, origin), (name, fields))| {
        let ask = |path: String| {
            let url = shell_word(&format!("{origin}{path}"));
            format!("  curl -H {quote}Authorization: Bearer {token}{quote} {option}{url}\n")
        };
        let field = fields.keys().next().map(String::as_str).unwrap_or_default();
        let secret = ask(format!("/secrets/{name}/{}", utf8_percent_encode(field, SEGMENT)));
        if seeds.contains_key(CERTIFICATE) {
            return secret;
        }
        secret + &ask(format!("/certificates/{CERTIFICATE}/bundle.pem"))
    });
    format!(
        "A Vault-compatible server, in memory only:\n\n  export VAULT_ADDR={} VAULT_TOKEN={}\n\n\
         Its secrets through sidekey:\n\n{}\nCtrl-C stops both, and everything is gone.\n",
        server.url(),
        server.root_token(),
        curl.unwrap_or_default(),
    )
}

/// Quoted where a shell would read more than a word: zsh takes `[::1]` for a pattern.
fn shell_word(text: &str) -> String {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"@%+=:,./-_".contains(&c);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_by_name_and_field() {
        let given = ["db.user=a".into(), "db.password=x=y.z".into(), "a.b.c=1".into()];
        let seeds = seeds(&given).unwrap();
        assert_eq!(seeds["db"]["password"], "x=y.z");
        assert_eq!(seeds["a.b"]["c"], "1");
    }

    #[test]
    fn a_bad_seed_is_named_without_its_value() {
        let error = seeds(&["db=canary".into()]).unwrap_err().to_string();
        assert!(error.contains("db") && !error.contains("canary"), "{error}");
        assert!(seeds(&["db.=canary".into()]).is_err());
        let error = seeds(&["db.password:canary".into()]).unwrap_err().to_string();
        assert!(!error.contains("canary"), "{error}");
    }
}
