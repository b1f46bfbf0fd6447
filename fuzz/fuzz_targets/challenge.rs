//! One line of `WWW-Authenticate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| attache::bench::fuzzing::challenge(bytes).unwrap());
