//! `[[notify]]`: whom to tell of a rotation.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::{Host, Url};

use super::callers::declared_name;
use super::error::{Located, Problem};
use super::load::Context;
use super::section::{Section, quoted};
use super::{NotifySignal, SecretName};

const DEFAULT_DEBOUNCE: Duration = Duration::from_millis(500);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const MOMENT: Duration = Duration::from_millis(1);
/// What the kernel keeps of a process's name.
const LONGEST_PROCESS_NAME: usize = 15;

/// Whom to tell of which rotations. Never a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifyRule {
    /// Which names it is about; `None` for all of them.
    pub names: Option<BTreeSet<SecretName>>,
    /// How long rotations are gathered before they are told together; default 500 ms.
    pub debounce: Duration,
    /// Who is told, and how.
    pub target: NotifyTarget,
}

/// Who is told of a rotation, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotifyTarget {
    /// By a `POST`.
    Http {
        /// Where to.
        url: LoopbackUrl,
        /// For the whole request; default 5 s.
        timeout: Duration,
    },
    /// By a signal.
    Signal {
        /// Which one.
        signal: NotifySignal,
        /// Whom to.
        process: ProcessSource,
    },
}

/// An `http://` URL on loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopbackUrl {
    /// Address and port.
    pub addr: SocketAddr,
    /// Path and query.
    pub target: Box<str>,
}

/// How a process is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessSource {
    /// By the number in a file, read each time.
    PidFile(PathBuf),
    /// The oldest one whose name, as in `/proc/PID/comm`, is this.
    Named(Box<str>),
}

pub(super) fn read(
    sections: Vec<Section<'_>>,
    declared: &BTreeSet<String>,
    context: &Context<'_>,
) -> Vec<NotifyRule> {
    sections.into_iter().filter_map(|section| rule(section, declared, context)).collect()
}

fn rule(
    mut section: Section<'_>,
    declared: &BTreeSet<String>,
    context: &Context<'_>,
) -> Option<NotifyRule> {
    let names = section.strings("names");
    if section.is_empty_list("names") {
        let problem = Problem::at(&section.at("names"), "an empty list is about no secret");
        context.report.problem(problem.hint("leave `names` out to hear of every rotation"));
    }
    let debounce = section.duration("debounce", Duration::ZERO).unwrap_or(DEFAULT_DEBOUNCE);
    let timeout = section.duration("timeout", MOMENT).unwrap_or(DEFAULT_TIMEOUT);
    let target = target(&mut section, timeout, context);
    section.finish();
    let names = names.map(|names| {
        names.iter().filter_map(|name| declared_name(name, declared, context)).collect()
    });
    Some(NotifyRule { names, debounce, target: target? })
}

fn target(
    section: &mut Section<'_>,
    timeout: Duration,
    context: &Context<'_>,
) -> Option<NotifyTarget> {
    let url = section.string("url");
    let signal = section.string("signal");
    let file = section.file_path("pid_file");
    let name = section.string("process");
    match (section.has("url"), section.has("signal")) {
        (true, false) => {
            let message = "there is no `signal` to send there";
            let hint = "a rule has either `url` or `signal`";
            section.refuse(&["pid_file", "process"], message, hint);
            let url = self::url(&url?, context)?;
            Some(NotifyTarget::Http { url, timeout })
        }
        (false, true) => {
            if section.has("pid_file") == section.has("process") {
                let message = "expected one of `pid_file` and `process`";
                let problem = Problem::at(&section.at("signal"), message);
                context.report.absence(problem.hint("the signal has to go to somebody"));
            }
            let process = match (file, name) {
                (Some(file), _) => Some(ProcessSource::PidFile(file.value)),
                (None, Some(name)) => process_name(name, context).map(ProcessSource::Named),
                (None, None) => None,
            };
            Some(NotifyTarget::Signal {
                signal: self::signal(&signal?, context)?,
                process: process?,
            })
        }
        _ => {
            let problem = Problem::at(section.here(), "expected one of `url` and `signal`");
            let hint = "url = \"http://127.0.0.1:8080/reload\", or signal = \"HUP\" with pid_file or \
                        process";
            context.report.absence(problem.hint(hint));
            None
        }
    }
}

/// Not quoted in problems: it may have a password in it.
fn url(text: &Located<String>, context: &Context<'_>) -> Option<LoopbackUrl> {
    let complain = |message: &str, hint: &str| {
        context.report.problem(Problem::at(&text.at, message).hint(hint));
        None
    };
    let example = "write it as in http://127.0.0.1:8080/reload";
    let Ok(url) = Url::parse(&text.value) else { return complain("not a URL", example) };
    if url.scheme() != "http" {
        return complain("expected a URL that starts with http://", example);
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return complain("a user name, password or fragment has no place in it", example);
    }
    let ip = match url.host() {
        Some(Host::Ipv4(ip)) => ip.into(),
        Some(Host::Ipv6(ip)) => std::net::IpAddr::from(ip),
        _ => return complain("expected a loopback address as the host", example),
    };
    if !ip.is_loopback() {
        return complain(
            "the host can be reached from elsewhere",
            "only the application beside us is told: 127.0.0.1 or [::1]",
        );
    }
    let port = url.port_or_known_default().unwrap_or(80);
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    Some(LoopbackUrl { addr: SocketAddr::new(ip, port), target: target.into() })
}

fn signal(name: &Located<String>, context: &Context<'_>) -> Option<NotifySignal> {
    let bare = name.value.strip_prefix("SIG").unwrap_or(&name.value);
    let known = NotifySignal::parse(bare);
    if known.is_none() {
        let problem = Problem::at(&name.at, format!("unknown signal {}", quoted(&name.value)));
        let names = NotifySignal::ALL.map(NotifySignal::as_str);
        let problem = problem.hint(format!("one of {}", names.join(", ")));
        context.report.problem(problem.did_you_mean(bare, names));
    }
    known
}

fn process_name(name: Located<String>, context: &Context<'_>) -> Option<Box<str>> {
    if name.value.len() > LONGEST_PROCESS_NAME || name.value.contains('/') {
        let message = format!("expected a name of at most {LONGEST_PROCESS_NAME} bytes");
        let hint = "as `ps -o comm` shows it, without a path: the kernel keeps no more of it";
        context.report.problem(Problem::at(&name.at, message).hint(hint));
        return None;
    }
    Some(name.value.into())
}
