//! What a configuration needs to reach.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::{
    AmbassadorListen, AmbassadorSpec, ClientAuthority, Config, Environment, Forward, NotifyTarget,
    ProcessSource, Revocation, RevocationSource, TlsSpec, TokenSource,
};

/// What every process needs: names of hosts, trust anchors, the C library's modules, and what
/// the kernel says about ourselves.
const ALWAYS: [&str; 19] = [
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/localtime",
    "/etc/ld.so.cache",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/var/lib/ca-certificates",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/proc/self",
    "/sys/fs/cgroup",
];

/// Folders so wide that a file in them is let in alone.
const TOO_WIDE: [&str; 20] = [
    "/",
    "/etc",
    "/home",
    "/proc",
    "/sys",
    "/dev",
    "/var",
    "/usr",
    "/run",
    "/root",
    "/mnt",
    "/tmp",
    "/opt",
    "/srv",
    "/media",
    "/boot",
    "/usr/local",
    "/usr/local/etc",
    "/var/lib",
    "/var/run",
];

const PROXIES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

const DNS: u16 = 53;

/// Files to read, ports to use, signals to send.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reach {
    /// Files, and folders with all that is in them.
    pub(super) files: BTreeSet<PathBuf>,
    /// TCP ports to connect to.
    pub(super) connect: BTreeSet<u16>,
    /// Signals that may be sent to others, by number.
    pub(super) signals: BTreeSet<i32>,
    /// TCP ports to listen on; 0 for one of the kernel's choice.
    pub(super) bind: BTreeSet<u16>,
    /// Abstract unix sockets of others may be connected to: the kernel knows no names of them.
    pub(super) abstract_sockets: bool,
    /// Unix sockets are connected to at all.
    pub(super) unix_sockets: bool,
    /// The user's folder, which is as wide as those of the system.
    home: Option<PathBuf>,
}

impl Reach {
    /// What `config`, which was read from `read` among others, needs now and at a reload.
    pub fn of(config: &Config, read: &[PathBuf], environment: &Environment) -> Self {
        let mut reach =
            Self { connect: [DNS].into(), home: environment.home.clone(), ..Self::default() };
        reach.files.extend(ALWAYS.iter().map(PathBuf::from));
        // Often a link into a folder where it is replaced by a new file when networks change.
        reach.add(Path::new("/etc/resolv.conf"));
        for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            reach.files.extend(environment.values.get(variable).map(PathBuf::from));
        }
        let vault = &config.vault;
        reach.connect.extend(vault.address.port_or_known_default());
        let proxies = PROXIES.iter().filter_map(|name| environment.values.get(*name));
        reach.connect.extend(proxies.filter_map(|proxy| port_of(proxy)));
        let tcp = config.listen.tcp.iter().map(|addr| addr.get()).chain(config.health);
        reach.bind.extend(tcp.map(|addr| addr.port()));

        let tls = [&vault.ca_cert, &vault.client_cert, &vault.client_key];
        for file in tls.into_iter().flatten().chain(read) {
            reach.add(file);
        }
        reach.files.extend(vault.ca_path.clone());
        if let Some(file) = config.auth.credential_file() {
            reach.add(file);
        }
        for caller in &config.callers {
            if let Some(TokenSource::File(file)) = &caller.token {
                reach.add(file);
            }
        }
        for ambassador in &config.ambassadors {
            reach.add_ambassador(ambassador);
        }
        for adapter in &config.tls {
            reach.add_tls(adapter);
        }
        for rule in &config.notify {
            reach.add_notified(&rule.target);
        }
        reach
    }

    fn add_ambassador(&mut self, ambassador: &AmbassadorSpec) {
        if let AmbassadorListen::Tcp(addr) = &ambassador.listen {
            self.bind.insert(addr.get().port());
        }
        self.connect.insert(ambassador.destination.port);
        let tls = ambassador.destination.tls.as_ref();
        if let Some(file) = tls.and_then(|tls| tls.ca_cert.as_ref()) {
            self.add(file);
        }
    }

    fn add_tls(&mut self, adapter: &TlsSpec) {
        self.bind.extend(adapter.listen.iter().map(std::net::SocketAddr::port));
        match &adapter.forward {
            Forward::Tcp(addr) => _ = self.connect.insert(addr.get().port()),
            Forward::Abstract(_) => (self.unix_sockets, self.abstract_sockets) = (true, true),
            Forward::Socket(file) => {
                self.unix_sockets = true;
                self.add(file);
            }
        }
        self.connect.extend(adapter.access.key_port());
        if let Some(file) = adapter.access.ca_cert() {
            self.add(file);
        }
        let Some(trust) = adapter.trust() else { return };
        if let ClientAuthority::File(file) = &trust.authority {
            self.add(file);
        }
        if let Some(Revocation { source: RevocationSource::File(file), .. }) = &trust.revocation {
            self.add(file);
        }
    }

    fn add_notified(&mut self, target: &NotifyTarget) {
        match target {
            NotifyTarget::Http { url, .. } => {
                self.connect.insert(url.addr.port());
            }
            NotifyTarget::Signal { signal, process } => {
                self.signals.insert(signal.number());
                match process {
                    ProcessSource::PidFile(file) => self.add(file),
                    ProcessSource::Named(_) => {
                        self.files.insert("/proc".into());
                    }
                }
            }
        }
    }

    /// Lets a file in, with its folder where that is narrow: a new version of it is often a new
    /// file, which a rule for the old one does not let in, and in a projected volume the file is
    /// a link to a folder that changes. In a wide folder, the file that is there now is all.
    fn add(&mut self, file: &Path) {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let real = std::fs::canonicalize(&file).ok();
        for path in [Some(file), real].into_iter().flatten() {
            let folder = path.parent().filter(|folder| !self.is_too_wide(folder));
            let folder = folder.map(Path::to_owned);
            self.files.insert(folder.unwrap_or(path));
        }
    }

    /// Nobody keeps a home in a projected volume, wherever that is mounted.
    fn is_too_wide(&self, folder: &Path) -> bool {
        let is_home = |folder: &Path| {
            folder.parent() == Some(Path::new("/home"))
                || folder == Path::new("/root")
                || self.home.as_deref() == Some(folder)
        };
        // Such as ~/.ssh: what lies there is of many programs.
        let hidden =
            folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let of_home = is_home(folder) || hidden && folder.parent().is_some_and(is_home);
        let above_home = self.home.as_ref().is_some_and(|home| home.starts_with(folder));
        let wide = TOO_WIDE.iter().any(|wide| Path::new(wide) == folder);
        (wide || of_home || above_home) && !folder.join("..data").is_symlink()
    }

    /// Whether a file is let in without its folder, so that another one that takes its place is not.
    pub fn is_alone(&self, file: &Path) -> bool {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        file.parent().is_some_and(|folder| self.is_too_wide(folder))
    }

    /// Whether whoever is confined to this reach can do all that `other` asks for.
    pub fn covers(&self, other: &Self) -> bool {
        let inside = |path: &PathBuf| path.ancestors().any(|folder| self.files.contains(folder));
        other.files.iter().all(|path| inside(path) || !path.exists())
            && other.connect.is_subset(&self.connect)
            && other.signals.is_subset(&self.signals)
            && (self.abstract_sockets || !other.abstract_sockets)
            && (self.unix_sockets || !other.unix_sockets)
    }
}

fn port_of(proxy: &str) -> Option<u16> {
    let with_scheme = if proxy.contains("://") { proxy.into() } else { format!("http://{proxy}") };
    let url = url::Url::parse(&with_scheme).ok()?;
    url.port_or_known_default().or_else(|| url.scheme().starts_with("socks").then_some(1080))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_with_its_folder_but_not_with_all_of_etc() {
        let mut reach = Reach::default();
        reach.add(Path::new("/var/run/secrets/app/token"));
        reach.add(Path::new("/etc/token"));
        let files: Vec<_> = reach.files.iter().filter_map(|path| path.to_str()).collect();
        assert_eq!(files, ["/etc/token", "/var/run/secrets/app"]);
    }

    #[test]
    fn a_home_is_not_let_in_with_a_file_in_it() {
        let home = Some(PathBuf::from("/data/people/jo"));
        for (file, expected) in [
            ("/data/people/jo/.vault-token", "/data/people/jo/.vault-token"),
            ("/data/people/jo/.ssh/client.key", "/data/people/jo/.ssh/client.key"),
            ("/data/people/jo/app/sidekey.toml", "/data/people/jo/app"),
            ("/data/people/jo/.config/sidekey/config.toml", "/data/people/jo/.config/sidekey"),
            ("/data/people/token", "/data/people/token"),
            ("/data/token", "/data/token"),
            ("/home/jo/token", "/home/jo/token"),
            ("/root/.vault-token", "/root/.vault-token"),
            ("/data/other/token", "/data/other"),
        ] {
            let mut reach = Reach { home: home.clone(), ..Reach::default() };
            reach.add(Path::new(file));
            let files: Vec<_> = reach.files.iter().filter_map(|path| path.to_str()).collect();
            assert_eq!(files, [expected], "{file}");
        }
    }

    #[test]
    fn a_projected_volume_is_let_in_wherever_it_is_mounted() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("..1")).unwrap();
        std::fs::write(home.path().join("..1/token"), "x").unwrap();
        std::os::unix::fs::symlink("..1", home.path().join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/token", home.path().join("token")).unwrap();
        let mut reach = Reach { home: Some(home.path().into()), ..Reach::default() };
        reach.add(&home.path().join("token"));
        assert!(reach.files.contains(home.path()), "{reach:?}");
    }

    #[test]
    fn ports_of_proxies() {
        for (proxy, port) in [
            ("http://proxy:3128", Some(3128)),
            ("proxy:3128", Some(3128)),
            ("https://proxy", Some(443)),
            ("socks5h://proxy", Some(1080)),
            ("", None),
        ] {
            assert_eq!(port_of(proxy), port, "{proxy}");
        }
    }

    #[test]
    fn covers_what_lies_below() {
        let mut wide = Reach { connect: [8200].into(), ..Reach::default() };
        wide.files.insert("/proc/self".into());
        let mut narrow = wide.clone();
        narrow.files.insert("/proc/self/status".into());
        assert!(wide.covers(&narrow));
        narrow.files.insert("/proc/version".into());
        assert!(!wide.covers(&narrow));
        assert!(!Reach::default().covers(&wide));
    }
}
