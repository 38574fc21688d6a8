//! placeholder

pub mod config;
pub mod memory;
