//! The child that tries.
#![allow(unsafe_code, reason = "system calls that no library offers")]

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use sidekey::config::{self, Environment, Sources};
use sidekey::lifecycle::sandbox::{self, Reach};
use sidekey::memory::SecretBuf;

/// What a container may refuse by itself.
pub const NEEDS_RIGHTS: [&str; 22] = [
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "keyctl",
    "add_key",
    "unshare",
    "setns",
    "mount",
    "umount2",
    "chroot",
    "init_module",
    "finit_module",
    "delete_module",
    "reboot",
    "io_uring_setup",
    "kcmp",
    "packet socket",
    "raw socket",
    "thread in other namespaces",
    "open_tree_attr",
    "clock_adjtime",
    "iopl",
];

fn say(probe: &str, outcome: io::Result<()>) {
    let word = match outcome.map_err(|e| e.raw_os_error()) {
        Ok(()) => "ok".into(),
        Err(Some(libc::EPERM)) => "EPERM".into(),
        Err(Some(libc::EACCES)) => "EACCES".into(),
        Err(Some(code)) => format!("errno {code}"),
        Err(None) => "failed".into(),
    };
    println!("{probe} = {word}");
}

fn call(probe: &str, number: libc::c_long, arguments: [libc::c_long; 4]) {
    let [a, b, c, d] = arguments;
    // SAFETY: the arguments point nowhere, so that the call fails even where it is allowed.
    let returned = unsafe { libc::syscall(number, a, b, c, d, 0, 0) };
    say(probe, if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(()) });
}

/// `sandboxed|free FOLDER VAULT_PORT OTHER_PORT ABSTRACT_NAME`.
pub fn run(args: &[String]) {
    let [how, folder, vault, other, abstract_name] = args else { panic!("{args:?}") };
    let folder = Path::new(folder);
    let own = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sources = sources(folder, vault, own.port(), how == "signals");
    let loaded = config::load(sources.clone()).unwrap();
    let reach = Reach::of(&loaded.config, &loaded.files, &sources.environment);
    let [(_, landlock), _] = sandbox::rehearse(&reach);
    say("landlock", landlock.map_err(io::Error::other));

    let sandboxed = how != "free";
    if sandboxed {
        let _ = sandbox::restrict_reach(&reach);
    }
    // In the order of a start: files and ports are restricted, then the listeners are bound.
    let stranger = folder.join("elsewhere/stranger");
    files(folder, &stranger);
    let listener = TcpListener::bind(own).unwrap();
    say("connect vault", TcpStream::connect(format!("127.0.0.1:{vault}")).map(drop));
    say("connect elsewhere", TcpStream::connect(format!("127.0.0.1:{other}")).map(drop));
    say("bind elsewhere", TcpListener::bind("127.0.0.1:1").map(drop));
    let name = SocketAddr::from_abstract_name(abstract_name).unwrap();
    say("abstract", UnixStream::connect_addr(&name).map(drop));
    let ours = SocketAddr::from_abstract_name(format!("{abstract_name}-own")).unwrap();
    say("abstract listener", UnixListener::bind_addr(&ours).map(drop));
    // SAFETY: signal 0 only asks whether it may be sent.
    let sent = unsafe { libc::kill(libc::getppid(), 0) };
    say("signal", if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) });
    say("run /bin/true", Command::new("/bin/true").status().map(drop));
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let worker =
        std::thread::spawn(|| std::thread::park_timeout(std::time::Duration::from_secs(1)));
    if sandboxed {
        sandbox::restrict_calls(&reach).unwrap();
    }
    say("udp send", udp.send_to(b"x", own).map(drop));
    say("bind udp", UdpSocket::bind("127.0.0.1:0").map(drop));
    listener.set_nonblocking(true).unwrap();
    let accepted = listener.accept().map(drop);
    let nobody = |e: &io::Error| e.kind() == io::ErrorKind::WouldBlock;
    say("accept", if accepted.as_ref().is_err_and(nobody) { Ok(()) } else { accepted });
    calls(sandboxed);
    arguments(folder);
    worker.thread().unpark();
    worker.join().unwrap();
    let another = std::thread::Builder::new().spawn(|| ());
    say("thread", another.map(|thread| thread.join().unwrap()));
    let grown = SecretBuf::zeroed(1 << 20);
    let ended = (grown.len() == 1 << 20).then_some(());
    say("secret memory", ended.ok_or_else(|| io::ErrorKind::OutOfMemory.into()));
}

fn sources(folder: &Path, vault: &str, own: u16, signals: bool) -> Sources {
    // As in a projected volume: token -> ..data/token, ..data -> a folder that changes.
    let volume = folder.join("volume");
    for (version, token) in [("..1", "0123456789abcdef"), ("..2", "rotated-token-0123")] {
        fs::create_dir_all(volume.join(version)).unwrap();
        fs::write(volume.join(version).join("token"), token).unwrap();
    }
    symlink("..1", volume.join("..data")).unwrap();
    symlink("..data/token", volume.join("token")).unwrap();
    fs::create_dir_all(folder.join("elsewhere")).unwrap();
    fs::write(folder.join("elsewhere/stranger"), "not ours").unwrap();
    fs::create_dir_all(folder.join("config")).unwrap();
    fs::create_dir_all(folder.join("empty")).unwrap();
    let file = folder.join("config/sidekey.toml");
    let text = format!(
        "[vault]\naddress = \"http://127.0.0.1:{vault}\"\n[listen]\ntcp = [\"127.0.0.1:{own}\"]\n\
         [health]\nlisten = false\n[secrets.app]\npath = \"secret/data/app\"\n\
         [[callers]]\nname = \"app\"\nallow = [\"app\"]\ntoken_file = \"{}\"",
        volume.join("token").display()
    );
    let notify = "\n[[notify]]\nsignal = \"WINCH\"\nprocess = \"nobody\"\n";
    let text = if signals { text + notify } else { text };
    fs::write(&file, text).unwrap();
    let token = Arc::new(SecretBuf::copy_from(b"vault-token"));
    let secrets = [("VAULT_TOKEN".to_owned(), token)].into();
    let environment = Environment { secrets, ..Environment::default() };
    Sources { file: Some(file), environment, ..Sources::default() }
}

fn files(folder: &Path, stranger: &Path) {
    let volume = folder.join("volume");
    say("read configuration", fs::read(folder.join("config/sidekey.toml")).map(drop));
    say("read token", fs::read(volume.join("token")).map(drop));
    say("read a rotated token", fs::read(volume.join("..2/token")).map(drop));
    say("read /etc/hosts", fs::read("/etc/hosts").map(drop));
    say("read own status", fs::read("/proc/self/status").map(drop));
    say("read /etc/shadow", fs::read("/etc/shadow").map(drop));
    say("read a stranger's", fs::read(stranger).map(drop));
    say("list /", fs::read_dir("/").map(drop));
    say("write", fs::OpenOptions::new().append(true).open(volume.join("token")).map(drop));
    say("create", fs::write(volume.join("new"), "x"));
    let path = std::ffi::CString::new(volume.join("..2/token").to_str().unwrap()).unwrap();
    // SAFETY: the path is a terminated string.
    let cut = unsafe { libc::truncate(path.as_ptr(), 3) };
    say("truncate", if cut == 0 { Ok(()) } else { Err(io::Error::last_os_error()) });
    say("folder", fs::create_dir(folder.join("made")));
    say("link", fs::hard_link(volume.join("..2/token"), volume.join("..2/linked")));
    say("symlink", symlink("elsewhere", folder.join("symlinked")));
    say("socket file", UnixListener::bind(folder.join("socket")).map(drop));
    let pipe = std::ffi::CString::new(folder.join("pipe").to_str().unwrap()).unwrap();
    // SAFETY: the path is a terminated string.
    let made = unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) };
    say("pipe", if made == 0 { Ok(()) } else { Err(io::Error::last_os_error()) });
    say("rename", fs::rename(volume.join("..2/token"), volume.join("..2/renamed")));
    say("remove a folder", fs::remove_dir(folder.join("empty")));
    say("remove", fs::remove_file(volume.join("..1/token")));
}

fn calls(sandboxed: bool) {
    const BAD: libc::c_long = -1;
    call("execve", libc::SYS_execve, [0, 0, 0, 0]);
    call("execveat", libc::SYS_execveat, [BAD, 0, 0, 0]);
    // CLONE_SIGHAND without CLONE_VM is invalid.
    let invalid = libc::c_long::from(libc::CLONE_SIGHAND);
    call("clone a process", libc::SYS_clone, [invalid, 0, 0, 0]);
    call("ptrace", libc::SYS_ptrace, [0x4206, BAD, 0, 0]);
    call("process_vm_readv", libc::SYS_process_vm_readv, [BAD, 0, 0, 0]);
    call("process_vm_writev", libc::SYS_process_vm_writev, [BAD, 0, 0, 0]);
    call("pidfd_getfd", libc::SYS_pidfd_getfd, [BAD, BAD, 0, 0]);
    call("kcmp", libc::SYS_kcmp, [BAD, BAD, 0, 0]);
    // Signal 0 only asks, and nobody minds SIGWINCH.
    let parent = libc::c_long::from(std::os::unix::process::parent_id());
    call("kill", libc::SYS_kill, [parent, 0, 0, 0]);
    call("SIGWINCH", libc::SYS_kill, [parent, libc::SIGWINCH.into(), 0, 0]);
    call("tgkill", libc::SYS_tgkill, [parent, parent, 0, 0]);
    call("pidfd_send_signal", libc::SYS_pidfd_send_signal, [BAD, 0, 0, 0]);
    call("bind", libc::SYS_bind, [BAD, 0, 0, 0]);
    call("listen", libc::SYS_listen, [BAD, 0, 0, 0]);
    call("memfd_create", libc::SYS_memfd_create, [0, 0, 0, 0]);
    call("io_uring_setup", libc::SYS_io_uring_setup, [0, 0, 0, 0]);
    call("bpf", libc::SYS_bpf, [BAD, 0, 0, 0]);
    call("perf_event_open", libc::SYS_perf_event_open, [0, BAD, BAD, BAD]);
    call("userfaultfd", libc::SYS_userfaultfd, [BAD, 0, 0, 0]);
    call("keyctl", libc::SYS_keyctl, [BAD, 0, 0, 0]);
    call("add_key", libc::SYS_add_key, [0, 0, 0, 0]);
    call("unshare", libc::SYS_unshare, [BAD, 0, 0, 0]);
    call("setns", libc::SYS_setns, [BAD, BAD, 0, 0]);
    call("mount", libc::SYS_mount, [0, 0, 0, 0]);
    call("umount2", libc::SYS_umount2, [0, 0, 0, 0]);
    call("chroot", libc::SYS_chroot, [0, 0, 0, 0]);
    call("init_module", libc::SYS_init_module, [0, 0, 0, 0]);
    call("finit_module", libc::SYS_finit_module, [BAD, 0, 0, 0]);
    call("delete_module", libc::SYS_delete_module, [0, 0, 0, 0]);
    call("reboot", libc::SYS_reboot, [0, 0, 0, 0]);
    if sandboxed {
        // Outside, some of them would do something.
        for number in sandbox::refused_calls() {
            call(&format!("call {number}"), *number, [BAD; 4]);
        }
        call("clone3", libc::SYS_clone3, [0, 0, 0, 0]);
    }
    // SAFETY: a child that is made does nothing but end.
    let forked = unsafe {
        let forked = libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0);
        if forked == 0 {
            libc::_exit(0);
        }
        forked
    };
    say("fork", if forked < 0 { Err(io::Error::last_os_error()) } else { Ok(()) });
}

/// Calls that are refused by their arguments, and what changes files without writing to them.
fn arguments(folder: &Path) {
    const BAD: libc::c_long = -1;
    sockets();
    let parent = libc::c_long::from(std::os::unix::process::parent_id());
    call("dumpable", libc::SYS_prctl, [libc::PR_SET_DUMPABLE.into(), 1, 0, 0]);
    call("a filter", libc::SYS_prctl, [libc::PR_SET_SECCOMP.into(), BAD, 0, 0]);
    call("limits of another", libc::SYS_prlimit64, [parent, 0, 0, 0]);
    call("own limits", libc::SYS_prlimit64, [0, 0, 0, 0]);
    call("new limits", libc::SYS_prlimit64, [0, 0, 1, 0]);
    call("typing for others", libc::SYS_ioctl, [BAD, 0x5412, 0, 0]);
    let flags = libc::CLONE_THREAD | libc::CLONE_NEWUTS;
    call("thread in other namespaces", libc::SYS_clone, [flags.into(), 0, 0, 0]);
    call("pidfd_open", libc::SYS_pidfd_open, [parent, 0, 0, 0]);
    call("shmget", libc::SYS_shmget, [0, 0, 0, 0]);
    call("mq_open", libc::SYS_mq_open, [0, 0, 0, 0]);
    call("setpriority", libc::SYS_setpriority, [BAD, parent, 0, 0]);
    call("sched_setaffinity", libc::SYS_sched_setaffinity, [parent, 0, 0, 0]);
    call("open_tree_attr", 467, [BAD, 0, BAD, 0]);
    call("fspick", libc::SYS_fspick, [BAD, 0, BAD, 0]);
    call("clock_adjtime", libc::SYS_clock_adjtime, [BAD, 0, 0, 0]);
    #[cfg(target_arch = "x86_64")]
    call("iopl", libc::SYS_iopl, [4, 0, 0, 0]);

    let file = folder.join("config/sidekey.toml");
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    say("chmod", fs::set_permissions(&file, readable));
    say("chown", std::os::unix::fs::chown(&file, None, None));
    let opened = fs::File::open(&file);
    say("utime", opened.and_then(|file| file.set_modified(std::time::SystemTime::UNIX_EPOCH)));
    call("setxattr", libc::SYS_setxattr, [0, 0, 0, 0]);
    call("removexattr", libc::SYS_removexattr, [0, 0, 0, 0]);
}

fn sockets() {
    const BAD: libc::c_long = -1;
    const MPTCP: libc::c_long = 262;
    let socket = |probe: &str, family: libc::c_int, kind: libc::c_int, protocol| {
        call(probe, libc::SYS_socket, [family.into(), kind.into(), protocol, 0]);
    };
    let cloexec = libc::SOCK_CLOEXEC;
    socket("tcp socket", libc::AF_INET, libc::SOCK_STREAM | cloexec, 6);
    socket("udp socket", libc::AF_INET6, libc::SOCK_DGRAM | cloexec, 0);
    socket("socket table", libc::AF_NETLINK, libc::SOCK_DGRAM, 4);
    socket("mptcp socket", libc::AF_INET, libc::SOCK_STREAM, MPTCP);
    socket("mptcp socket, IPv6", libc::AF_INET6, libc::SOCK_STREAM | cloexec, MPTCP);
    socket("sctp socket, by its type", libc::AF_INET, libc::SOCK_SEQPACKET, 0);
    socket("raw socket", libc::AF_INET, libc::SOCK_RAW, 6);
    socket("packet socket", libc::AF_PACKET, libc::SOCK_DGRAM, 0);
    socket("vsock socket", libc::AF_VSOCK, libc::SOCK_STREAM, 0);
    socket("netlink route", libc::AF_NETLINK, libc::SOCK_RAW, 0);
    socket("unix socket", libc::AF_UNIX, libc::SOCK_STREAM, 0);
    call("pair of streams", libc::SYS_socketpair, [1, libc::SOCK_STREAM.into(), 0, 0]);
    call("pair of datagrams", libc::SYS_socketpair, [1, libc::SOCK_DGRAM.into(), 0, 0]);
    let fast = libc::c_long::from(libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL);
    call("sendto, connecting", libc::SYS_sendto, [BAD, 0, 0, fast]);
    call("sendmsg, connecting", libc::SYS_sendmsg, [BAD, 0, fast, 0]);
    call("sendmmsg, connecting", libc::SYS_sendmmsg, [BAD, 0, 0, fast]);
    call("sendmsg", libc::SYS_sendmsg, [BAD, 0, 0, 0]);
    let option = |probe: &str, name: libc::c_int| {
        call(probe, libc::SYS_setsockopt, [BAD, libc::IPPROTO_TCP.into(), name.into(), 0]);
    };
    option("fast open", libc::TCP_FASTOPEN_CONNECT);
    option("tcp_ulp", libc::TCP_ULP);
    option("no delay", libc::TCP_NODELAY);
}
