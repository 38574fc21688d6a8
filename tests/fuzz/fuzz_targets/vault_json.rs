//! Any bytes as an answer of Vault, and any text as the data in one.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use sidekey::secret::{EtagKey, Format, Secret, render};
use sidekey::vault::understand;

static KEY: LazyLock<EtagKey> = LazyLock::new(|| EtagKey::random().expect("randomness"));

fuzz_target!(|body: &[u8]| {
    for status in [200, 204, 404] {
        let _ = understand(status, body, &KEY).map(|secret| use_it(&secret));
    }
    if let Ok(data) = std::str::from_utf8(body) {
        let _ = render(data, &KEY, None, None).map(|secret| {
            assert_eq!(&secret.json()[..], body);
            use_it(&secret);
        });
    }
});

fn use_it(secret: &Secret) {
    for format in [Format::Env, Format::Yaml, Format::Properties] {
        let _ = secret.formatted(format);
    }
    let json = secret.json();
    // Raw values: JSON allows numbers that no type here can hold, and they are served as they came.
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(&json).expect("it was read");
    for (name, value) in fields {
        let (bare, _) = secret.field(&name).expect("every field");
        match serde_json::from_str::<String>(value.get()) {
            Ok(text) => assert_eq!(text.as_bytes(), &bare[..]),
            Err(_) => assert_eq!(value.get().as_bytes(), &bare[..]),
        }
    }
}
