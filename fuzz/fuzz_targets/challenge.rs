//! One line of `WWW-Authenticate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = http::HeaderValue::from_bytes(bytes) {
        let schemes = attache::proxy::parse_challenges(&value);
        assert!(schemes.iter().all(|challenge| !challenge.scheme.is_empty()));
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::WWW_AUTHENTICATE, value);
        let _verdict = attache::proxy::verdict(&headers, |scheme| scheme.eq_ignore_ascii_case("bearer"));
    }
});
