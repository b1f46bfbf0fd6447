//! A `proxy.toml`. Whatever is wrong is said with a line that is there.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Err(errors) = attache::config::Config::parse("proxy.toml", text) {
        assert!(!errors.problems.is_empty());
        let lines = text.split('\n').count();
        assert!(errors.problems.iter().filter_map(|problem| problem.at).all(|(line, _)| (1..=lines).contains(&line)));
    }
});
