//! TLS in front of an application that has none.

pub mod access;
