//! Newtypes that cannot hold a bad value.

use std::fmt;
use std::net::SocketAddr;

/// A name under `/secrets/`: 1 to 128 of `A-Z a-z 0-9 . _ -`, the first a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretName(std::sync::Arc<str>);

impl SecretName {
    /// `None` when `name` breaks the rule above.
    pub fn parse(name: &str) -> Option<Self> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        let starts_well = name.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
        (starts_well && name.len() <= 128 && name.bytes().all(allowed)).then(|| Self(name.into()))
    }

    /// The name as it stands in the configuration and in the URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for SecretName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A signal that an application may take as news of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotifySignal {
    /// `SIGHUP`
    Hup,
    /// `SIGUSR1`
    Usr1,
    /// `SIGUSR2`
    Usr2,
    /// `SIGTERM`
    Term,
    /// `SIGINT`
    Int,
    /// `SIGQUIT`
    Quit,
    /// `SIGWINCH`
    Winch,
}

impl NotifySignal {
    /// Every one of them.
    pub const ALL: [Self; 7] =
        [Self::Hup, Self::Usr1, Self::Usr2, Self::Term, Self::Int, Self::Quit, Self::Winch];

    /// The name without `SIG`.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.as_str() == name)
    }

    /// The name without `SIG`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hup => "HUP",
            Self::Usr1 => "USR1",
            Self::Usr2 => "USR2",
            Self::Term => "TERM",
            Self::Int => "INT",
            Self::Quit => "QUIT",
            Self::Winch => "WINCH",
        }
    }

    /// The kernel's number for it.
    pub fn number(self) -> i32 {
        match self {
            Self::Hup => libc::SIGHUP,
            Self::Usr1 => libc::SIGUSR1,
            Self::Usr2 => libc::SIGUSR2,
            Self::Term => libc::SIGTERM,
            Self::Int => libc::SIGINT,
            Self::Quit => libc::SIGQUIT,
            Self::Winch => libc::SIGWINCH,
        }
    }
}

/// A path below `/v1/`, such as `secret/data/app`: no leading or trailing slash, no empty,
/// `.` or `..` segment, no control characters, no `?` or `#`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VaultPath(Box<str>);

impl VaultPath {
    /// `None` when `path` breaks the rule above. One leading `/` or `/v1/` is forgiven.
    pub fn parse(path: &str) -> Option<Self> {
        let path = path.strip_prefix("/v1/").or(path.strip_prefix('/')).unwrap_or(path);
        let bad = |c: char| c.is_control() || matches!(c, '?' | '#' | '\\');
        let bad_segment = |s: &str| matches!(s, "" | "." | "..");
        (!path.contains(bad) && !path.split('/').any(bad_segment)).then(|| Self(path.into()))
    }

    /// The path without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VaultPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A socket address on 127.0.0.0/8 or `[::1]`, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoopbackAddr(SocketAddr);

impl LoopbackAddr {
    /// `None` for any address another host could reach. IPv4-mapped IPv6 loopback is refused
    /// too: one way to write an address is enough.
    pub fn new(addr: SocketAddr) -> Option<Self> {
        addr.ip().is_loopback().then_some(Self(addr))
    }

    /// The address to bind.
    pub fn get(self) -> SocketAddr {
        self.0
    }
}

impl fmt::Display for LoopbackAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An abstract unix socket name (Linux): no file, so nothing to mount, list or leave behind.
/// Written with a leading `@`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbstractName(Box<str>);

impl AbstractName {
    /// `None` without the leading `@`, when empty, over 107 bytes, or with a NUL.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.strip_prefix('@')?;
        (!name.is_empty() && name.len() <= 107 && !name.contains('\0')).then(|| Self(name.into()))
    }

    /// The name without the `@`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AbstractName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}
