//! HTTP/2 frames of a caller, counted.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| attache::bench::fuzzing::frames(bytes).unwrap());
