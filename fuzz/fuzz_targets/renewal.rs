//! A history of refusals (401), and what is done about each.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| attache::bench::fuzzing::history(bytes).unwrap());
