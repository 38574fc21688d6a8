//! The command line. No logic.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::filter::LevelFilter;

use clap::builder::Resettable;
use clap::{Arg, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::config::{NotifySignal, parse_duration};
use crate::observe::{Style, init_log};

/// A credential-serving localhost sidecar for Vault: a URL instead of a file.
#[derive(Debug, Parser)]
#[command(name = "sidekey", version, max_term_width = 100, arg_required_else_help = true)]
#[command(
    after_help = "Exit status: 0 ok, 1 no answer or no value, 64 usage, 69 Vault cannot be reached at start-up, \
    70 internal, 71 cannot bind, or not the protection that is required, 77 Vault refused the login, 78 configuration."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to log.
    #[command(flatten)]
    pub log: LogArgs,
}

impl Cli {
    /// From the arguments and the environment, where an empty variable counts as unset: compose
    /// files write `SIDEKEY_CONFIG: ${CONFIG:-}`.
    ///
    /// # Errors
    /// What the arguments lack or have too much, and what `--help` and `--version` print.
    pub fn read() -> Result<Self, clap::Error> {
        Self::from_arg_matches(&without_empty_variables(Self::command()).try_get_matches()?)
    }
}

fn without_empty_variables(command: clap::Command) -> clap::Command {
    #[expect(clippy::disallowed_methods, reason = "whether it is empty; clap reads the value")]
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let without = |arg: Arg| match arg.get_env() {
        Some(name) if is_empty(name) => arg.env(Resettable::Reset),
        _ => arg,
    };
    command.mut_args(without).mut_subcommands(without_empty_variables)
}

/// How to log.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// Form of the log lines on stderr.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Human, env = "SIDEKEY_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// Least severe level that is logged.
    #[arg(long, global = true, value_enum, default_value_t = LogLevel::Info, env = "SIDEKEY_LOG_LEVEL")]
    pub log_level: LogLevel,
}

impl LogArgs {
    /// Starts the log; what asks for a log a second time keeps the first.
    pub(crate) fn init(&self) -> Style {
        let style = match self.log_format {
            LogFormat::Human => Style::Human,
            LogFormat::Json => Style::Json,
        };
        let level = match self.log_level {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
        };
        let _ = init_log(style, level);
        style
    }
}

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Least severe level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What has to be seen to.
    Error,
    /// What may have to be seen to.
    Warn,
    /// What happens.
    Info,
    /// Each fetch, connection and decision.
    Debug,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the configured secrets on loopback.
    Serve(ServeArgs),
    /// Start an embedded Vault-compatible server and serve from it: no set-up, memory only.
    #[cfg(feature = "dev")]
    Dev(DevArgs),
    /// Ask a running sidecar for a secret and print the value alone.
    Get(GetArgs),
    /// Run a program with values in its environment, and look after it.
    Exec(ExecArgs),
    /// Report every problem of the configuration at once.
    Check(CheckArgs),
    /// Ask a running sidecar for its health: exit status 0 or 1.
    Health(HealthArgs),
    /// Print shell completions.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Args)]
pub struct SourceArgs {
    /// Configuration file (TOML). Small set-ups need only the flags below.
    #[arg(long, short, value_name = "FILE", env = "SIDEKEY_CONFIG")]
    pub config: Option<PathBuf>,
    /// Serve PATH of Vault under NAME; repeatable.
    #[arg(long = "secret", value_name = "NAME=PATH")]
    pub secrets: Vec<String>,
    /// Address of the Vault server.
    #[arg(long, value_name = "URL")]
    pub vault_addr: Option<String>,
    /// Login method.
    #[arg(long, value_name = "METHOD", value_parser = ["token", "approle", "kubernetes", "jwt", "cert"])]
    pub auth: Option<String>,
    /// Role to log in to.
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
}

/// What the sidecar serves, and where.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// The configuration.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Listen here; repeatable.
    #[arg(
        long,
        value_name = "ADDR",
        help = "Listen here: 127.0.0.1:PORT, [::1]:PORT or @NAME; repeatable"
    )]
    pub listen: Vec<String>,
    /// Serve health and metrics here instead of 127.0.0.1:7434; `off` for nowhere.
    #[arg(long, value_name = "ADDR")]
    pub health_listen: Option<String>,
    /// Serve even though loopback is that of a whole host: caller rules alone then protect.
    #[arg(long)]
    pub unsafe_host_network: bool,
}

/// Arguments of `sidekey dev`.
#[cfg(feature = "dev")]
#[derive(Debug, Args)]
pub struct DevArgs {
    /// Seed the server with a value; repeatable. Without any there is an example.
    #[arg(long = "secret", value_name = "NAME.FIELD=VALUE")]
    pub secrets: Vec<String>,
    /// Listen here instead of 127.0.0.1:7433.
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<String>,
    /// Serve health and metrics here instead of 127.0.0.1:7434; `off` for nowhere.
    #[arg(long, value_name = "ADDR")]
    pub health_listen: Option<String>,
}

/// Arguments of `sidekey get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// What to read.
    #[arg(value_name = "NAME[/FIELD]")]
    pub what: String,
    /// NAME is a certificate, and FIELD one of its forms: cert.pem, key.pem, bundle.pem, … or a
    /// keystore, whose password is that of the variable `SIDEKEY_KEYSTORE_PASSWORD`.
    #[arg(long, conflicts_with = "format")]
    pub certificate: bool,
    /// How a keystore.p12 or truststore.p12 is encrypted; `legacy` for Java before 8u301.
    #[arg(long, value_name = "PROFILE", requires = "certificate", value_parser = ["modern", "legacy"])]
    pub profile: Option<String>,
    /// The sidecar: http://127.0.0.1:PORT, or unix:@NAME.
    #[arg(
        long,
        value_name = "ADDR",
        env = "SIDEKEY_ADDR",
        default_value = "http://127.0.0.1:7433"
    )]
    pub addr: String,
    /// Form of a whole secret.
    #[arg(long, value_name = "FORMAT", value_parser = ["json", "env", "yaml", "properties"])]
    pub format: Option<String>,
    /// Wait this long for a sidecar that is not there or has no value yet.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub wait: Duration,
    /// Go on, and print the value again each time it changes, one to a line.
    #[arg(long)]
    pub watch: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let is_number = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let unit = if is_number { format!(": for seconds write {text}s") } else { String::new() };
    parse_duration(text).ok_or_else(|| format!("expected a duration such as 90s, 5m or 1h{unit}"))
}

/// Arguments of `sidekey exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The configuration; no caller rule is needed, since nobody can ask.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Put a value into the program's environment; without a field, the whole secret as JSON.
    /// Repeatable.
    #[arg(long, value_name = "VAR=NAME[/FIELD]")]
    pub env: Vec<String>,
    /// Put a value into a file in memory that the program inherits, and its path into VAR.
    /// Repeatable.
    #[arg(long, value_name = "VAR=NAME[/FIELD]")]
    pub file: Vec<String>,
    /// End the program and start it again when a value of its changes.
    #[arg(long)]
    pub restart_on_change: bool,
    /// Write the files anew and send this signal when a value changes: HUP, USR1, USR2, …
    #[arg(long, value_name = "SIGNAL", value_parser = notify_signal, conflicts_with = "restart_on_change")]
    pub signal_on_change: Option<NotifySignal>,
    /// How long nothing else may change before a change counts.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub debounce: Duration,
    /// From SIGTERM to SIGKILL at a restart.
    #[arg(long, value_name = "DURATION", default_value = "8s", value_parser = duration)]
    pub grace: Duration,
    /// Fetch once, then become the program: nothing is renewed, restarted or watched.
    #[arg(long, conflicts_with_all = ["restart_on_change", "signal_on_change"])]
    pub once: bool,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

fn notify_signal(text: &str) -> Result<NotifySignal, String> {
    let known = || NotifySignal::ALL.map(NotifySignal::as_str).join(", ");
    NotifySignal::parse(text.strip_prefix("SIG").unwrap_or(text))
        .ok_or_else(|| format!("expected one of {}", known()))
}

/// Arguments of `sidekey check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration to check.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Also log in and read each secret; prints names and outcomes, never values.
    #[arg(long)]
    pub online: bool,
    /// As `sidekey exec` uses it: no caller rule is needed, and nothing but secrets is looked at.
    #[arg(long)]
    pub exec: bool,
    /// Audit the container instead of the configuration: what it lacks, and the line to add;
    /// `strict` makes a flaw an exit status.
    #[arg(
        long,
        value_enum,
        value_name = "MODE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "report",
        conflicts_with_all = ["online", "exec"]
    )]
    pub hardening: Option<HardeningMode>,
}

/// What a flaw in the container comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HardeningMode {
    /// It is reported.
    Report,
    /// It is reported, and the exit status is 71.
    Strict,
}

/// Arguments of `sidekey health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Ask whether every required secret is loaded, not only whether the process works.
    #[arg(long)]
    pub ready: bool,
    /// The health listener.
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "SIDEKEY_HEALTH_ADDR",
        default_value = "127.0.0.1:7434"
    )]
    pub addr: String,
}
