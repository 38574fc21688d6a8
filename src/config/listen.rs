//! `[listen]` and `[health]`: where to answer.

use std::net::{Ipv4Addr, SocketAddr};

use super::error::{Located, Problem, Spot};
use super::load::Context;
use super::section::{Section, quoted};
use super::{AbstractName, Listen, LoopbackAddr};

const DEFAULT_PORT: u16 = 7433;
const DEFAULT_HEALTH_PORT: u16 = 7434;

pub(super) fn read(mut section: Section<'_>, context: &Context<'_>) -> Listen {
    let tcp = section.strings("tcp");
    let unix = section.string("unix");
    let here = section.at("tcp");
    section.finish();
    let flags: Vec<_> = context.flags.listen.iter().map(|value| at_flag(value)).collect();
    if flags.is_empty() {
        let default = tcp.is_none() && unix.is_none();
        let addresses = tcp.unwrap_or_default();
        let mut listen = listen(&addresses, unix.as_slice(), context);
        if default {
            listen.tcp.extend(LoopbackAddr::new((Ipv4Addr::LOCALHOST, DEFAULT_PORT).into()));
        } else if addresses.is_empty() && unix.is_none() {
            let problem = Problem::at(&here, "nothing to listen on");
            context
                .report
                .absence(problem.hint("give an address, or [listen] unix = \"@sidekey\""));
        }
        return listen;
    }
    // The file's are checked all the same.
    listen(&tcp.unwrap_or_default(), unix.as_slice(), context);
    let (unix, tcp): (Vec<_>, Vec<_>) =
        flags.into_iter().partition(|flag| flag.value.starts_with('@'));
    listen(&tcp, &unix, context)
}

fn at_flag(value: &str) -> Located<String> {
    Located { value: value.to_owned(), at: Spot::outside("--listen") }
}

fn listen(tcp: &[Located<String>], unix: &[Located<String>], context: &Context<'_>) -> Listen {
    let mut listen = Listen { tcp: Vec::new(), unix: None };
    for text in tcp {
        let Some(address) = loopback(text, context) else {
            continue;
        };
        if listen.tcp.contains(&address) && address.get().port() != 0 {
            context.report.problem(Problem::at(&text.at, format!("{address} is given twice")));
        }
        listen.tcp.push(address);
    }
    for text in unix {
        let name = abstract_name(text, context);
        if listen.unix.is_some() {
            let problem = Problem::at(&text.at, "there can be only one unix socket");
            context.report.problem(problem);
        }
        listen.unix = listen.unix.or(name);
    }
    listen
}

/// `None` when turned off, or when it could not be read.
pub(super) fn read_health(
    mut section: Section<'_>,
    listen: &Listen,
    context: &Context<'_>,
) -> Option<SocketAddr> {
    let text = section.address_or_false("listen");
    let is_default = !section.has("listen");
    let at = section.at("listen");
    section.finish();
    let flag = context.flags.health_listen.as_ref();
    let flag =
        flag.map(|text| Located { value: text.clone(), at: Spot::outside("--health-listen") });
    let at = flag.as_ref().map_or(at, |flag| flag.at.clone());
    let address = match flag.or(text) {
        Some(text) if text.value == "off" => None,
        Some(text) => socket_address(&text, context),
        None => is_default.then(|| (Ipv4Addr::LOCALHOST, DEFAULT_HEALTH_PORT).into()),
    };
    let taken = |address: &SocketAddr| {
        address.port() != 0 && listen.tcp.iter().any(|tcp| tcp.get() == *address)
    };
    if let Some(address) = address.filter(taken) {
        let problem = Problem::at(&at, format!("{address} is where secrets are served"));
        context.report.problem(problem.hint("choose another port for one of the two"));
    }
    address
}

pub(super) fn loopback(text: &Located<String>, context: &Context<'_>) -> Option<LoopbackAddr> {
    let address = socket_address(text, context)?;
    let loopback = LoopbackAddr::new(address);
    if loopback.is_none() {
        let (ip, port) = (address.ip().to_canonical(), address.port());
        // Loopback to the kernel, but callers see and write another address than the listener's.
        let (message, hint) = if ip.is_loopback() {
            let message = format!("{address} is an IPv4 address in the form of an IPv6 address");
            (message, format!("write {ip}:{port}"))
        } else {
            let hint = "secrets are served on loopback only: write";
            let message = format!("{address} can be reached from other hosts");
            (message, format!("{hint} 127.0.0.1:{port} or [::1]:{port}"))
        };
        context.report.problem(Problem::at(&text.at, message).hint(hint));
    }
    loopback
}

pub(super) fn socket_address(text: &Located<String>, context: &Context<'_>) -> Option<SocketAddr> {
    let Located { value, at } = text;
    if let Ok(address) = value.parse() {
        return Some(address);
    }
    let message = format!("expected an address such as 127.0.0.1:7433, found {}", quoted(value));
    let (host, port) = value.rsplit_once(':').unwrap_or(("", value));
    let port = port.parse::<u16>().ok();
    let hint = match (host, port) {
        ("localhost", Some(port)) => {
            format!("write 127.0.0.1:{port}: what `localhost` means is up to the resolver")
        }
        ("", Some(port)) => format!("write 127.0.0.1:{port}"),
        ("*", Some(port)) => format!("write 127.0.0.1:{port}, or 0.0.0.0:{port} for [health]"),
        ("::1", Some(port)) => format!("write [::1]:{port}"),
        _ if value.starts_with('@') => "a unix socket is `unix = \"@name\"`".to_owned(),
        _ if at.path == "--listen" => "an IP address and a port, or @NAME".to_owned(),
        _ => "an IP address and a port".to_owned(),
    };
    context.report.problem(Problem::at(at, message).hint(hint));
    None
}

pub(super) fn abstract_name(text: &Located<String>, context: &Context<'_>) -> Option<AbstractName> {
    let name = AbstractName::parse(&text.value);
    if name.is_none() {
        let found = quoted(&text.value);
        let message = format!("expected an abstract socket such as @sidekey, found {found}");
        let hint = "start with `@`, then 1 to 107 bytes: an abstract socket is no file that could \
                    be mounted elsewhere or left behind";
        context.report.problem(Problem::at(&text.at, message).hint(hint));
    }
    name
}
