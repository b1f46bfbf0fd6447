//! Requests over HTTP/1.1, looked through for two framings.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| attache::bench::fuzzing::heads(bytes).unwrap());
