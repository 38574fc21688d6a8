//! Any bytes as the start of a PostgreSQL session, and as a stream of messages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidekey::adapter::ambassador::parse_client;

fuzz_target!(|bytes: &[u8]| parse_client(bytes));
