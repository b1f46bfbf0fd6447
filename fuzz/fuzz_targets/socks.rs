//! What a caller says in SOCKS 5.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| attache::listen::fuzzing::socks(bytes).unwrap());
