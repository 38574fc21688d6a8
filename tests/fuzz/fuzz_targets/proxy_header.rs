//! Any bytes as what a load balancer sends first: nothing behind a header may be taken, and a
//! header that is cut short is none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidekey::adapter::tls::parse_proxy_header;

fuzz_target!(|bytes: &[u8]| {
    let Some((said, length)) = parse_proxy_header(bytes) else { return };
    assert!(length <= bytes.len());
    let header = &bytes[..length];
    assert_eq!(parse_proxy_header(header), Some((said, length)), "what follows does not count");
    assert_eq!(parse_proxy_header(&header[..length - 1]), None, "less is no header");
});
