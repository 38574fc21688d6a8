//! A sidecar under observation: what is searched for, and when.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::DirEntry;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::mode::Mode;
use super::support::eventually;
use super::support::needle::Needles;
use super::support::scan::{self, Hit, Scan};
use super::support::sidecar::{Sidecar, program};

/// What the name of a needle starts with that callers present.
pub const CALLER: &str = "caller";

/// How often a search is repeated while the sidecar works.
const SEARCHES_UNDER_LOAD: usize = 6;

/// A running sidecar and what must not be found in it.
pub struct Stage {
    name: &'static str,
    mode: Mode,
    pub sidecar: Sidecar,
    pub needles: RefCell<Needles>,
    failures: RefCell<Vec<String>>,
    seen: RefCell<BTreeSet<String>>,
}

/// What one thread does again and again.
pub type Load<'a> = Box<dyn FnMut() + Send + 'a>;

impl Stage {
    pub fn new(name: &'static str, mode: Mode, sidecar: Sidecar, needles: Needles) -> Self {
        let (needles, (failures, seen)) = (RefCell::new(needles), Default::default());
        Self { name, mode, sidecar, needles, failures, seen }
    }

    /// Searches now, whatever the process does, and prints a line.
    pub fn look(&self, moment: &str) -> Scan {
        let found = scan::process(self.sidecar.pid(), &self.needles.borrow());
        let (copies, fragments) = found.copies_and_fragments();
        let (name, secret) = (self.name, found.secret_bytes() >> 10);
        eprintln!(
            "{name:12} {moment:44} {copies:3} copies {fragments:3} fragments, {} KiB searched, {secret} KiB secret",
            found.bytes >> 10
        );
        found
    }

    /// Searches when the process is at rest: nothing may be found, which [`end`](Self::end)
    /// asserts, so that one run shows all there is.
    pub fn at_rest(&self, moment: &str) {
        settle(self.sidecar.pid());
        self.search(moment, |_| false);
    }

    /// Searches several times while every part of `load` runs over and over in a thread of its
    /// own. Nothing may be found but [what passes](is_passing).
    pub fn under_load(&self, moment: &str, load: Vec<Load<'_>>) {
        let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let threads = load.len();
        std::thread::scope(|scope| {
            for mut part in load {
                let (over, done) = (&over, &done);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        part();
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            // A failed search ends the load too.
            let _over = OnDrop(|| over.store(true, Ordering::Relaxed));
            let searches = if self.mode == Mode::Protected { SEARCHES_UNDER_LOAD } else { 1 };
            for _ in 0..searches {
                let before = done.load(Ordering::Relaxed);
                eventually("work between two searches", || {
                    (done.load(Ordering::Relaxed) > before + threads).then_some(())
                });
                self.search(moment, is_passing);
            }
        });
    }

    fn search(&self, moment: &str, may_be_there: impl Fn(&Hit) -> bool) {
        let mut open = secret_descriptors(self.sidecar.pid());
        let mut found = self.look(moment);
        assert!(found.bytes > 1 << 20, "{moment}: nothing was read");
        if self.mode == Mode::Unprotected {
            self.seen.borrow_mut().extend(found.hits.into_iter().map(|hit| hit.found.canary));
            return;
        }
        found.leave_out_constants(&program());
        let (passing, found_there): (Vec<_>, Vec<_>) =
            std::mem::take(&mut found.hits).into_iter().partition(may_be_there);
        for hit in passing {
            eprintln!(
                "    passing: {} bytes of {} in {}",
                hit.found.len, hit.found.canary, hit.place
            );
        }
        found.hits = found_there;
        if !found.hits.is_empty() {
            eprintln!("{found}");
            self.failures.borrow_mut().push(format!("{moment}: {found}"));
        }
        // Each is open for the moment in which its pages are mapped; none for a whole search.
        open.retain(|descriptor| secret_descriptors(self.sidecar.pid()).contains(descriptor));
        assert!(open.is_empty(), "{moment}: left open: {open:?}");
    }

    pub fn addr(&self) -> SocketAddr {
        self.sidecar.addr()
    }

    /// Fails for everything that was found; without protection, for everything that was not.
    pub fn end(self) -> Sidecar {
        let (failures, seen) = (self.failures.into_inner(), self.seen.into_inner());
        if self.mode == Mode::Unprotected {
            let needles = self.needles.borrow();
            let unseen: Vec<_> =
                needles.names().iter().filter(|name| !seen.contains(*name)).collect();
            assert!(unseen.is_empty(), "{}: the search does not find {unseen:?}", self.name);
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        self.sidecar
    }
}

/// What a thread has in its registers while it looks at a caller's token, renders a value, makes
/// a keystore or talks to Vault: never more than they hold, and nothing of it in memory.
fn is_passing(hit: &Hit) -> bool {
    ["registers of serve", "registers of fetch", "registers of keystore"]
        .iter()
        .any(|place| hit.place.contains(place))
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Waits until every thread sleeps and none did anything for a while.
pub fn settle(pid: u32) {
    let mut last = String::new();
    eventually("the process to come to rest", || {
        std::thread::sleep(Duration::from_millis(150));
        let mut all_sleep = true;
        let mut now = String::new();
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            let after_name = stat.rsplit(')').next().unwrap_or_default();
            let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
            assert_ne!(fields.first(), Some(&"Z"), "the process is gone");
            all_sleep &= fields.first() == Some(&"S");
            now += &fields.get(11..13).unwrap_or_default().join("+");
            now += " ";
        }
        let calm = all_sleep && now == last;
        last = now;
        calm.then_some(())
    });
}

/// Open descriptors of secret memory, by number and inode: whoever can take one can map what it
/// stands for.
pub fn secret_descriptors(pid: u32) -> Vec<(OsString, u64)> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let secret = entries.filter(|entry| {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        target.to_string_lossy().contains("secretmem")
    });
    // One that is closed by now is none.
    let inode = |entry: &DirEntry| std::fs::metadata(entry.path()).map(|file| file.ino());
    secret.filter_map(|entry| Some((entry.file_name(), inode(&entry).ok()?))).collect()
}
