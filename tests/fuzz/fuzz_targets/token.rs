//! Any bytes as an issuer's keys, and any text as a token that they judge.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidekey::adapter::tls::fuzz_token;

fuzz_target!(|input: (&[u8], &str)| fuzz_token(input.0, input.1));
