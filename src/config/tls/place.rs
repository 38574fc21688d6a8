//! Where an adapter listens and forwards to, and that no two want the same.

use std::net::SocketAddr;

use super::{Forward, Others};
use crate::config::error::{Located, Problem, Spot};
use crate::config::load::Context;
use crate::config::section::{Section, quoted};
use crate::config::{AbstractName, AmbassadorListen, LoopbackAddr, listen};

/// Every address that the process listens on, and every one that an adapter forwards to.
pub(super) struct Places {
    taken: Vec<SocketAddr>,
    taken_names: Vec<AbstractName>,
    forwards: Vec<Located<Forward>>,
}

impl Places {
    pub(super) fn new(others: &Others<'_>) -> Self {
        let door = others.listen.tcp.iter().map(|addr| addr.get());
        let mut taken: Vec<_> = door.chain(others.health).collect();
        let mut taken_names: Vec<_> = others.listen.unix.iter().cloned().collect();
        for ambassador in others.ambassadors {
            match &ambassador.listen {
                AmbassadorListen::Tcp(addr) => taken.push(addr.get()),
                AmbassadorListen::Unix(name) => taken_names.push(name.clone()),
            }
        }
        Self { taken, taken_names, forwards: Vec::new() }
    }

    pub(super) fn listen(
        &mut self,
        section: &mut Section<'_>,
        context: &Context<'_>,
    ) -> Option<Vec<SocketAddr>> {
        let texts = section.strings("listen");
        if !section.has("listen") || section.is_empty_list("listen") {
            let problem = Problem::at(&section.at("listen"), "nothing to listen on");
            let hint = "where the outside connects to, such as 0.0.0.0:8443, or a list of such";
            context.report.absence(problem.hint(hint));
        }
        let mut found = Vec::new();
        for text in texts? {
            let address = listen::socket_address(&text, context)?;
            if self.taken.iter().any(|taken| overlap(*taken, address)) {
                let problem = Problem::at(&text.at, format!("{address} is listened on already"));
                context.report.problem(problem.hint("each listener has an address of its own"));
            }
            self.taken.push(address);
            found.push(address);
        }
        Some(found).filter(|found| !found.is_empty())
    }

    pub(super) fn forward(
        &mut self,
        section: &mut Section<'_>,
        context: &Context<'_>,
    ) -> Option<Forward> {
        let hint = "where the application listens, such as 127.0.0.1:8080";
        let text = section.required("forward", hint)?;
        let forward = parse(&text, context)?;
        self.forwards.push(Located { value: forward.clone(), at: text.at });
        Some(forward)
    }

    /// Nothing is forwarded to what this process listens on itself. To be called once all
    /// listeners are known.
    pub(super) fn check(self, context: &Context<'_>) {
        for Located { value, at } in &self.forwards {
            let own = match value {
                Forward::Tcp(addr) => self.taken.iter().any(|taken| overlap(*taken, addr.get())),
                Forward::Abstract(name) => self.taken_names.contains(name),
                Forward::Socket(_) => false,
            };
            if own {
                let problem = Problem::at(at, format!("{value} is a listener of the sidecar"));
                context.report.problem(
                    problem
                        .hint("it is the application that is to be reached, on a port of its own"),
                );
            }
        }
    }
}

/// Whether the kernel would let only one of them be listened on. IPv6 sockets take no IPv4.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let alike = one.ip() == other.ip()
        || one.is_ipv4() == other.is_ipv4()
            && (one.ip().is_unspecified() || other.ip().is_unspecified());
    one.port() == other.port() && one.port() != 0 && alike
}

fn parse(text: &Located<String>, context: &Context<'_>) -> Option<Forward> {
    let Located { value, at } = text;
    if value.starts_with('@') {
        return listen::abstract_name(text, context).map(Forward::Abstract);
    }
    if let Some(path) = value.strip_prefix("unix:") {
        return socket_file(path, at, context);
    }
    let complain = |message: String, hint: String| {
        context.report.problem(Problem::at(at, message).hint(hint));
        None
    };
    let hint = "an IP address of loopback and a port, unix:/PATH, or @NAME";
    let Ok(address) = value.parse::<SocketAddr>() else {
        let port = value.rsplit_once(':').and_then(|(host, port)| {
            (host == "localhost" || host.is_empty()).then(|| port.parse::<u16>().ok())?
        });
        let hint = port.map_or(hint.to_owned(), |port| format!("write 127.0.0.1:{port}"));
        return complain(
            format!("expected an address such as 127.0.0.1:8080, found {}", quoted(value)),
            hint,
        );
    };
    if address.port() == 0 {
        return complain(format!("{address} is no port to connect to"), hint.to_owned());
    }
    let Some(loopback) = LoopbackAddr::new(address) else {
        let port = address.port();
        let own = if address.is_ipv4() { "127.0.0.1" } else { "[::1]" };
        return complain(
            format!("{address} is not on loopback"),
            format!(
                "what was decrypted does not leave this network namespace: have the application \
                 listen on {own}:{port}"
            ),
        );
    };
    Some(Forward::Tcp(loopback))
}

fn socket_file(path: &str, at: &Spot, context: &Context<'_>) -> Option<Forward> {
    if !path.starts_with('/') || path.len() > 107 || path.contains('\0') {
        let problem = Problem::at(at, "expected the whole path of a socket");
        context.report.problem(problem.hint("write it as in unix:/run/app/http.sock"));
        return None;
    }
    Some(Forward::Socket(path.into()))
}
