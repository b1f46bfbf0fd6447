//! The first bytes in a tunnel.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| attache::bench::fuzzing::first_bytes(bytes).unwrap());
