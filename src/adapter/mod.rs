//! Other ways to hand a credential over than the URL.

pub mod ambassador;
pub mod exec;
pub mod tls;

mod activity;
mod hop;
mod problem;
mod relay;
mod silence;
mod upstream;
