//! Secrets that can be found again wherever they leak to.

use std::sync::atomic::{AtomicU64, Ordering};

/// Stands in every secret of every test.
pub const MARK: &str = "CANARY7f3a";

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A unique secret with the mark in it, at least 40 characters.
pub fn canary(what: &str) -> String {
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{MARK}-{what}-{:08x}-{n:04}-tail-of-the-secret", std::process::id())
}

/// Fails when any secret's mark stands in `text`.
pub fn assert_clean(place: &str, text: &str) {
    if let Some(at) = text.find(MARK) {
        let around = text.get(at.saturating_sub(120)..(at + 80).min(text.len())).unwrap_or(text);
        panic!("a secret stands in {place}: …{around}…");
    }
}
