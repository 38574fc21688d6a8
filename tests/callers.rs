//! Caller rules by uid and by token.
fn main() {}
