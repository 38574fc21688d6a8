//! placeholder

pub mod cache;
pub mod config;
pub mod lease;
pub mod memory;
pub mod observe;
pub mod secret;
pub mod vault;
