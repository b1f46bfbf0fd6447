//! A request body that is sent again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| attache::proxy::fuzzing::replay(bytes).unwrap());
