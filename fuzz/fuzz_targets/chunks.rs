//! A chunked body of an upstream.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| attache::bench::fuzzing::chunks(bytes).unwrap());
