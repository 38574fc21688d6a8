//! A caller rule's token, read again when its file changes.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use tokio::time::Instant;

use crate::config::{TokenSource, fits_header};
use crate::memory::SecretBuf;
use crate::observe::event;

/// No token is longer.
const MAX_LEN: usize = 8 * 1024;

/// How often the file is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A file this young may change again without its times showing it.
const SETTLES_AFTER: Duration = Duration::from_secs(2);

/// The token that a caller must present.
pub(super) struct CallerToken {
    current: ArcSwapOption<SecretBuf>,
    /// Counts the tokens that it was.
    generation: AtomicU64,
    file: Option<TokenFile>,
}

struct TokenFile {
    rule: Arc<str>,
    path: PathBuf,
    base: Instant,
    /// Milliseconds since `base`.
    next_look: AtomicU64,
    seen: Mutex<Seen>,
}

/// What the last look found.
#[derive(Clone, Copy, PartialEq)]
enum Seen {
    Nothing,
    /// Not usable, and the log says so already.
    Unusable,
    /// Read, but so young that it is read again at the next look.
    Fresh,
    Settled(Stamp),
}

#[derive(Clone, Copy, PartialEq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl CallerToken {
    /// Reads the file, if it is one. `rule` is the caller rule's name, for the log.
    pub(super) fn new(rule: &Arc<str>, source: TokenSource) -> Self {
        match source {
            TokenSource::Environment(token) => {
                let token = (!token.is_empty()).then_some(token);
                Self {
                    current: ArcSwapOption::new(token),
                    generation: AtomicU64::new(0),
                    file: None,
                }
            }
            TokenSource::File(path) => {
                let file = TokenFile {
                    rule: Arc::clone(rule),
                    path,
                    base: Instant::now(),
                    next_look: AtomicU64::new(0),
                    seen: Mutex::new(Seen::Nothing),
                };
                let (current, generation) = (ArcSwapOption::empty(), AtomicU64::new(0));
                file.look(&current, &generation);
                Self { current, generation, file: Some(file) }
            }
        }
    }

    /// Its [`generation`](Self::generation), when it is what was `presented`. Compares in a time
    /// that depends on the lengths alone. A token that is not there equals nothing.
    pub(super) fn matches(&self, presented: &[u8]) -> Option<u64> {
        // First, so that a token which changes in between is not taken for the one that matched.
        let generation = self.generation();
        let current = self.current.load();
        let matches = current.as_ref().is_some_and(|token| token.constant_time_eq(presented));
        matches.then_some(generation)
    }

    /// Another number once the token is another one.
    pub(super) fn generation(&self) -> u64 {
        self.look();
        self.generation.load(Ordering::Acquire)
    }

    fn look(&self) {
        if let Some(file) = &self.file {
            file.look(&self.current, &self.generation);
        }
    }
}

impl TokenFile {
    /// Reads the file if it changed; at most one thread at a time and once per [`LOOK_EVERY`].
    fn look(&self, current: &ArcSwapOption<SecretBuf>, generation: &AtomicU64) {
        let now = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = self.next_look.load(Ordering::Relaxed);
        let pause = u64::try_from(LOOK_EVERY.as_millis()).unwrap_or(u64::MAX);
        if now < due {
            return;
        }
        // Whoever finds somebody else at it goes on with the token of before.
        let Ok(mut seen) = self.seen.try_lock() else { return };
        if self.next_look.load(Ordering::Relaxed) != due {
            return;
        }
        let before = current.load_full();
        self.refresh(&mut seen, current);
        let same = match (&before, &*current.load()) {
            (Some(before), Some(now)) => before.constant_time_eq(now.expose()),
            (None, None) => true,
            _ => false,
        };
        if !same {
            generation.fetch_add(1, Ordering::Release);
        }
        self.next_look.store(now.saturating_add(pause), Ordering::Relaxed);
    }

    fn refresh(&self, seen: &mut Seen, current: &ArcSwapOption<SecretBuf>) {
        // The stamp is taken first: a change after it shows at the next look.
        match stamp_of(&self.path) {
            Ok((stamp, _)) if *seen == Seen::Settled(stamp) => {}
            Ok((stamp, settled)) => match read(&self.path) {
                Ok(token) => {
                    current.store(Some(Arc::new(token)));
                    if *seen == Seen::Unusable {
                        event::token_file_back(&self.rule, &self.path);
                    }
                    *seen = if settled { Seen::Settled(stamp) } else { Seen::Fresh };
                }
                Err(error) => self.give_up(seen, current, &error),
            },
            Err(error) => self.give_up(seen, current, &error),
        }
    }

    fn give_up(&self, seen: &mut Seen, current: &ArcSwapOption<SecretBuf>, error: &io::Error) {
        current.store(None);
        if *seen != Seen::Unusable {
            event::token_file_gone(&self.rule, &self.path, error);
            *seen = Seen::Unusable;
        }
    }
}

fn read(path: &Path) -> io::Result<SecretBuf> {
    let token = SecretBuf::read_file(path, MAX_LEN)?;
    if token.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty"));
    }
    if !fits_header(token.expose()) {
        let message = "the token has characters that no HTTP header can carry";
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(token)
}

fn stamp_of(path: &Path) -> io::Result<(Stamp, bool)> {
    let metadata = std::fs::metadata(path)?;
    let stamp = Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        len: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    };
    Ok((stamp, is_settled(&metadata)))
}

fn is_settled(metadata: &Metadata) -> bool {
    let age = metadata.modified().ok().and_then(|m| SystemTime::now().duration_since(m).ok());
    age.is_some_and(|age| age >= SETTLES_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(path: &Path) -> CallerToken {
        CallerToken::new(&"app".into(), TokenSource::File(path.to_owned()))
    }

    async fn next_look() {
        tokio::time::advance(LOOK_EVERY).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_read_again_after_a_second() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one\n").unwrap();
        let token = token(file.path());
        assert!(token.matches(b"one").is_some());
        std::fs::write(file.path(), "two\n").unwrap();
        assert!(token.matches(b"one").is_some(), "not looked at on every request");
        next_look().await;
        assert!(token.matches(b"two").is_some() && token.matches(b"one").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_vanished_or_empty_file_matches_nobody_until_it_is_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let token = token(file.path());
        assert!(token.matches(b"").is_none(), "an empty file");
        std::fs::write(file.path(), "one").unwrap();
        next_look().await;
        assert!(token.matches(b"one").is_some());
        std::fs::remove_file(file.path()).unwrap();
        next_look().await;
        assert!(token.matches(b"one").is_none() && token.matches(b"").is_none());
        std::fs::write(file.path(), "one").unwrap();
        next_look().await;
        assert!(token.matches(b"one").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_holds_no_token_or_is_none_matches_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "two words").unwrap();
        let token = token(&path);
        assert!(token.matches(b"two words").is_none());
        std::fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        next_look().await;
        assert!(token.matches(b"").is_none(), "and the look comes back");
    }

    #[tokio::test(start_paused = true)]
    async fn another_token_is_another_generation() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one").unwrap();
        let token = token(file.path());
        let first = token.generation();
        next_look().await;
        assert_eq!(token.generation(), first, "read again, and the same");
        std::fs::write(file.path(), "two").unwrap();
        next_look().await;
        let second = token.generation();
        assert_ne!(second, first);
        std::fs::remove_file(file.path()).unwrap();
        next_look().await;
        assert_ne!(token.generation(), second);
    }

    #[test]
    fn an_empty_environment_token_matches_nobody() {
        let empty = TokenSource::Environment(Arc::new(SecretBuf::zeroed(0)));
        assert_eq!(CallerToken::new(&"app".into(), empty).matches(b""), None);
    }
}
