//! `client_secret_basic`: the id, a zero byte, the secret.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (id, secret) = text.split_once('\0').unwrap_or((text, ""));
    attache::bench::fuzzing::basic(id, secret).unwrap();
});
