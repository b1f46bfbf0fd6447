//! A host and perhaps a port, as callers write them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| attache::bench::fuzzing::authority(bytes).unwrap());
