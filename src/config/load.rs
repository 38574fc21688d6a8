//! From flags, environment and file to a [`Config`].

use std::path::PathBuf;

use toml::de::DeTable;

use super::environment::Environment;
use super::error::ConfigError;
use super::identity::Identity;
use super::report::Report;
use super::section::Section;
use super::{
    Config, ambassador, auth, callers, certificates, file, limits, listen, notify, secrets, tls,
    vault,
};

/// Where settings come from. Flags go before the environment, and the environment before the
/// file.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The configuration file; small set-ups need none.
    pub file: Option<PathBuf>,
    /// What the command line says.
    pub flags: Flags,
    /// What the environment says.
    pub environment: Environment,
}

/// Settings of the command line, as they were typed.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--secret NAME=PATH`; added to the file's, and for the same name its path wins.
    pub secrets: Vec<String>,
    /// `--listen ADDR` or `--listen @NAME`; in place of the file's `[listen]`.
    pub listen: Vec<String>,
    /// `--health-listen ADDR` or `off`; in place of the file's `[health]`.
    pub health_listen: Option<String>,
    /// `--vault-addr`.
    pub vault_addr: Option<String>,
    /// `--auth METHOD`; another method than the file's puts the whole `[auth]` out of use.
    pub auth: Option<String>,
    /// `--role`.
    pub role: Option<String>,
    /// Nobody will ask: no caller rule is needed.
    pub without_door: bool,
    /// `--unsafe-host-network`.
    pub unsafe_host_network: bool,
}

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is allowed, but should be said aloud in the log.
    pub warnings: Vec<String>,
    /// Files whose content became part of the configuration.
    pub files: Vec<PathBuf>,
}

/// Reads and checks everything, and reports all that is wrong at once.
///
/// Files that hold a credential need not exist yet, except `role_id_file` and what
/// `[identity]` refers to, whose content becomes part of the configuration.
pub fn load(sources: Sources) -> Result<Loaded, ConfigError> {
    let text = match sources.file.as_deref().map(file::read_text).transpose() {
        Ok(text) => text.unwrap_or_default(),
        Err(problem) => {
            return Err(ConfigError { file: sources.file, problems: vec![problem] });
        }
    };
    load_text(&text, sources)
}

/// [`load`], with the file's text at hand.
#[doc(hidden)]
pub fn load_text(text: &str, sources: Sources) -> Result<Loaded, ConfigError> {
    let report = Report::new(text);
    let config = read(text, &sources, &report);
    report.finish(config, sources.file)
}

/// What every reader needs.
pub(super) struct Context<'a> {
    pub(super) flags: &'a Flags,
    pub(super) environment: &'a Environment,
    pub(super) report: &'a Report,
    /// There is more to be used than the local door.
    pub(super) has_adapters: bool,
}

/// `None` only after a problem was reported.
pub(super) fn read(text: &str, sources: &Sources, report: &Report) -> Option<Config> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        report.syntax_error(error);
    }
    let mut root = Section::root(tree.get_ref(), report);
    let context = Context {
        flags: &sources.flags,
        environment: &sources.environment,
        report,
        has_adapters: root.has("adapters"),
    };
    let identity = Identity::read(root.table("identity"), &context);
    let vault = vault::read(root.table("vault"), &context);
    let auth = auth::read(root.table("auth"), vault.as_ref(), &identity, &context);
    let listen = listen::read(root.table("listen"), &context);
    let health = listen::read_health(root.table("health"), &listen, &context);
    let mut declared = secrets::read(root.table("secrets"), &identity, &context);
    let section = root.table("certificates");
    let certificates = certificates::read(section, &mut declared, &identity, &context);
    secrets::insist(&declared, &context);
    let callers = callers::read(root.tables("callers"), &declared.names, &context);
    let notify = notify::read(root.tables("notify"), &declared.names, &context);
    let limits = limits::read(root.table("limits"));
    let life = limits::read_life(root.table("life"));
    let protection = limits::read_protection(
        root.table("memory"),
        root.table("sandbox"),
        root.table("container"),
        &context,
    );
    let mut adapters = root.table("adapters");
    let others = ambassador::Others {
        secrets: &declared.names,
        certificates: &certificates,
        callers: &callers,
        listen: &listen,
        health,
    };
    let ambassadors = ambassador::read(adapters.table("ambassador"), &others, &context);
    let others = tls::Others {
        certificates: &certificates,
        listen: &listen,
        health,
        ambassadors: &ambassadors,
    };
    let tls = tls::read(adapters.table("tls"), &others, &context);
    adapters.finish();
    root.finish();

    let secrets = declared.secrets;
    Some(Config {
        vault: vault?,
        auth: auth?,
        listen,
        health,
        secrets,
        certificates,
        callers,
        notify,
        ambassadors,
        tls,
        limits,
        life,
        protection,
    })
}
