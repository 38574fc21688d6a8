//! What is ready to serve.

mod entry;

pub use entry::{Freshness, ReadError, Served, SecretKey};
