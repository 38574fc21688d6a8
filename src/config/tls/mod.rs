//! `[adapters.tls.NAME]`.

pub(super) mod access;
