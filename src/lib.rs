//! placeholder

#[cfg(feature = "dev")]
pub mod dev;
