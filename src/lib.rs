//! placeholder

pub mod config;
pub mod lease;
pub mod memory;
pub mod secret;
pub mod cache;
pub mod server;
pub mod observe;
