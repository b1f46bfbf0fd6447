//! A token response of any kind (RFC 6749 section 5).
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| attache::bench::fuzzing::token_response(bytes).unwrap());
