//! The first bytes in a tunnel.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // What has been told stays told, whatever follows.
    let told = attache::proxy::spoken(bytes);
    for end in 0..bytes.len().min(64) {
        if let Some(earlier) = attache::proxy::spoken(&bytes[..end]) {
            assert_eq!(Some(earlier), told);
        }
    }
});
