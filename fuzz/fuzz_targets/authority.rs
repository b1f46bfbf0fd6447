//! A host and perhaps a port, as callers write them.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(authority) = attache::upstream::Authority::parse(text) {
        // Canonical: what was read reads the same.
        let again = attache::upstream::Host::parse(&authority.host).expect("a canonical host is one");
        assert_eq!(again.as_str(), &*authority.host);
    }
});
