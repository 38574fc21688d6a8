//! `[adapters.tls.NAME.jwt]` and `[[adapters.tls.NAME.rules]]`: who may do what at a TLS adapter.

use crate::config::error::Problem;
use crate::config::load::Context;
use crate::config::section::Section;

mod jwt;
mod names;
mod rule;
mod spec;
mod spiffe;
#[cfg(test)]
mod tests;

pub use names::SanPattern;
pub use spec::{AccessSpec, ClaimTest, ClaimValue, JwtSpec, KeyAddress, KeySource, RuleSpec};
pub use spiffe::{SpiffeId, SpiffePattern};

/// What an adapter learns of who connects.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct Learns {
    /// Clients are asked for a certificate.
    pub(in crate::config) certificate: bool,
    /// Requests are seen, and not bytes alone.
    pub(in crate::config) requests: bool,
}

/// Reads `jwt` and `rules` of an adapter's `section`. `None` after a problem was reported.
pub(in crate::config) fn read(
    section: &mut Section<'_>,
    learns: Learns,
    context: &Context<'_>,
) -> Option<AccessSpec> {
    let has_jwt = section.has("jwt");
    let here = section.at("jwt");
    let table = section.table("jwt");
    let jwt = if has_jwt {
        jwt::read(table, context).map(Some)
    } else {
        table.finish();
        Some(None)
    };
    if has_jwt && !learns.requests {
        let problem = Problem::at(&here, "there are no requests that could carry a token");
        context.report.problem(problem.hint("take mode = \"http\", or take the section out"));
    }
    let sees =
        rule::Sees { certificate: learns.certificate, token: has_jwt, requests: learns.requests };
    let rules = rule::read(section.tables("rules"), sees, context);
    Some(AccessSpec { jwt: jwt?, rules: rules? })
}
