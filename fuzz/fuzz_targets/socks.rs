//! What a caller says in SOCKS 5.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| attache::bench::fuzzing::socks(bytes).unwrap());
