//! An application that reads all the time, and what it got.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::client;

/// One answer.
#[derive(Debug, Clone)]
pub struct Seen {
    pub at: Instant,
    pub status: u16,
    pub text: String,
    pub fresh: bool,
}

impl Seen {
    pub fn is_value(&self) -> bool {
        self.status == 200
    }
}

/// Reads on a thread of its own until it is stopped.
pub struct Watch {
    stop: Arc<AtomicBool>,
    reader: JoinHandle<Vec<Seen>>,
}

impl Watch {
    pub fn start(addr: SocketAddr, name: &str, token: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (path, token) = (format!("/secrets/{name}/password"), token.to_owned());
        let stopped = Arc::clone(&stop);
        let reader = std::thread::spawn(move || {
            let mut seen = Vec::new();
            loop {
                // Once more after the end, so that what others saw before it is seen here too.
                let last = stopped.load(Ordering::Relaxed);
                let answer = client::get(addr, &path, &token);
                let fresh = answer.header("sidekey-freshness") == Some("fresh");
                let (at, status, text) = (Instant::now(), answer.status, answer.text());
                seen.push(Seen { at, status, text, fresh });
                if last {
                    return seen;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Self { stop, reader }
    }

    pub fn stop(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.reader.join().unwrap();
        assert!(seen.len() > 100, "{} answers are no watch", seen.len());
        seen
    }
}
