//! A path, and a server that reads it in its own way.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| attache::bench::fuzzing::path(bytes).unwrap());
