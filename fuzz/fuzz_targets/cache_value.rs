//! What lies in a shared cache, and what is sealed there.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| attache::bench::fuzzing::cache_value(bytes).unwrap());
