//! An answer of an HTTP/1.1 upstream: its head, its framing and its body.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| attache::bench::fuzzing::answer(bytes).unwrap());
