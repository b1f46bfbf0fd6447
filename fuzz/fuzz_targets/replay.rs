//! A request body that is sent again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| attache::bench::fuzzing::replay(bytes).unwrap());
